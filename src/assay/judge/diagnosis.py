"""From findings to causes: what recorded facts say for and against each, and the one experiment that would tell.

It refuses a cause that no recorded fact supports: such findings are told together as unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.core.records import Cell, Diagnosis, Finding
from assay.core.shapes import canonical_name
from assay.judge.checks.base import Subject
from assay.judge.checks.figures import Entry, row_entries
from assay.judge.checks.tables import with_tables
from assay.judge.hypotheses import HYPOTHESES, Case, Evidence, Hypothesis

UNKNOWN = "unknown"
_BY_HAND = "measure these rows again with `assay run STUDY`, which records what the checks ask for"


def diagnose(subject: Subject, findings: Sequence[Finding]) -> tuple[Diagnosis, ...]:
    """Causes of the findings of a study or an audit, those with facts for them first.

    Args:
        subject: what was judged.
        findings: what the checks said of it.

    INFO findings explain themselves: they are evidence, and need no cause of their own.
    """
    whole = with_tables(subject)
    entries = row_entries(whole)
    model = _model(whole, entries)
    supported: list[Diagnosis] = []
    opposed: dict[str, list[str]] = {}
    explained: set[int] = set()
    for hypothesis in HYPOTHESES:
        mine = [finding for finding in findings if finding.check in hypothesis.explains]
        if not any(finding.severity != "INFO" for finding in mine):
            continue
        for rows, group in _by_table(mine, entries):
            evidence = hypothesis.weigh(Case(whole, group, rows))
            if evidence.supporting:
                supported.append(_diagnosis(hypothesis, group, evidence, model))
                explained |= {id(finding) for finding in group}
            elif evidence.opposing:
                opposed.setdefault(hypothesis.cause, []).extend(evidence.opposing)
    left = [finding for finding in findings if finding.severity != "INFO" and id(finding) not in explained]
    return (*sorted(supported, key=lambda each: len(each.opposing)), *_unknown(left, opposed, model))


def _by_table(
    findings: Sequence[Finding], entries: Sequence[Entry]
) -> list[tuple[tuple[Entry, ...], tuple[Finding, ...]]]:
    """Findings of one table together, with the rows that they concern."""
    tables: dict[str, list[Finding]] = {}
    for finding in findings:
        tables.setdefault(finding.cells[0].table, []).append(finding)
    found = []
    for label, group in tables.items():
        names = {cell.row for finding in group for cell in finding.cells if cell.table == label}
        rows = tuple(entry for entry in entries if entry.label == label and entry.row.name in names)
        found.append((rows, tuple(group)))
    return found


def _diagnosis(hypothesis: Hypothesis, group: Sequence[Finding], evidence: Evidence, model: str) -> Diagnosis:
    return Diagnosis(
        cause=hypothesis.cause,
        checks=tuple(dict.fromkeys(finding.check for finding in group)),
        cells=_cells(group),
        supporting=evidence.supporting,
        opposing=evidence.opposing,
        experiment=hypothesis.experiment.format(model=model),
    )


def _unknown(left: Sequence[Finding], opposed: dict[str, list[str]], model: str) -> list[Diagnosis]:
    """What no recorded fact reaches: by check, with the first candidate's experiment that nothing speaks against."""
    found: list[Diagnosis] = []
    by_experiment: dict[str, list[Finding]] = {}
    for finding in left:
        candidates = sorted(
            (h for h in HYPOTHESES if finding.check in h.explains and h.cause not in opposed),
            key=lambda h: len(h.explains),  # the one that explains least else is meant for this
        )
        experiment = candidates[0].experiment.format(model=model) if candidates else _BY_HAND
        by_experiment.setdefault(experiment, []).append(finding)
    for experiment, group in by_experiment.items():
        checks = {finding.check for finding in group}
        against = [
            f"not {hypothesis.cause}: {said}"
            for hypothesis in HYPOTHESES
            if hypothesis.explains & checks
            for said in dict.fromkeys(opposed.get(hypothesis.cause, ()))
        ]
        found.append(
            Diagnosis(
                cause=UNKNOWN,
                checks=tuple(dict.fromkeys(finding.check for finding in group)),
                cells=_cells(group),
                opposing=tuple(against),
                experiment=experiment,
            )
        )
    return found


def _cells(group: Sequence[Finding]) -> tuple[Cell, ...]:
    return tuple(dict.fromkeys(cell for finding in group for cell in finding.cells))


def _model(subject: Subject, entries: Sequence[Entry]) -> str:
    """The model as a command takes it, or a word for it."""
    if subject.source is not None:
        return subject.source.location
    names = {entry.text("model") for entry in entries} - {""}
    return next(iter(names)) if len(names) == 1 and canonical_name(next(iter(names))) else "MODEL"
