"""Recognises what a table says: the role of every column, by name and by content, and figures in SI units.

It refuses to fill a gap: a time without a unit, a word that could be two things and a cell that holds no number are
listed as not read, each with its place.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence

from assay.core.figures import FACTS, Figure, FigureRow, FigureTable, PrintedRatio
from assay.core.metrics import METRICS
from assay.core.records import Absent, Measured, Scalar
from assay.judge.imports import facts as stated
from assay.judge.imports.columns import TEST, Column, columns_of
from assay.judge.imports.correction import NOTHING, Correction
from assay.judge.imports.document import Cell, Grid, bounded
from assay.judge.imports.numbers import EMPTY, Decimal, Number, decimal_of, number_in, plain
from assay.judge.imports.orient import oriented
from assay.judge.imports.units import Unit, from_base
from assay.judge.imports.vocabulary import EXPECTED, Role, role_of, words_of

_OUTCOME = re.compile(
    r"\b(oom|out of memory|fail(ed|ure)?|error|crash(ed)?|time(d)? ?-?out|killed|unsupported)\b", re.IGNORECASE
)
_FRACTIONS = frozenset({"accuracy", "top1_agreement", "mfu", "mbu", "utilisation", "acceptance_rate"})
_CATEGORIES = (
    "model", "size", "dtype", "weight_bits", "compiled", "runtime", "device", "compute_units", "batch", "concurrency",
    "prompt_tokens", "new_tokens", "context", "threads", "phase", "dataset", "stride", "role",
)  # fmt: skip
"""Facts that tell rows apart, and so may name them."""
_TIMES = frozenset({"s"})
_PHASE_METRICS = {
    "prefill": {"tok_per_s": "prefill_tok_per_s", "call_s": "prefill_s"},
    "decode": {"tok_per_s": "decode_tok_per_s", "call_s": "call_s@decode"},
    "forward": {"call_s": "forward_s"},
    "backward": {"call_s": "backward_s"},
    "load model": {"call_s": "load_s"},
    "per token": {"call_s": "tpot_s"},
}
"""What a general metric is in a row, or under a heading, of one phase."""
LIMIT_UNREAD = 40


def recognise(grid: Grid, source: str, correction: Correction = NOTHING) -> tuple[FigureTable, ...]:
    """The figures of a grid: one table of measurements, one of expected values beside them, or none.

    Args:
        grid: a table as written.
        source: the file's name.
        correction: what the user's map says.
    """
    written = correction.table(grid.title)
    if written is not None and written.ignore:
        return ()
    grid = bounded(grid)
    decimal = decimal_of(cell.text for row in grid.rows for cell in row)
    grid = oriented(grid, decimal, lambda text: correction.role(text) or role_of(text))
    return _Recogniser(grid, source, correction, decimal).tables()


class _Recogniser:
    """One grid on its way to figures."""

    def __init__(self, grid: Grid, source: str, correction: Correction, decimal: Decimal) -> None:
        self._grid, self._source, self._correction, self._decimal = grid, source, correction, decimal
        self._unread = list(grid.unread)
        self._recognised = [*grid.notes, *(["a comma stands before fractions"] if decimal == "," else [])]
        self._figures: list[tuple[Figure, bool]] = []
        self._ratios: list[PrintedRatio] = []
        prose = stated.prose_facts((*grid.headings, *grid.prose))
        self._unread += prose.unclear
        self._prose = prose
        self._phase = {name: text for heading in grid.headings for name, text in _phase_of(heading).items()}

    def tables(self) -> tuple[FigureTable, ...]:
        columns = columns_of(self._grid, self._correction, self._decimal)
        rows = self._rows(columns)
        self._read_figures(columns, [row.name for row in rows], rows)
        self._read_ratios(columns, [row.name for row in rows])
        if not self._figures and not self._ratios:
            return self._nothing(columns)
        return self._built(rows)

    # ------------------------------------------------------------------------------------------ rows

    def _rows(self, columns: Sequence[Column]) -> list[FigureRow]:
        labels = [column for column in columns if column.role.kind == "label"]
        telling = [column for column in columns if column.role.kind == "fact"]
        facts = [self._row_facts(place, labels, telling) for place in range(len(self._grid.rows))]
        return [
            FigureRow(name=name, facts=row)
            for name, row in zip(self._row_names(labels, telling, facts), facts, strict=True)
        ]

    def _row_facts(self, place: int, labels: Sequence[Column], telling: Sequence[Column]) -> dict[str, Scalar]:
        facts: dict[str, Scalar] = {}
        for column in labels:
            facts |= stated.label_facts(plain(column.cells[place].text))
        for column in telling:
            cell = column.cells[place]
            if not cell.text.strip() or (plain(cell.text).casefold() in EMPTY and column.role.name not in stated.FLAGS):
                continue
            value = stated.fact_value(column.role.name, cell.text, self._decimal)
            if value is None:
                self._miss(cell, f"no {column.role.name}")
                continue
            if column.role.name == "parameters" and column.role.unit is not None and isinstance(value, int | float):
                value = round(_float(cell.text, self._decimal) * column.role.unit.factor)
            facts[column.role.name] = value
            if column.role.name in ("model", "phase"):
                facts = {**stated.label_facts(plain(cell.text)), **facts}
        phase = facts.get("phase")
        return facts | _tested(str(phase)) if phase is not None else facts

    def _row_names(
        self, labels: Sequence[Column], telling: Sequence[Column], facts: Sequence[Mapping[str, Scalar]]
    ) -> list[str]:
        named = labels or [column for column in telling if column.role.name in _CATEGORIES][:1]
        others = [column for column in telling if column not in named and column.role.name in _CATEGORIES]
        others.sort(key=lambda column: column.place)
        names = [_joined(named, place) for place in range(len(facts))]
        for column in others:
            if len(set(names)) == len(names):
                break
            if len({plain(cell.text) for cell in column.cells}) > 1:
                names = [
                    f"{name}, {_said(column, place)}" if _said(column, place) else name
                    for place, name in enumerate(names)
                ]
        alone = self._grid.title if len(names) == 1 else ""
        names = [name.strip(" ,") or alone or f"row {place + 1}" for place, name in enumerate(names)]
        seen: dict[str, int] = {}
        unique = []
        for name in names:
            seen[name] = seen.get(name, 0) + 1
            unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
        return unique

    # ------------------------------------------------------------------------------------------ figures

    def _read_figures(self, columns: Sequence[Column], names: Sequence[str], rows: Sequence[FigureRow]) -> None:
        groups: dict[tuple[str, bool], dict[str, Column]] = {}
        for column in columns:
            header = self._grid.header[column.place].text
            if column.role.kind == "metric":
                self._recognised.append(f"{column.role.said or header}: {_in_words(column.role)}")
                key = "value" if column.role.statistic == "mean" else column.role.statistic
                group = groups.setdefault((column.role.name, column.role.expected), {})
                if key in group:
                    self._unread.append(f"column {column.role.said!r}: {_in_words(column.role)} stands twice")
                group.setdefault(key, column)
            elif column.role.kind == "fact":
                self._recognised.append(
                    f"{column.role.said or header}: {FACTS.get(column.role.name, column.role.name)}"
                )
            elif column.role.kind in ("unknown", "statistic", "value"):
                why = (
                    "a unit is missing"
                    if column.role.name in METRICS or column.role.name in ("prefill", "decode", "rate")
                    else "not recognised"
                )
                self._unread.append(f"column {(column.role.said or header)!r}: {why}")
        for (metric, _), group in groups.items():
            for place, name in enumerate(names):
                self._figure(metric, group, place, name, rows[place].facts)

    def _figure(
        self, metric: str, group: Mapping[str, Column], place: int, row: str, facts: Mapping[str, Scalar]
    ) -> None:
        column = group.get("value") or group.get("median")
        if column is None:
            return
        cell = column.cells[place]
        read = self._number(cell)
        if read is None:
            return
        if read.is_ratio:
            self._ratios.append(_printed(row, metric, read, cell))
            return
        unit = read.unit or column.role.unit
        factor = self._factor(metric, unit, column, read)
        if factor is None:
            self._miss(cell, f"no {metric.partition('@')[0]} in this unit")
            return
        spread = {
            name: self._spread(metric, group.get(name), place, unit) for name in ("std", "minimum", "maximum", "error")
        }
        if read.ratio is not None:
            self._ratios.append(PrintedRatio(row=row, metric=metric, value=read.ratio, digits=2, where=cell.where))
        final = _by_phase(metric, self._phase | dict(facts))
        figure = Figure(
            row=row,
            metric=final,
            value=_finite(read.value * factor),
            std=_scaled(read.std, factor, spread["std"], "no spread is given"),
            error=spread["error"] if spread["error"] is not None else Absent(reason="no standard error is given"),
            minimum=_scaled(read.minimum, factor, spread["minimum"], "no minimum is given"),
            maximum=_scaled(read.maximum, factor, spread["maximum"], "no maximum is given"),
            digits=read.digits,
            written=plain(cell.text),
            where=cell.where,
        )
        self._figures.append((figure, column.role.expected or bool(EXPECTED.match(words_of(row)))))
        for statistic, name in (("p90", "call_p90_s"), ("p99", "call_p99_s")):
            tail = self._spread(metric, group.get(statistic), place, unit)
            if tail is not None and final == "call_s":
                where = group[statistic].cells[place].where
                self._figures.append((Figure(row=row, metric=name, value=tail, where=where), column.role.expected))

    def _number(self, cell: Cell) -> Number | None:
        said = plain(cell.text)
        read = number_in(said, self._decimal)
        if read is None and said.casefold() not in EMPTY and not _OUTCOME.search(said):
            self._miss(cell, "no number")
        return read

    def _spread(self, metric: str, column: Column | None, place: int, value_unit: Unit | None) -> float | None:
        if column is None:
            return None
        read = self._number(column.cells[place])
        if read is None:
            return None
        factor = self._factor(metric, read.unit or column.role.unit or value_unit, column, read)
        return None if factor is None else _finite(read.value * factor)

    def _factor(self, metric: str, unit: Unit | None, column: Column, read: Number) -> float | None:
        base = metric.partition("@")[0]
        known = METRICS.get(base)
        wanted = known.unit if known else "1"
        if unit is None:
            if base in _FRACTIONS and self._in_percent(column):
                return 0.01
            return None if wanted in ("s", "B", "J", "tok/s", "1/s", "FLOP/s") else 1.0
        if unit.base == "count" and wanted == "1":
            return unit.factor
        return from_base(wanted, unit)

    def _in_percent(self, column: Column) -> bool:
        numbers = [number.value for cell in column.cells if (number := number_in(plain(cell.text), self._decimal))]
        return bool(numbers) and max(numbers) > 1.5 and max(numbers) <= 100.5

    def _read_ratios(self, columns: Sequence[Column], names: Sequence[str]) -> None:
        first = next((c.role.name for c in columns if c.role.kind == "metric" and _is_speed(c.role.name)), None)
        for column in columns:
            if column.role.kind != "ratio":
                continue
            metric = self._ratio_of(column, columns) or first
            if metric is None or column.role.unit is not None:
                self._unread.append(f"column {column.role.said!r}: a ratio of what is not said")
                continue
            self._recognised.append(f"{column.role.said}: printed ratio of {metric.partition('@')[0]}")
            against = self._against(column, names)
            for place, row in enumerate(names):
                read = self._number(column.cells[place])
                if read is not None and read.unit is None and not read.is_range:
                    printed = _printed(row, metric, read, column.cells[place])
                    self._ratios.append(printed.model_copy(update={"against": against}))
                elif read is not None:
                    self._miss(column.cells[place], "no plain ratio")

    def _ratio_of(self, column: Column, columns: Sequence[Column]) -> str | None:
        """The metric that a ratio's own header names: a rate before a time of the same phase."""
        named = role_of(re.sub(r"speed ?-?up|ratio|relative|saving|reduction|vs\.? .*", " ", column.role.name)).name
        like = [
            other.role.name
            for other in columns
            if named and other.role.kind == "metric" and other.role.name.startswith(named.removesuffix("_s"))
        ]
        return next((name for name in like if name.endswith("_per_s")), like[0] if like else None)

    def _against(self, column: Column, names: Sequence[str]) -> str | Absent:
        said = re.search(
            r"\b(?:vs\.?|over|against|relative to|compared (?:to|with))\s+(.+?)\)?$", words_of(column.role.said)
        )
        if said:
            like = [name for name in names if said[1] in words_of(name)]
            if len(like) == 1:
                return like[0]
        ones = [
            name for place, name in enumerate(names)
            if (number := number_in(plain(column.cells[place].text), self._decimal)) and number.value == 1
        ]  # fmt: skip
        return ones[0] if len(ones) == 1 else Absent(reason="the source does not say against which row")

    # ------------------------------------------------------------------------------------------ the table

    def _miss(self, cell: Cell, why: str) -> None:
        self._unread.append(f"{cell.where or 'a cell'}: {plain(cell.text)[:40]!r} is {why}")

    def _nothing(self, columns: Sequence[Column]) -> tuple[FigureTable, ...]:
        """A table without figures is told of only where somebody could have expected one: it holds numbers."""
        numeric = sum(
            number_in(plain(cell.text), self._decimal) is not None for column in columns for cell in column.cells
        )
        if not numeric:
            return ()
        return (
            FigureTable(
                title=self._grid.title, source=self._source, rows=(), figures=(), unread=_limited(self._unread),
                recognised=tuple(dict.fromkeys(self._recognised)),
            ),
        )  # fmt: skip

    def _built(self, rows: Sequence[FigureRow]) -> tuple[FigureTable, ...]:
        written = self._correction.table(self._grid.title)
        heading = " ".join(self._grid.headings[-1:])
        whole = (written is not None and written.expected) or bool(
            _EXPECTED_HEADING.search(words_of(f"{heading} {self._grid.title}"))
        )
        facts: dict[str, Scalar] = {}
        for heading in self._grid.headings:
            facts |= stated.label_facts(heading) | _phase_of(heading)
        facts |= {**self._prose.facts, **self._grid.facts, **dict(self._correction.facts)}
        facts |= dict(written.facts) if written is not None else {}
        rows = _with_outcomes(rows, self._grid)
        tables: list[FigureTable] = []
        for expected in (False, True):
            figures = tuple(figure for figure, is_expected in self._figures if whole or is_expected == expected)
            ratios = tuple(self._ratios) if not expected or whole else ()
            if (whole and not expected) or not (figures or ratios):
                continue
            used = {figure.row for figure in figures} | {ratio.row for ratio in ratios}
            known = tuple(row for row in rows if row.name in used or (not expected and "status" in row.facts))
            tables.append(
                FigureTable(
                    title=f"{self._grid.title}, expected" if expected and not whole else self._grid.title,
                    source=self._source,
                    rows=known,
                    figures=figures,
                    facts=facts,
                    hypotheses=self._prose.hypotheses,
                    expected=expected,
                    unread=_limited(self._unread) if not tables else (),
                    recognised=tuple(dict.fromkeys(self._recognised)) if not tables else (),
                    ratios=ratios,
                )
            )
        return tuple(tables)


_EXPECTED_HEADING = re.compile(
    r"\b(expected|theoretical|predicted|projected|hoped|ideal|estimated|anticipated|targets?$|"
    r"target (values|numbers|results|performance))\b"
)


def _phase_of(heading: str) -> dict[str, Scalar]:
    """A heading that is nothing but a phase, as optimum-benchmark writes its reports."""
    phase = words_of(heading)
    return {"phase": phase} if phase in _PHASE_METRICS else {}


def _tested(phase: str) -> dict[str, Scalar]:
    """The facts of llama-bench's `pp512`, `tg128`, `pp512+tg128 @ d4096`."""
    test = TEST.fullmatch(phase.strip())
    if not test or not (test["pp"] or test["tg"]):
        return {}
    facts: dict[str, Scalar] = {
        "phase": "generate" if test["pp"] and test["tg"] else "prefill" if test["pp"] else "decode"
    }
    facts |= {name: int(test[key]) for name, key in (("prompt_tokens", "pp"), ("new_tokens", "tg")) if test[key]}
    return facts


def _by_phase(metric: str, facts: Mapping[str, Scalar]) -> str:
    """A row of one phase makes a general metric the phase's own."""
    phase = words_of(str(facts.get("phase", "")))
    return _PHASE_METRICS.get(phase, {}).get(metric, metric)


def _is_speed(metric: str) -> bool:
    known = METRICS.get(metric.partition("@")[0])
    return known is not None and known.unit in ("s", "tok/s", "1/s")


def _printed(row: str, metric: str, read: Number, cell: Cell) -> PrintedRatio:
    return PrintedRatio(row=row, metric=metric, value=read.value, digits=read.digits, where=cell.where)


def _scaled(own: Measured, factor: float, column: float | None, reason: str) -> Measured:
    if column is not None:
        return column
    return Absent(reason=reason) if isinstance(own, Absent) else _finite(own * factor)


def _finite(value: float) -> float:
    """A scaled value with the binary dust of the scaling wiped off, and never infinite."""
    return float(f"{value:.15g}") if math.isfinite(value) else math.copysign(sys.float_info.max, value)


def _float(text: str, decimal: Decimal) -> float:
    number = number_in(plain(text), decimal)
    return number.value if number else 0.0


def _joined(columns: Sequence[Column], place: int) -> str:
    return ", ".join(text for column in columns if (text := _said(column, place)))


def _said(column: Column, place: int) -> str:
    text = plain(column.cells[place].text)
    if not text or column.role.kind == "label":
        return text
    prefix = {"batch": "batch ", "prompt_tokens": "T ", "context": "context ", "threads": "threads "}.get(
        column.role.name, ""
    )
    if column.role.name == "compiled":
        flag = stated.fact_value("compiled", column.cells[place].text)
        return "compiled" if flag else "eager" if flag is False else text
    return text if prefix.strip() in text else f"{prefix}{text}"


def _in_words(role: Role) -> str:
    name, _, workload = role.name.partition("@")
    title = METRICS[name].title if name in METRICS else name
    statistic = "" if role.statistic in ("value", "mean") else f", {role.statistic}"
    expected = ", expected" if role.expected else ""
    return f"{title}{f' ({workload})' if workload else ''}{statistic}{expected}"


def _with_outcomes(rows: Sequence[FigureRow], grid: Grid) -> list[FigureRow]:
    """Rows whose cells say that a run failed keep that as a fact."""
    found = []
    for row, cells in zip(rows, grid.rows, strict=True):
        said = next((plain(cell.text) for cell in cells if _OUTCOME.search(plain(cell.text))), None)
        facts = {**row.facts, "status": said} if said and "status" not in row.facts else row.facts
        found.append(row.model_copy(update={"facts": facts}) if said else row)
    return found


def _limited(unread: Sequence[str]) -> tuple[str, ...]:
    lines = tuple(dict.fromkeys(unread))
    if len(lines) <= LIMIT_UNREAD:
        return lines
    return (*lines[:LIMIT_UNREAD], f"and {len(lines) - LIMIT_UNREAD} more like these")
