"""Tables of figures from a few numbers, for the tests of checks that read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.core.figures import Figure, FigureRow, FigureTable
from assay.core.records import Absent, Finding
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.runner import load_check
from assay.judge.checks.tables import subject_of_tables

Cells = Mapping[str, float | tuple[float, float]]


def row(name: str, cells: Cells, **facts: Any) -> tuple[FigureRow, tuple[Figure, ...]]:
    """A row and its figures; a pair is a mean and its deviation."""
    made = tuple(
        Figure(row=name, metric=metric, value=float(value[0]), std=float(value[1]))
        if isinstance(value, tuple)
        else Figure(row=name, metric=metric, value=float(value))
        for metric, value in cells.items()
    )
    return FigureRow(name=name, facts=facts), made


def table(*rows: tuple[FigureRow, tuple[Figure, ...]], title: str = "t", **facts: Any) -> FigureTable:
    """A table of such rows, with facts of the whole."""
    return FigureTable(
        title=title,
        source="a.md",
        rows=tuple(each for each, _ in rows),
        figures=tuple(figure for _, figures in rows for figure in figures),
        facts=facts,
    )


def judged(
    check: str, *tables: FigureTable, policy: CheckPolicy | None = None, **given: Any
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """What one check finds in tables, and what it could not look at."""
    answer = load_check(check).check(subject_of_tables(tables, given), policy or CheckPolicy())
    return answer.findings, answer.not_checked


def severities(check: str, *tables: FigureTable, **given: Any) -> list[str]:
    """The severities that one check finds."""
    return [finding.severity for finding in judged(check, *tables, **given)[0]]


def cells_of(findings: tuple[Finding, ...]) -> set[tuple[str, str]]:
    """Rows and metrics that findings concern."""
    return {(cell.row, cell.metric) for finding in findings for cell in finding.cells}


def ranged(name: str, metric: str, value: float, low: float, high: float, **facts: Any) -> Any:
    """A row with one figure, its smallest and its largest sample."""
    figure = Figure(row=name, metric=metric, value=value, minimum=low, maximum=high, std=Absent(reason="not given"))
    return FigureRow(name=name, facts=facts), (figure,)
