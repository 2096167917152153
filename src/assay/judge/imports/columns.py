"""What every column of a table is, by name, cells and neighbours. It refuses a metric whose unit is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from assay.core.metrics import METRICS
from assay.judge.imports import facts as stated
from assay.judge.imports.correction import Correction
from assay.judge.imports.document import Cell, Grid
from assay.judge.imports.numbers import EMPTY, Decimal, Number, number_in, plain
from assay.judge.imports.units import Unit
from assay.judge.imports.vocabulary import Role, fits, metric_with_unit, role_of, words_of

TEST = re.compile(r"(?:pp\s?(?P<pp>\d+))?\s?\+?\s?(?:tg\s?(?P<tg>\d+))?(?:\s?@\s?d\s?(?P<d>\d+))?", re.IGNORECASE)
"""The names of llama-bench's tests: `pp512`, `tg128`, `pp512+tg128 @ d4096`."""
_TIME_UNIT = re.compile(
    r"\b(?:times?|timings?|latenc(?:y|ies)|durations?|values|numbers|results)\b[^.\n]{0,40}?"
    r"\bin (ms|milliseconds|s|seconds|µs|us|microseconds)\b|\((ms|milliseconds|s|seconds|µs|us)\)",
    re.IGNORECASE,
)
_SHARE = 0.5
"""Of the cells of a column that must hold what its name says."""


@dataclass
class Column:
    """A column on its way: its role changes as its neighbours become known."""

    place: int
    role: Role
    cells: list[Cell]


def columns_of(grid: Grid, correction: Correction, decimal: Decimal) -> list[Column]:
    """The columns of a grid with their roles, in order."""
    return _Columns(grid, correction, decimal).settled()


class _Columns:
    """The columns of one grid."""

    def __init__(self, grid: Grid, correction: Correction, decimal: Decimal) -> None:
        self._grid, self._correction, self._decimal = grid, correction, decimal
        self._context = (*grid.headings, grid.title)

    def settled(self) -> list[Column]:
        columns = [self._column(place, cells) for place, cells in enumerate(self._grid.columns())]
        return self._with_metrics(self._named_first(columns))

    def _column(self, place: int, cells: list[Cell]) -> Column:
        header = self._grid.header[place].text
        role = self._correction.role(header)
        if role is None:
            role = self._by_content(role_of(header), cells)
        return Column(place, role, cells)

    def _by_content(self, role: Role, cells: list[Cell]) -> Role:
        """A role that the cells contradict is changed; one that the name did not tell is read off the cells."""
        filled = [
            cell.text
            for cell in cells
            if plain(cell.text).casefold() not in EMPTY or cell.text in ("✓", "✗", "✅", "❌")
        ]
        numbers = [number for text in filled if (number := number_in(plain(text), self._decimal))]
        if role.kind == "unit":
            role = replace(role, kind="fact", name="compute_units")
        if role.kind == "fact" and filled:
            if role.name == "size" and any(n.unit and n.unit.base == "B" and n.unit.factor > 1 for n in numbers):
                return replace(role, kind="metric", name="weight_bytes")
            if role.name == "compiled" and numbers and any(n.unit and n.unit.base == "s" for n in numbers):
                return replace(role, kind="metric", name="compile_s")
            readable = [text for text in filled if stated.fact_value(role.name, text, self._decimal) is not None]
            if len(readable) < _SHARE * len(filled):
                return replace(role, kind="label", name="label")
            return role
        if role.kind in ("unknown", "value") and filled:
            if len(numbers) >= _SHARE * len(filled):
                return self._by_unit(role, numbers)
            if all(stated.fact_value("compiled", text) is not None for text in filled) and role.said:
                return role
            if sum(stated.dtype_in(text) is not None for text in filled) > 0.8 * len(filled):
                return replace(role, kind="fact", name="dtype")
            return replace(role, kind="label", name="label")
        return role

    def _by_unit(self, role: Role, numbers: list[Number]) -> Role:
        """A metric that the unit alone tells. A header's own unit of time tells nothing: it may be a spread's."""
        bases = {number.unit.base for number in numbers if number.unit}
        bases = bases or ({role.unit.base} if role.unit else set())
        if len(bases) != 1 or (role.unit is not None and role.unit.base == "s") or role.statistic != "value":
            return role
        base = bases.pop()
        metric = {"s": "call_s", "s/tok": "tpot_s", "tok/s": "tok_per_s", "1/s": "items_per_s", "J": "energy_j",
                  "W": "power_w", "FLOP/s": "achieved_flops_per_s"}.get(base)  # fmt: skip
        return replace(role, kind="metric", name=metric) if metric else role

    def _named_first(self, columns: list[Column]) -> list[Column]:
        """A first column of texts that nothing else claims is the rows' name."""
        if columns and columns[0].role.kind in ("unknown", "value", "unit", "metric_name"):
            columns[0].role = replace(columns[0].role, kind="label", name="label")
        return columns

    def _with_metrics(self, columns: list[Column]) -> list[Column]:
        """Give statistics and vague words the metric that the rest of the table says they are of."""
        last: Column | None = None
        if any(column.role.kind == "statistic" and column.role.statistic == "mean" for column in columns):
            for column in columns:
                if column.role.name == "total":  # beside a mean it is the sum of the samples
                    column.role = replace(column.role, kind="ignore")
        for column in columns:
            if column.role.kind == "statistic":
                metric = self._metric_of_statistic(column, last)
                if metric is None:
                    continue
                unit = column.role.unit or (last.role.unit if last and last.role.name == metric else None)
                column.role = replace(column.role, kind="metric", name=metric, unit=unit)
            if column.role.kind == "metric":
                self._settle(column, columns)
                last = column
        return self._apart(columns)

    def _metric_of_statistic(self, column: Column, last: Column | None) -> str | None:
        unit = column.role.unit or self._cell_unit(column)
        if last is not None and (unit is None or fits(last.role.name, unit)):
            return last.role.name
        for text in reversed(self._context):
            found = role_of(text)
            if found.kind == "metric" and fits(found.name, unit):
                return found.name
        return {"s": "call_s", "s/tok": "tpot_s", "tok/s": "tok_per_s", "J": "energy_j", "W": "power_w"}.get(
            unit.base if unit else ""
        )

    def _cell_unit(self, column: Column) -> Unit | None:
        for cell in column.cells:
            number = number_in(plain(cell.text), self._decimal)
            if number is not None and number.unit is not None:
                return number.unit
        return None

    def _settle(self, column: Column, columns: Sequence[Column]) -> None:
        """The unit of a metric's column, and the metric that a vague word means with it."""
        unit = column.role.unit or self._cell_unit(column)
        name = column.role.name
        base = METRICS[name.partition("@")[0]].unit if name.partition("@")[0] in METRICS else ""
        if unit is None:
            unit = self._borrowed(base or ("s" if name in ("total", "prefill", "decode") else ""), columns)
        settled = metric_with_unit(name, unit) if unit is not None or base not in ("s", "B", "J") else None
        if settled == "total":
            settled = self._total(columns)
        if settled in ("prefill", "decode", "rate", None) or (settled is not None and not fits(settled, unit)):
            column.role = replace(column.role, kind="unknown", unit=unit)
            return
        column.role = replace(column.role, name=str(settled), unit=unit)

    def _borrowed(self, base: str, columns: Sequence[Column]) -> Unit | None:
        """The unit of a column that names none: the map's, that of every like column, or the text's."""
        given = self._correction.default_unit(base)
        if given is not None:
            return given
        units = {
            column.role.unit for column in columns
            if column.role.kind in ("metric", "statistic") and column.role.unit and column.role.unit.base == base
        }  # fmt: skip
        if len(units) == 1:
            return units.pop()
        text = "\n".join((*self._context, *self._grid.prose))[: stated.LIMIT_PROSE]
        said = _TIME_UNIT.search(text)
        if base == "s" and said:
            return role_of(f"time ({said[1] or said[2]})").unit
        return Unit("W", 1) if base == "W" else None

    def _total(self, columns: Sequence[Column]) -> str:
        names = {column.role.name for column in columns}
        if {"forward_s", "backward_s"} <= names:
            return "call_s@step" if "optimizer_step_s" in names else "train_step_s"
        return "end_to_end_s" if names & {"prefill", "prefill_s", "ttft_s", "tpot_s", "decode"} else "call_s"

    def _apart(self, columns: list[Column]) -> list[Column]:
        """Two columns of one metric and statistic are two workloads; what tells their headers apart names them."""
        for column in columns:
            test = TEST.fullmatch(words_of(column.role.said).partition("(")[0].strip())
            if column.role.kind == "metric" and test and (test["pp"] or test["tg"]):
                name = f"prefill {test['pp']}" if test["pp"] else f"decode 0+{test['tg']}"
                column.role = replace(column.role, name=f"{column.role.name}@{name}")
        seen: dict[tuple[str, str, bool], list[Column]] = {}
        for column in columns:
            if column.role.kind == "metric":
                statistic = "value" if column.role.statistic == "mean" else column.role.statistic
                seen.setdefault((column.role.name, statistic, column.role.expected), []).append(column)
        for (name, _, _), same in seen.items():
            if len(same) > 1 and "@" not in name:
                for column in same:
                    apart = _distinct(column, same)
                    if apart:
                        column.role = replace(column.role, name=f"{name}@{apart}")
        return columns


def _distinct(column: Column, same: Sequence[Column]) -> str:
    """The words of a header that its likes do not share."""
    own = words_of(column.role.said).split()
    shared = set.intersection(*(set(words_of(other.role.said).split()) for other in same))
    return " ".join(word.strip("()[],") for word in own if word not in shared)
