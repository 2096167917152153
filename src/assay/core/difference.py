"""What changed from one result to another: a record that shows can be told from. It refuses to call it a comparison.

Two results were measured apart, on other days and perhaps other machines. Only rounds that hold both sides compare.
"""

from __future__ import annotations

from typing import Literal

from assay.core.records import Estimate, Measured, Record

ChangeKind = Literal["apart", "within", "exact", "appeared", "vanished"]
"""apart: the intervals share no value. within: they do. exact: numbers without intervals, which differ. appeared and
vanished: measured in one result alone."""


class CellChange(Record):
    """One number in both results."""

    row: str
    metric: str
    """As the rows name it, with `@workload` where a study has several."""
    before: Measured | Estimate
    after: Measured | Estimate
    ratio: Measured
    """after / before; Absent where either is missing or the first is 0."""
    kind: ChangeKind


class StatusChange(Record):
    """A verdict that is not what it was."""

    row: str
    before: str
    after: str


class Difference(Record):
    """From one result to another."""

    before: str
    """Name, digest and time of the earlier result."""
    after: str
    surroundings: tuple[str, ...]
    """What differs around them and can change a number by itself: machine, packages, threads, model, text."""
    rows_gone: tuple[str, ...]
    rows_new: tuple[str, ...]
    statuses: tuple[StatusChange, ...]
    cells: tuple[CellChange, ...]
    """Numbers that differ, of rows in both."""
    unchanged: int
    """Numbers that are the same."""
    findings_gone: tuple[str, ...]
    findings_new: tuple[str, ...]
