"""Optimal k-means of numbers on a line, for many groups at once; it refuses values that are not finite.

Sorted distinct values with counts are cut into k intervals. Let G_k[i] be the most that k intervals of the first i
values take off their sum of squares, and gain(j, i) = moment^2 / weight of the values j .. i. Then
G_k[i] = max_j G_(k-1)[j] + gain(j, i). The best j grows with i and with k (the gains are Monge; Knuth 1971, Wu 1991,
Wang and Song 2011), so that a row between two known ones searches only between their answers. All rows of one distance
of all groups are computed together, as arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_BATCH_VALUES = 1 << 15
"""Distinct values handled together: arrays that stay in the second-level cache and still amortise a call."""


@dataclass(frozen=True)
class Histogram:
    """Sorted distinct values and how often each occurs."""

    values: Floats
    counts: Floats


def optimal_centres(groups: Sequence[Histogram], k: int, threads: int = 1) -> list[Floats]:
    """Centres of the optimal k-means of each group, sorted; fewer than k where a group has fewer distinct values.

    Args:
        groups: one histogram per group, finite and strictly increasing.
        k: number of centres, at least 1.
        threads: batches of groups that are solved at the same time.

    Raises:
        ValueError: a value is not finite or not larger than the one before.
    """
    for group in groups:
        if not np.isfinite(group.values).all() or (np.diff(group.values) <= 0).any():
            raise ValueError("the values of a group must be finite and strictly increasing")
    centres: list[Floats] = [group.values for group in groups]
    batches = list(_batches(groups, [number for number, group in enumerate(groups) if len(group.values) > k]))
    with ThreadPoolExecutor(threads) as pool:
        solved = pool.map(lambda batch: _solve([groups[number] for number in batch], k), batches)
        for batch, found in zip(batches, solved, strict=True):
            for number, group_centres in zip(batch, found, strict=True):
                centres[number] = group_centres
    return centres


def _batches(groups: Sequence[Histogram], numbers: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of groups, as many at a time as have `_BATCH_VALUES` values together, one at least."""
    batch: list[int] = []
    size = 0
    for number in numbers:
        if batch and size + len(groups[number].values) > _BATCH_VALUES:
            yield batch
            batch, size = [], 0
        batch.append(number)
        size += len(groups[number].values)
    if batch:
        yield batch


@dataclass(frozen=True)
class _Rows:
    """Positions whose number in their group is an odd multiple of `stride`."""

    stride: int
    positions: Integers
    numbers: Integers
    first: Integers
    """Position 0 of the group of each."""
    later: Integers
    """The position `stride` further on, or the end of all tables where the group has none."""


class _Tables:
    """Prefix sums of several groups end to end; each group of n values has the n + 1 positions 0 .. n."""

    def __init__(self, groups: Sequence[Histogram]) -> None:
        sizes = np.array([len(group.values) + 1 for group in groups])
        self.first = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        self.last = self.first + sizes - 1
        self.length = int(sizes.sum())
        self.weight = np.zeros(self.length)
        self.moment = np.zeros(self.length)
        """Sum of count times value, about the group's mean: large equal parts would cancel badly."""
        self.means = [float(np.average(group.values, weights=group.counts)) for group in groups]
        for start, group, mean in zip(self.first, groups, self.means, strict=True):
            inside = slice(start + 1, start + 1 + len(group.values))
            self.weight[inside] = np.cumsum(group.counts)
            self.moment[inside] = np.cumsum(group.counts * (group.values - mean))
        numbers = np.arange(self.length) - np.repeat(self.first, sizes)
        last = np.repeat(self.last, sizes)
        self.rows = []
        stride = 1 << (int(sizes.max()) - 1).bit_length()
        while stride := stride // 2:
            chosen = np.flatnonzero(numbers % (2 * stride) == stride)
            later = np.where(chosen + stride <= last[chosen], chosen + stride, self.length)
            self.rows.append(_Rows(stride, chosen, numbers[chosen], chosen - numbers[chosen], later))

    def mean(self, begin: Integers, end: Integers) -> Floats:
        """Mean of the values from position `begin` to `end`, about the group's mean."""
        found: Floats = (self.moment[end] - self.moment[begin]) / (self.weight[end] - self.weight[begin])
        return found


def _solve(groups: Sequence[Histogram], k: int) -> list[Floats]:
    """Centres of groups that all have more than k distinct values."""
    tables = _Tables(groups)
    gain = np.divide(tables.moment**2, tables.weight, out=np.zeros(tables.length), where=tables.weight > 0)
    # The last entry stands for the position behind a group's last one, which bounds nothing.
    cut = np.append(np.repeat(tables.first, tables.last - tables.first + 1), tables.length)
    cuts = []
    for clusters in range(2, k + 1):
        gain, cut = _add_cluster(tables, gain, cut, clusters)
        cuts.append(cut.astype(np.int32))
    end = tables.last
    columns = []
    for followed in reversed(cuts):
        begin = followed[end].astype(np.int64)
        columns.append(tables.mean(begin, end))
        end = begin
    columns.append(tables.mean(tables.first, end))
    stacked = np.stack(columns[::-1], axis=1)
    return [row + mean for row, mean in zip(stacked, tables.means, strict=True)]


def _add_cluster(tables: _Tables, gain: Floats, before: Integers, clusters: int) -> tuple[Floats, Integers]:
    """Best gain of each position in one cluster more than `gain`, and where its last cluster begins.

    Positions of fewer values than clusters keep what they have: no position asks for them.
    """
    grown = np.zeros_like(gain)
    cut = before.copy()
    for rows in tables.rows:
        kept = slice(None) if clusters <= rows.stride else rows.numbers >= clusters
        positions = rows.positions[kept]
        if not len(positions):
            continue
        low = np.maximum(cut[positions], cut[positions - rows.stride])
        np.maximum(low, rows.first[kept] + (clusters - 1), out=low)
        high = np.minimum(cut[rows.later[kept]], positions - 1)
        grown[positions], cut[positions] = _best_between(tables, gain, positions, low, high)
    return grown, cut


def _best_between(
    tables: _Tables, gain: Floats, rows: Integers, low: Integers, high: Integers
) -> tuple[Floats, Integers]:
    """For each row i the largest gain[j] + gain of (j, i] over low <= j <= high, and the first such j."""
    lengths = high - low
    lengths += 1
    ends = lengths.cumsum()
    begins = ends - lengths
    row = np.repeat(np.arange(len(rows)), lengths)
    j = np.arange(ends[-1])
    j += (low - begins)[row]
    total = tables.moment[rows][row]
    total -= tables.moment[j]
    total *= total
    weight = tables.weight[rows][row]
    weight -= tables.weight[j]
    total /= weight
    total += gain[j]
    best = np.maximum.reduceat(total, begins)
    hits = np.flatnonzero(total == best[row])
    if len(hits) > len(rows):
        hits = hits[np.flatnonzero(np.diff(row[hits], prepend=-1))]
    return best, j[hits]
