"""One change point in a series, by ranks. It is a finding and no gate: it refuses to strike anything out.

The statistic is Pettitt's (1979): with ranks r, U_k = sum_{i<=k} (2 r_i - n - 1) counts by how much the first k values
lie above the rest; K = max |U_k|. Its own p-value assumes independent values, and calls of one process are not: here it
comes from permutations of runs of neighbouring values, which keep most of the autocorrelation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from assay.core.errors import InputError
from assay.core.records import Absent
from assay.judge.stats.rank import ranks

LEAST_VALUES = 20
PERMUTATIONS = 499


@dataclass(frozen=True)
class ChangePoint:
    """Where a series changes most, and whether chance would do as much."""

    index: int
    """First value of the later part."""
    before: float
    """Median of the earlier part."""
    after: float
    """Median of the later part."""
    p_value: float
    """Share of permutations that split at least as strongly; at least 1/(permutations + 1)."""


def pettitt(values: Sequence[float]) -> tuple[int, float]:
    """Index of the first value after the strongest split, and K = max |U_k|.

    Raises:
        InputError: there are fewer than two values.
    """
    if len(values) < 2:
        raise InputError("a change point", f"{len(values)} values", "Give at least two.")
    return _split(ranks(values))


def _split(ranked: Sequence[float]) -> tuple[int, float]:
    running, best, at = 0.0, -1.0, 1
    offset = len(ranked) + 1
    for index in range(len(ranked) - 1):
        running += 2 * ranked[index] - offset
        if abs(running) > best:
            best, at = abs(running), index + 1
    return at, best


def change_point(
    values: Sequence[float], *, seed: int = 0, permutations: int = PERMUTATIONS, run_length: int = 0
) -> ChangePoint | Absent:
    """The strongest split of a series with its permutation p-value.

    Args:
        values: in the order of time, such as the medians of blocks.
        seed: the same seed gives the same p-value.
        permutations: how many.
        run_length: neighbours that stay together; 0 takes the cube root of the number of values.

    Returns:
        The change point, or Absent below twenty values or for a constant series.
    """
    count = len(values)
    if count < LEAST_VALUES:
        return Absent(reason=f"{count} values; a change point needs {LEAST_VALUES}")
    if min(values) == max(values):
        return Absent(reason="a constant series has no change point")
    ranked = ranks(values)
    at, strength = _split(ranked)
    length = run_length or max(1, math.ceil(count ** (1 / 3)))
    generator = random.Random(seed)
    as_strong = 0
    for _ in range(permutations):
        offset = generator.randrange(count)
        turned = ranked[offset:] + ranked[:offset]
        runs = [turned[start : start + length] for start in range(0, count, length)]
        generator.shuffle(runs)
        as_strong += _split([rank for run in runs for rank in run])[1] >= strength
    return ChangePoint(at, median(values[:at]), median(values[at:]), (as_strong + 1) / (permutations + 1))
