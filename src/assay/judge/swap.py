"""Rule 31, the swap test: would exchanging two labels remove findings? It proposes, and never exchanges anything."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from assay.core.figures import Figure, FigureTable, labels
from assay.core.records import Cell, Finding, Scalar
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.runner import run_checks
from assay.judge.checks.tables import subject_of_tables

NAME = "swap_test"
RULE = "31"
_MOST_ROWS = 12
"""Rows with findings above which pairs are too many to try."""


def propose_swaps(
    tables: Sequence[FigureTable], findings: Sequence[Finding], facts: dict[str, Scalar], policy: CheckPolicy
) -> tuple[Finding, ...]:
    """INFO findings: pairs of rows of one table whose exchange removes findings and adds none, the best of each table.

    Args:
        tables: as they were read.
        findings: what the checks said of them.
        facts: of the set-up, as the user stated them.
        policy: thresholds.
    """
    found: list[Finding] = []
    for table, label in zip(tables, labels(tables), strict=True):
        if table.expected:
            continue
        involved = _involved(table, label, findings)
        if not 2 <= len(involved) <= _MOST_ROWS:
            continue
        before = _violations(table, facts, policy)
        best: tuple[int, str, str] | None = None
        for one, other in combinations(involved, 2):
            after = _violations(exchanged(table, one, other), facts, policy)
            removed = sum(before.values()) - sum(after.values())
            adds = any(count > before.get(kind, 0) for kind, count in after.items())
            if removed >= policy.swap_removes and not adds and (best is None or removed > best[0]):
                best = (removed, one, other)
        if best is not None:
            found.append(_finding(table, label, *best, left=sum(before.values()) - best[0]))
    return tuple(found)


def exchanged(table: FigureTable, one: str, other: str) -> FigureTable:
    """The table with the figures of two rows exchanged, their names and facts left."""
    names = {one: other, other: one}

    def moved(figure: Figure) -> Figure:
        return figure.model_copy(update={"row": names.get(figure.row, figure.row)})

    return table.model_copy(update={"figures": tuple(moved(figure) for figure in table.figures)})


def _involved(table: FigureTable, label: str, findings: Sequence[Finding]) -> list[str]:
    named = {
        cell.row for f in findings if f.severity != "INFO" for cell in f.cells if cell.table == label
    }  # rows without a finding have nothing to lose
    return [row.name for row in table.rows if row.name in named]


def _violations(table: FigureTable, facts: dict[str, Scalar], policy: CheckPolicy) -> dict[str, int]:
    """Findings by check: which rows they name changes with the exchange, so it does not count."""
    counts: dict[str, int] = {}
    for finding in run_checks(subject_of_tables([table], facts), policy)[0]:
        if finding.severity != "INFO":
            counts[finding.check] = counts.get(finding.check, 0) + 1
    return counts


def _finding(table: FigureTable, label: str, removed: int, one: str, other: str, left: int) -> Finding:
    cells = tuple(
        Cell(row=figure.row, metric=figure.metric, table=label)
        for figure in table.figures
        if figure.row in (one, other)
    )
    return Finding(
        check=NAME,
        severity="INFO",
        cells=cells,
        numbers={"removed": float(removed), "left": float(left)},
        summary=f"if the labels of {one} and {other} were exchanged, {removed} findings would vanish, {left} be "
        "left, and none "
        "be new",
        cause="exchanged labels would explain them; nothing recorded says that they were",
        remedy="Measure both again, and name the rows by what ran",
    )
