"""Plants every fault, lays the checks on what comes out, and counts. It refuses alarms that were there before.

A fault is caught where a finding (ERR or WARN) that the healthy result does not have concerns a row that was changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from assay.core.figures import FigureTable
from assay.core.records import Finding
from assay.judge.audit import audit_tables
from assay.judge.checks.base import Subject
from assay.judge.checks.runner import run_checks
from planted import blind, faults, healthy

SEEDS = range(5)
Key = tuple[str, str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Planted:
    """What became of one fault."""

    name: str
    group: str
    """`blind`, `informed` or `study`."""
    rules: tuple[str, ...]
    """Checks that caught it, worst first; empty where none did."""


@dataclass(frozen=True)
class Alarms:
    """What the healthy results gave."""

    rows: int
    errors: int
    """Rows with an ERR."""
    warnings: int
    """Rows with a WARN and no ERR."""
    by_check: Counter[str]


def plant() -> tuple[Planted, ...]:
    """Every fault, in the order of its file."""
    found = [
        _table(name, "blind", origin, edit(healthy.TABLES[origin](0))) for name, (origin, edit) in blind.BLIND.items()
    ]
    found += [
        _table(name, "informed", origin, edit(healthy.TABLES[origin](0)))
        for name, (origin, edit) in faults.INFORMED.items()
    ]
    found += [
        _study(name, healthy.STUDIES[origin](0), change(healthy.STUDIES[origin](0)))
        for name, (origin, change) in faults.STUDIES.items()
    ]
    return tuple(found)


def _table(name: str, group: str, origin: str, broken: FigureTable) -> Planted:
    sound = healthy.TABLES[origin](0)
    before = {_key(finding) for finding in audit_tables([sound]).findings}
    return Planted(name, group, _caught(audit_tables([broken]).findings, before, _changed(sound, broken)))


def _changed(sound: FigureTable, broken: FigureTable) -> set[str]:
    """Rows whose figures, facts or printed ratios are not what they were; all of them where a fact of the table is."""
    if sound.facts != broken.facts:
        return {row.name for row in broken.rows}
    rows = {figure.row for figure in {*_hashable(sound)} ^ {*_hashable(broken)}}
    stated = {row.name: row.facts for row in sound.rows}
    rows |= {row.name for row in broken.rows if stated.get(row.name) != row.facts}
    return rows | {ratio.row for ratio in broken.ratios if ratio not in sound.ratios}


@dataclass(frozen=True)
class _Cell:
    row: str
    content: str


def _hashable(table: FigureTable) -> list[_Cell]:
    return [_Cell(figure.row, figure.to_json()) for figure in table.figures]


def _study(name: str, sound: Subject, broken: Subject) -> Planted:
    before = {_key(finding) for finding in run_checks(sound)[0]}
    rows = {row.name for row in broken.rows}
    return Planted(name, "study", _caught(run_checks(broken)[0], before, rows))


def _caught(findings: Sequence[Finding], before: set[Key], rows: set[str]) -> tuple[str, ...]:
    caught = [
        finding.check
        for finding in findings
        if finding.severity != "INFO" and _key(finding) not in before and {cell.row for cell in finding.cells} & rows
    ]
    return tuple(dict.fromkeys(caught))


def _key(finding: Finding) -> Key:
    return finding.check, finding.severity, frozenset((cell.row, cell.metric) for cell in finding.cells)


def alarms(seeds: Sequence[int] = SEEDS) -> Alarms:
    """False alarms on the healthy results, by row."""
    rows = errors = warnings = 0
    by_check: Counter[str] = Counter()
    for seed in seeds:
        results = [(len(t.rows), audit_tables([t]).findings) for t in (make(seed) for make in healthy.TABLES.values())]
        results += [(len(s.rows), run_checks(s)[0]) for s in (make(seed) for make in healthy.STUDIES.values())]
        for count, findings in results:
            bad = {cell.row for f in findings if f.severity == "ERR" for cell in f.cells}
            suspect = {cell.row for f in findings if f.severity == "WARN" for cell in f.cells} - bad
            rows, errors, warnings = rows + count, errors + len(bad), warnings + len(suspect)
            by_check.update(f.check for f in findings if f.severity != "INFO")
    return Alarms(rows, errors, warnings, by_check)
