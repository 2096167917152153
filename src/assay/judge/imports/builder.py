"""Figures from structured results: rows, facts and numbers by a tool's own names. It refuses what is no number."""

from __future__ import annotations

import csv
import io
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from assay.core.figures import Figure, FigureRow, FigureTable
from assay.core.records import Absent, Scalar
from assay.judge.imports.document import LIMIT_ROWS, Document

_EXACT = 0
"""Digits of a number that was written in full precision."""


def number(content: Any, *keys: str) -> float | None:
    """The finite number at a path of keys; None where there is none."""
    for key in keys:
        if not isinstance(content, Mapping):
            return None
        content = content.get(key)
    if isinstance(content, bool) or not isinstance(content, int | float):
        return None
    try:
        value = float(content)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def text(content: Any, *keys: str) -> str | None:
    """The text at a path of keys; None where there is none."""
    for key in keys:
        if not isinstance(content, Mapping):
            return None
        content = content.get(key)
    return content[:200] if isinstance(content, str) and content.strip() else None


def numbers(content: Any) -> list[float]:
    """The finite numbers of a list."""
    if not isinstance(content, list):
        return []
    return [value for each in content if (value := number({"": each}, "")) is not None]


def csv_rows(document: Document) -> list[dict[str, Any]]:
    """The rows of a CSV by column, as many as a table may have; what reads as a number is one, what is empty None.

    Raises:
        CorruptFileError: a field is longer than any table's.
    """
    try:
        rows = list(itertools.islice(csv.DictReader(io.StringIO(document.text)), LIMIT_ROWS + 1))
    except csv.Error as error:
        raise document.corrupt(str(error)) from None
    return [{str(key): _number_or_text(value) for key, value in row.items()} for row in rows]


def _number_or_text(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value or None


class Builder:
    """A table of figures on its way."""

    def __init__(self, title: str, source: str, facts: Mapping[str, Scalar] | None = None) -> None:
        self._title, self._source, self._facts = title, source, dict(facts or {})
        self._rows: list[FigureRow] = []
        self._names: dict[str, int] = {}
        self._figures: list[Figure] = []
        self._recognised: list[str] = []
        self._unread: list[str] = []

    def row(self, name: str, facts: Mapping[str, Scalar | None]) -> str | None:
        """Add a row and get its name, made unique; None where the table is full."""
        if len(self._rows) >= LIMIT_ROWS:
            self.unread(f"the rows after the first {LIMIT_ROWS:,}")
            return None
        self._names[name] = self._names.get(name, 0) + 1
        unique = name if self._names[name] == 1 else f"{name} ({self._names[name]})"
        known = {key: value for key, value in facts.items() if value is not None}
        self._rows.append(FigureRow(name=unique, facts=known))
        return unique

    def figure(
        self, row: str, metric: str, value: float | None, *, factor: float = 1.0, std: float | None = None,
        error: float | None = None, minimum: float | None = None, maximum: float | None = None,
        samples: float | None = None, where: str = "",
    ) -> None:  # fmt: skip
        """Add a number in the unit of its metric, after `factor`; None adds nothing."""
        if value is None:
            return

        def scaled(number: float | None, reason: str) -> float | Absent:
            return Absent(reason=reason) if number is None else _tidy(number * factor)

        self._figures.append(
            Figure(
                row=row,
                metric=metric,
                value=_tidy(value * factor),
                std=scaled(std, "no spread is given"),
                error=scaled(error, "no standard error is given"),
                minimum=scaled(minimum, "no minimum is given"),
                maximum=scaled(maximum, "no maximum is given"),
                samples=Absent(reason="the number of samples is not given") if samples is None else int(samples),
                digits=_EXACT,
                written=f"{value:.10g}",
                where=where,
            )
        )

    def sampled(self, row: str, metric: str, values: Sequence[float], *, factor: float = 1.0, where: str = "") -> None:
        """Add the mean of raw values with their spread and extremes; the mean is computed here, which is told."""
        if not values:
            return
        several = len(values) > 1
        self.figure(
            row, metric, statistics.fmean(values), factor=factor, std=statistics.stdev(values) if several else None,
            minimum=min(values), maximum=max(values), samples=len(values), where=where,
        )  # fmt: skip

    def recognised(self, line: str) -> None:
        """Tell what was understood."""
        self._recognised.append(line)

    def unread(self, line: str) -> None:
        """Tell what was not."""
        self._unread.append(line)

    def build(self) -> tuple[FigureTable, ...]:
        """The table; none where it holds no figure and nothing was left unread."""
        if not self._figures and not self._unread:
            return ()
        return (
            FigureTable(
                title=self._title, source=self._source, rows=tuple(self._rows), figures=tuple(self._figures),
                facts=self._facts, recognised=tuple(dict.fromkeys(self._recognised)),
                unread=tuple(dict.fromkeys(self._unread)),
            ),
        )  # fmt: skip


def _tidy(value: float) -> float:
    """Without the binary dust of a conversion of units."""
    return float(f"{value:.15g}") if math.isfinite(value) else math.copysign(1.7e308, value)
