"""Optimal k-means of numbers on a line, for many groups at once; it refuses values that are not finite.

Sorted distinct values with counts are cut into k intervals. With D_k[i] the least squared error of the first i values
in k intervals, D_k[i] = min_j D_(k-1)[j] + error(j, i). The best j grows with i (the error is Monge), so that the rows
between two known ones search only between their answers, and it grows with k (Knuth 1971; Wu 1991; Wang and Song 2011).
All groups and all rows of one distance are computed together, as arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_BATCH_VALUES = 1 << 16
"""Distinct values handled together: arrays that stay in the second-level cache and still amortise a call."""


@dataclass(frozen=True)
class Histogram:
    """Sorted distinct values and how often each occurs."""

    values: Floats
    counts: Floats


def optimal_centres(groups: Sequence[Histogram], k: int) -> list[Floats]:
    """Centres of the optimal k-means of each group, sorted; fewer than k where a group has fewer distinct values.

    Args:
        groups: one histogram per group, finite and strictly increasing.
        k: number of centres, at least 1.

    Raises:
        ValueError: a value is not finite or not larger than the one before.
    """
    centres: list[Floats] = [group.values for group in groups]
    for group in groups:
        if not np.isfinite(group.values).all() or (np.diff(group.values) <= 0).any():
            raise ValueError("the values of a group must be finite and strictly increasing")
    waiting = [number for number, group in enumerate(groups) if len(group.values) > k]
    while waiting:
        taken = 1
        size = len(groups[waiting[0]].values)
        while taken < len(waiting) and size + len(groups[waiting[taken]].values) <= _BATCH_VALUES:
            size += len(groups[waiting[taken]].values)
            taken += 1
        batch, waiting = waiting[:taken], waiting[taken:]
        for number, found in zip(batch, _solve([groups[number] for number in batch], k), strict=True):
            centres[number] = found
    return centres


class _Tables:
    """Prefix sums of several groups end to end; each group of n values has the n + 1 positions 0 .. n."""

    def __init__(self, groups: Sequence[Histogram]) -> None:
        sizes = np.array([len(group.values) + 1 for group in groups])
        self.first = np.concatenate(([0], np.cumsum(sizes)))
        self.last = self.first[1:] - 1
        self.weight = np.zeros(self.first[-1])
        self.moment = np.zeros(self.first[-1])
        """Sum of count times value, about the group's mean: large equal parts would cancel badly."""
        self.means = [float(np.average(group.values, weights=group.counts)) for group in groups]
        for start, group, mean in zip(self.first, groups, self.means, strict=False):
            inside = slice(start + 1, start + 1 + len(group.values))
            self.weight[inside] = np.cumsum(group.counts)
            self.moment[inside] = np.cumsum(group.counts * (group.values - mean))
        self.local = np.arange(self.first[-1]) - np.repeat(self.first[:-1], sizes)
        self.group_last = np.repeat(self.last, sizes)
        widest = int(sizes.max()) - 1
        self.strides = [1 << power for power in reversed(range(widest.bit_length()))]
        self.rows = {stride: np.flatnonzero(self.local % (2 * stride) == stride) for stride in self.strides}


def _solve(groups: Sequence[Histogram], k: int) -> list[Floats]:
    """Centres of groups that all have more than k distinct values."""
    tables = _Tables(groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = np.where(tables.weight > 0, tables.moment**2 / tables.weight, 0.0)
    cuts = []
    before = np.repeat(tables.first[:-1], np.diff(tables.first))
    for clusters in range(2, k + 1):
        gain, before = _add_cluster(tables, gain, before, clusters)
        cuts.append(before.astype(np.int32))
    return _centres(tables, cuts)


def _add_cluster(tables: _Tables, gain: Floats, before: Integers, clusters: int) -> tuple[Floats, Integers]:
    """Best gain of each prefix in one cluster more, and where its last cluster begins.

    The gain of a cluster is moment^2 / weight: what it takes off the sum of squares, so that the largest is sought.
    """
    grown = np.zeros_like(gain)
    cut = np.array(before)
    for stride in tables.strides:
        rows = tables.rows[stride]
        rows = rows[tables.local[rows] >= clusters]
        if not len(rows):
            continue
        start = rows - tables.local[rows]
        earlier, later = rows - stride, rows + stride
        low = np.maximum(before[rows], start + clusters - 1)
        low = np.maximum(low, np.where(tables.local[rows] - stride >= clusters, cut[earlier], low))
        known = later <= tables.group_last[rows]
        high = np.where(known, np.minimum(rows - 1, cut[np.where(known, later, rows)]), rows - 1)
        grown[rows], cut[rows] = _best_between(tables, gain, rows, low, high)
    return grown, cut


def _best_between(
    tables: _Tables, gain: Floats, rows: Integers, low: Integers, high: Integers
) -> tuple[Floats, Integers]:
    """For each row the largest gain[j] + gain of (j, row] over low <= j <= high, and the first such j."""
    lengths = high - low + 1
    ends = np.cumsum(lengths)
    begins = ends - lengths
    j = np.arange(ends[-1])
    j += np.repeat(low - begins, lengths)
    moment = np.repeat(tables.moment[rows], lengths)
    moment -= tables.moment[j]
    weight = np.repeat(tables.weight[rows], lengths)
    weight -= tables.weight[j]
    moment *= moment
    moment /= weight
    moment += gain[j]
    best = np.maximum.reduceat(moment, begins)
    hits = np.flatnonzero(moment == np.repeat(best, lengths))
    return best, j[hits[np.searchsorted(hits, begins)]]


def _centres(tables: _Tables, cuts: Sequence[NDArray[np.int32]]) -> list[Floats]:
    """Follow the cuts back from the end of each group; the centre of a cluster is its mean."""
    end = tables.last
    columns = []
    for cut in reversed(cuts):
        begin = cut[end].astype(np.int64)
        columns.append(_mean(tables, begin, end))
        end = begin
    columns.append(_mean(tables, tables.first[:-1], end))
    stacked = np.stack(columns[::-1], axis=1)
    return [row + mean for row, mean in zip(stacked, tables.means, strict=True)]


def _mean(tables: _Tables, begin: Integers, end: Integers) -> Floats:
    mean: Floats = (tables.moment[end] - tables.moment[begin]) / (tables.weight[end] - tables.weight[begin])
    return mean
