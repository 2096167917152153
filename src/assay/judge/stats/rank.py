"""Ranks and Spearman's correlation with time: does a series drift? It refuses series too short to say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from assay.core.records import Absent
from assay.judge.stats import student

LEAST_VALUES = 8


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho and its two-sided p-value."""

    rho: float
    p_value: float


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for position in range(start, end + 1):
            found[order[position]] = (start + end) / 2 + 1
        start = end + 1
    return found


def spearman(xs: Sequence[float], ys: Sequence[float]) -> Correlation | Absent:
    """Rank correlation, with the p-value of t = rho sqrt((n-2)/(1-rho^2)) on n - 2 degrees of freedom.

    Returns:
        The correlation, or Absent below eight values, for unequal lengths, or where one side is constant.
    """
    count = len(xs)
    if count != len(ys) or count < LEAST_VALUES:
        return Absent(reason=f"{count} and {len(ys)} values; a rank correlation needs {LEAST_VALUES} pairs")
    centre = (count + 1) / 2
    a, b = [rank - centre for rank in ranks(xs)], [rank - centre for rank in ranks(ys)]
    scale = math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
    if scale == 0:
        return Absent(reason="one side is constant: it has no rank correlation")
    rho = math.fsum(x * y for x, y in zip(a, b, strict=True)) / scale
    if abs(rho) >= 1:
        return Correlation(math.copysign(1.0, rho), 0.0)
    return Correlation(rho, student.two_sided_p(rho * math.sqrt((count - 2) / (1 - rho * rho)), count - 2))


def drift(values: Sequence[float]) -> Correlation | Absent:
    """Spearman's correlation of a series with its own order."""
    return spearman(list(range(len(values))), values)
