"""A result as it is shown: columns, cells, marks and notes, the same for terminal, Markdown and HTML.

It computes no number and drops none: what has no column of its own is in the further columns, and every finding and
every reason for a missing number becomes a numbered note that the number's cell points at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from assay.core.metrics import METRICS, Direction
from assay.core.records import Absent, Comparison, Estimate, Finding, Measured, Result, Row, Verdict
from assay.show import format as shown

MAIN_METRICS = (
    "weight_bytes",
    "bits_per_weight",
    "load_s",
    "first_call_s",
    "peak_rss_bytes",
    "perplexity",
    "kl_nats",
    "top1_agreement",
    "cosine_mean",
    "cosine_min",
    "label_agreement",
    "sequences_per_s",
    "prefill_tok_per_s",
    "decode_tok_per_s",
    "end_to_end_s",
    "train_tok_per_s",
    "forward_s",
    "backward_s",
    "optimizer_step_s",
)
"""The columns of the table, in order; every other metric of a row stands among the further figures."""

_HEADERS = {
    "weight_bytes": "weights",
    "bits_per_weight": "bits per weight",
    "peak_rss_bytes": "peak memory",
    "kl_nats": "KL",
    "top1_agreement": "top-1",
    "cosine_mean": "mean cosine",
    "cosine_min": "least cosine",
    "end_to_end_s": "end to end",
}
_SEVERITIES = ("ERR", "WARN", "INFO")
Severity = Literal["ERR", "WARN", "INFO", "ABSENT", "NOTE"]
_NOT_RECORDED = Absent(reason="not recorded for this variant")


@dataclass(frozen=True)
class ColumnView:
    """A column: one metric, of one workload where the study has several."""

    key: str
    header: str
    workload: str
    unit: str
    better: Direction


@dataclass(frozen=True)
class CellView:
    """One number as it is shown, what it was, and the numbers of the notes that concern it."""

    column: ColumnView
    raw: Measured | Estimate
    text: str
    interval: str
    struck: bool
    notes: tuple[int, ...]
    comparison: Comparison | None
    """Against the baseline, where this metric decides."""


@dataclass(frozen=True)
class NoteView:
    """A caveat: a finding, a remark of a row, or why numbers are missing."""

    number: int
    severity: Severity
    where: str
    text: str
    cause: str = ""
    remedy: str = ""
    check: str = ""
    numbers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class RowView:
    """One variant. `cells` has one for each column of the view, `further` one for each further column."""

    name: str
    role: str
    outcome: str
    """Empty where the runs were ok, otherwise what happened, with the engine's own words."""
    cells: tuple[CellView, ...]
    further: tuple[CellView, ...]
    notes: tuple[int, ...]
    verdict: Verdict | None

    @property
    def status(self) -> str:
        """The verdict's status as words."""
        return words(self.verdict.status) if self.verdict else shown.MISSING


@dataclass(frozen=True)
class View:
    """Everything that a report shows, in the order in which it shows it."""

    result: Result
    columns: tuple[ColumnView, ...]
    further_columns: tuple[ColumnView, ...]
    rows: tuple[RowView, ...]
    notes: tuple[NoteView, ...]
    baseline: str

    def note(self, number: int) -> NoteView:
        """The note of a mark."""
        return self.notes[number - 1]

    @property
    def compared(self) -> tuple[int, ...]:
        """Places of the columns in which some row is compared with the baseline."""
        return tuple(
            place for place in range(len(self.columns)) if any(row.cells[place].comparison for row in self.rows)
        )


def view_of(result: Result) -> View:
    """Arrange a result for showing. The null variant has no row: it stands as the A/A line."""
    rows = tuple(row for row in result.rows if row.role != "null")
    keys = tuple(dict.fromkeys(key for row in rows for key in row.metrics))
    main = tuple(key for metric in MAIN_METRICS for key in keys if shown.base_metric(key) == metric)
    columns = tuple(_column(key) for key in main)
    further = tuple(_column(key) for key in keys if key not in main)
    notes = _Notes(result)
    baseline = next((row.name for row in rows if row.role == "baseline"), "")
    return View(
        result=result,
        columns=columns,
        further_columns=further,
        rows=tuple(_row(row, result, columns, further, notes) for row in rows),
        notes=notes.all(),
        baseline=baseline,
    )


def words(name: str) -> str:
    """`not comparable` of `not_comparable`."""
    return name.replace("_", " ")


def comparison_of(result: Result, variant: str, key: str) -> Comparison | None:
    """The comparison that a cell shows: of its metric, and of its workload where the key names one."""
    metric, workload = shown.base_metric(key), shown.workload_of(key)
    for comparison in result.comparisons:
        if (comparison.variant, comparison.metric) == (variant, metric) and workload in ("", comparison.workload):
            return comparison
    return None


# ------------------------------------------------------------------------------------------------- inner parts


class _Notes:
    """Numbers the notes: findings first and worst first, then remarks of rows, then reasons of what is missing."""

    def __init__(self, result: Result) -> None:
        self._notes: list[NoteView] = []
        self._findings: list[tuple[Finding, int]] = []
        self._by_text: dict[tuple[Severity, str], int] = {}
        self._where: dict[int, list[tuple[str, str]]] = {}
        for finding in sorted(result.findings, key=lambda finding: _SEVERITIES.index(finding.severity)):
            self._findings.append((finding, self._add_finding(finding)))

    def of_cell(self, row: str, key: str) -> tuple[tuple[int, ...], bool]:
        """The findings about a cell, and whether one of them makes it invalid."""
        about = [(finding, number) for finding, number in self._findings if _concerns(finding, row, key)]
        return tuple(number for _, number in about), any(finding.severity == "ERR" for finding, _ in about)

    def of_row_alone(self, row: str, keys: Iterable[str]) -> tuple[int, ...]:
        """The findings about a row that no column shows."""
        columns = tuple(keys)
        return tuple(
            number
            for finding, number in self._findings
            if any(cell.row == row for cell in finding.cells)
            and not any(_concerns(finding, row, key) for key in columns)
        )

    def remark(self, severity: Severity, row: str, title: str, text: str) -> int:
        """The number of a remark; one remark about several places is one note."""
        known = self._by_text.setdefault((severity, text), len(self._notes) + 1)
        if known > len(self._notes):
            self._notes.append(NoteView(number=known, severity=severity, where="", text=text))
        self._where.setdefault(known, []).append((row, title))
        return known

    def all(self) -> tuple[NoteView, ...]:
        return tuple(replace(note, where=_places(self._where[note.number])) for note in self._notes)

    def _add_finding(self, finding: Finding) -> int:
        number = len(self._notes) + 1
        self._where[number] = [(shown.one_line(cell.row), shown.title_of(cell.metric)) for cell in finding.cells]
        self._notes.append(
            NoteView(
                number=number,
                severity=finding.severity,
                where="",
                text=shown.one_line(finding.summary),
                cause=shown.one_line(finding.cause),
                remedy=shown.one_line(finding.remedy),
                check=shown.one_line(finding.check),
                numbers=tuple((name, shown.figure(value)) for name, value in finding.numbers.items()),
            )
        )
        return number


def _places(cells: Iterable[tuple[str, str]]) -> str:
    """`bf16, int8 (prefill); fp32`: rows with the same metrics stand together."""
    titles: dict[str, list[str]] = {}
    for row, title in cells:
        titles.setdefault(row, [])
        if title and title not in titles[row]:
            titles[row].append(title)
    rows: dict[tuple[str, ...], list[str]] = {}
    for row, named in titles.items():
        rows.setdefault(tuple(named), []).append(row)
    return "; ".join(", ".join(names) + (f" ({', '.join(named)})" if named else "") for named, names in rows.items())


def _concerns(finding: Finding, row: str, key: str) -> bool:
    return any(cell.row == row and cell.metric in (key, shown.base_metric(key)) for cell in finding.cells)


def _column(key: str) -> ColumnView:
    metric = shown.base_metric(key)
    known = METRICS.get(metric)
    return ColumnView(
        key=key,
        header=_HEADERS.get(metric) or (known.title if known else shown.one_line(metric)),
        workload=shown.one_line(shown.workload_of(key)),
        unit=shown.scale_of(key).unit,
        better=known.better if known else "none",
    )


def _row(
    row: Row, result: Result, columns: tuple[ColumnView, ...], further: tuple[ColumnView, ...], notes: _Notes
) -> RowView:
    name = shown.one_line(row.name)
    failed = row.outcome.kind != "ok"
    outcome = _outcome_words(row) if failed else ""
    marks = list(notes.of_row_alone(row.name, [column.key for column in (*columns, *further)]))
    if failed:
        marks.append(notes.remark("NOTE", name, "", outcome))
    marks += [notes.remark("NOTE", name, "", shown.one_line(note)) for note in row.notes]
    verdict = next((verdict for verdict in result.verdicts if verdict.variant == row.name), None)
    return RowView(
        name=name,
        role=row.role,
        outcome=outcome,
        cells=tuple(_cell(row, result, column, notes) for column in columns),
        further=tuple(_cell(row, result, column, notes) for column in further),
        notes=tuple(marks),
        verdict=verdict,
    )


def _outcome_words(row: Row) -> str:
    outcome = row.outcome
    said = f": {shown.one_line(outcome.message)}" if outcome.message else ""
    return f"{words(outcome.kind)}{said} ({outcome.successes} of {outcome.attempts} attempts succeeded)"


def _cell(row: Row, result: Result, column: ColumnView, notes: _Notes) -> CellView:
    failed_without_number = column.key not in row.metrics and row.outcome.kind != "ok"
    raw = row.metrics.get(column.key, _NOT_RECORDED)
    marks, invalid = notes.of_cell(row.name, column.key)
    if isinstance(raw, Absent) and not failed_without_number:
        title = shown.title_of(column.key)
        marks = (*marks, notes.remark("ABSENT", shown.one_line(row.name), title, shown.one_line(raw.reason)))
    return CellView(
        column=column,
        raw=raw,
        text=shown.measured(column.key, raw),
        interval=shown.interval(column.key, raw),
        struck=invalid and not isinstance(raw, Absent),
        notes=marks,
        comparison=comparison_of(result, row.name, column.key),
    )
