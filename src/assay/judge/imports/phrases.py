"""Single statements such as `283ms prediction`, `GPU 975` or `Median load time: 12 ms`. It refuses what is no pair."""

from __future__ import annotations

import re
from typing import NamedTuple

from assay.core.figures import FigureTable
from assay.core.metrics import METRICS
from assay.core.records import Scalar
from assay.judge.imports.numbers import number_in, plain
from assay.judge.imports.units import from_base
from assay.judge.imports.vocabulary import metric_with_unit, role_of, words_of

UNITS = {
    "cpu": "operations_cpu", "gpu": "operations_gpu", "ane": "operations_ane", "ne": "operations_ane",
    "npu": "operations_ane", "neural engine": "operations_ane", "neuralengine": "operations_ane",
}  # fmt: skip
"""Counts of operations, by the name of a compute unit."""
_NUMBER_FIRST = re.compile(
    r"(?P<number>[+\-−]?\d[\d.,]{0,20}(?:\s*(?:±|\+/-)\s*[\d.,]{1,20})?\s*[^\s\d]{0,12})\s+"
    r"(?P<words>[A-Za-z][\w .()/-]{0,60})"
)
_WORDS_FIRST = re.compile(r"(?P<words>[A-Za-z][\w .()/-]{0,60}?)\s*(?::|=|\s)\s*(?P<number>[+\-−]?\d.{0,40})")
_TIMES = {"prediction": "call_s", "predict": "call_s", "inference": "call_s", "load": "load_s",
          "compilation": "compile_s",
          "compile": "compile_s", "first": "first_call_s", "latency": "call_s"}  # fmt: skip


class Statement(NamedTuple):
    """A metric and its value in SI units."""

    metric: str
    value: float
    std: float | None
    digits: int
    written: str


def with_placement(table: FigureTable) -> FigureTable:
    """The table with its counts of operations as facts of their rows too, which is where checks look for them."""
    counts: dict[str, dict[str, Scalar]] = {}
    for figure in table.figures:
        unit = figure.metric.removeprefix("operations_")
        if unit != figure.metric:
            counts.setdefault(figure.row, {})[f"{unit}_ops"] = round(figure.value)
    rows = tuple(
        row.model_copy(update={"facts": {**row.facts, **counts[row.name]}}) if row.name in counts else row
        for row in table.rows
    )
    return table.model_copy(update={"rows": rows}) if counts else table


def statement(text: str) -> Statement | None:
    """What one phrase states, or None where it states no metric that is known."""
    said = plain(text[:200])
    for pattern in (_NUMBER_FIRST, _WORDS_FIRST):
        found = pattern.fullmatch(said)
        if not found:
            continue
        made = _made(found["words"], found["number"], said)
        if made is not None:
            return made
    return None


def _made(name: str, written: str, said: str) -> Statement | None:
    read = number_in(written.strip())
    if read is None or read.is_range or read.is_ratio:
        return None
    words = re.sub(r"\b(ops|operations|layers|median|mean|time|average|avg)\b", " ", words_of(name)).strip()
    if words in UNITS and read.unit is None:
        return Statement(UNITS[words], read.value, None, read.digits, said)
    metric = _TIMES.get(words) or (role.name if (role := role_of(name)).kind == "metric" else None)
    metric = metric_with_unit(metric, read.unit) if metric else None
    if metric is None or read.unit is None or metric.partition("@")[0] not in METRICS:
        return None
    factor = from_base(METRICS[metric.partition("@")[0]].unit, read.unit)
    if factor is None:
        return None
    std = read.std * factor if isinstance(read.std, float) else None
    return Statement(metric, float(f"{read.value * factor:.15g}"), std, read.digits, said)
