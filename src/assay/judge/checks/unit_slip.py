"""Rule 15: a cell that is a thousand times its neighbours: another unit."""

from __future__ import annotations

import math
from statistics import median

from assay.core.metrics import METRICS
from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, entries
from assay.judge.checks.policy import CheckPolicy

NAME = "unit_slip"
RULE = "15"
_FACTORS = (1e3, 1e-3, 1e6, 1e-6, 1024.0, 1 / 1024.0)
_FRACTIONS = (100.0, 0.01)
_LEAST = 3


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look, column by column, for a cell that lies among the others once it is multiplied by a unit's factor."""
    if subject.rows:
        return Answer()
    columns: dict[tuple[str, str, str], list[tuple[Entry, float]]] = {}
    for entry in entries(subject):
        for figure in entry.figures():
            metric = figure.metric.partition("@")[0]
            if figure.value > 0 and metric in METRICS:
                columns.setdefault((entry.label, entry.workload, metric), []).append((entry, figure.value))
    findings = [
        finding
        for (_, _, metric), cells in columns.items()
        for index in range(len(cells))
        if len(cells) >= _LEAST and (finding := _slip(metric, cells, index, policy)) is not None
    ]
    return Answer(tuple(findings))


def _slip(metric: str, cells: list[tuple[Entry, float]], index: int, policy: CheckPolicy) -> Finding | None:
    entry, value = cells[index]
    others = [other for place, (_, other) in enumerate(cells) if place != index]
    low, high, middle = min(others), max(others), median(others)
    if high > policy.unit_range * low:
        return None
    factors = _FRACTIONS if METRICS[metric].unit == "1" else _FACTORS
    jump = value / middle
    least = 30.0 if METRICS[metric].unit == "1" else 200.0
    if 1 / least < jump < least:
        return None
    near = min(factors, key=lambda factor: abs(math.log(jump / factor)))
    if not low / policy.unit_slack <= value / near <= high * policy.unit_slack:
        return None
    return Finding(
        check=NAME,
        severity="WARN",
        cells=(entry.cell(metric),),
        numbers={"value": value, "median_of_others": middle, "ratio": jump},
        summary=f"{metric} of {entry.name} is {jump:.3g} x the median of the other {len(others)} rows, and lies "
        "among them "
        f"once divided by {near:g}",
        cause="cause unknown; a cell in another unit looks like this",
        remedy="Look up the unit at the source; if it is right, the cell needs an explanation",
    )
