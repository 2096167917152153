"""An audit: every check on figures that another tool printed. It refuses to judge what was only expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from assay.core.figures import FigureTable
from assay.core.records import Cell, Diagnosis, Finding, Scalar
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.runner import run_checks
from assay.judge.checks.tables import subject_of_tables
from assay.judge.diagnosis import diagnose
from assay.judge.swap import propose_swaps


class Audit(NamedTuple):
    """What an audit found."""

    findings: tuple[Finding, ...]
    """Errors first."""
    diagnoses: tuple[Diagnosis, ...]
    """Causes of the findings, those with facts for them first."""
    not_checked: tuple[str, ...]
    """`check: no ...`, with the fact that would wake it."""
    counts: Mapping[str, int]
    """`tables`, `expected_tables`, `rows`, `figures`; of those `invalid` (ERR), `suspect` (WARN alone) and `sound`."""


def audit_tables(
    tables: Sequence[FigureTable], facts: Mapping[str, Scalar] | None = None, policy: CheckPolicy | None = None
) -> Audit:
    """Lay every check on tables of figures.

    Args:
        tables: as they were read; those of expected values are counted and not judged.
        facts: of the set-up, as the user stated them: names of `core.figures.FACTS`.
        policy: thresholds; the defaults where None.

    A cell of a finding names its table by `core.figures.labels(tables)`.
    """
    subject = subject_of_tables(tables, facts)
    findings, not_checked = run_checks(subject, policy)
    findings = (*findings, *propose_swaps(tables, findings, dict(facts or {}), policy or CheckPolicy()))
    judged = [table for table in tables if not table.expected]
    figures = sum(len(table.figures) for table in judged)
    invalid = cells_of(findings, "ERR")
    suspect = cells_of(findings, "WARN") - invalid
    return Audit(
        findings,
        diagnose(subject, findings),
        not_checked,
        {
            "tables": len(judged),
            "expected_tables": len(tables) - len(judged),
            "rows": sum(len(table.rows) for table in judged),
            "figures": figures,
            "invalid": len(invalid),
            "suspect": len(suspect),
            "sound": figures - len(invalid) - len(suspect),
        },
    )


def cells_of(findings: Sequence[Finding], severity: str) -> set[Cell]:
    """The cells that findings of a severity concern."""
    return {cell for finding in findings if finding.severity == severity for cell in finding.cells}
