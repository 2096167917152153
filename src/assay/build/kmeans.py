"""Optimal k-means of numbers on a line, compiled by numba; it refuses values that are not finite.

Sorted distinct values with counts are cut into k intervals. Let G_k[i] be the most that k intervals of the first i
values take off their sum of squares, and gain(j, i) = moment^2 / weight of the values j .. i. Then
G_k[i] = max_j G_(k-1)[j] + gain(j, i). The best j grows with i and with k (the gains are Monge; Knuth 1971, Wu 1991,
Wang and Song 2011), so that a position between two known ones searches only between their answers: O(k n log n).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Cuts = NDArray[np.int32]


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
        threads: groups that are solved at the same time.

    Raises:
        ValueError: a value is not finite or not larger than the one before.
    """
    for group in groups:
        if not np.isfinite(group.values).all() or (np.diff(group.values) <= 0).any():
            raise ValueError("the values of a group must be finite and strictly increasing")

    def solved(group: Histogram) -> Floats:
        if len(group.values) <= k:
            return group.values
        centres: Floats = _solve(group.values, group.counts, k)
        return centres

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(solved, groups))


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _solve(values: Floats, counts: Floats, k: int) -> Floats:
    """Centres of one group of more than k distinct values."""
    n = len(values)
    mean = (values * counts).sum() / counts.sum()
    weight, moment = np.zeros(n + 1), np.zeros(n + 1)
    for i in range(n):
        weight[i + 1] = weight[i] + counts[i]
        # About the group's mean: large equal parts would cancel badly.
        moment[i + 1] = moment[i] + counts[i] * (values[i] - mean)
    gain, grown = np.zeros(n + 1), np.empty(n + 1)
    gain[1:] = moment[1:] ** 2 / weight[1:]
    cuts = np.zeros((k, n + 1), np.int32)
    for clusters in range(1, k):
        _add_cluster(weight, moment, gain, cuts[clusters - 1], grown, cuts[clusters], clusters)
        gain, grown = grown, gain
    centres, end = np.empty(k), n
    for cluster in range(k - 1, -1, -1):
        begin = cuts[cluster, end] if cluster else 0
        centres[cluster] = (moment[end] - moment[begin]) / (weight[end] - weight[begin]) + mean
        end = begin
    return centres


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _add_cluster(
    weight: Floats, moment: Floats, gain: Floats, before: Cuts, grown: Floats, cut: Cuts, clusters: int
) -> None:
    """Fill `grown`, the best gain of each position in one cluster more, and `cut`, where its last cluster begins.

    Positions of no more values than `clusters` keep what `before` says: no position asks for them.
    """
    n = len(weight) - 1
    cut[:] = before
    grown[:] = 0.0
    stride = 1
    while 2 * stride <= n:
        stride *= 2
    while stride >= 1:
        for i in range(stride, n + 1, 2 * stride):
            if i <= clusters:
                continue
            low = max(before[i], clusters)
            if i - stride > clusters:
                low = max(low, cut[i - stride])
            high = min(i - 1, cut[i + stride]) if i + stride <= n else i - 1
            best = -1.0
            for j in range(low, high + 1):
                apart = moment[i] - moment[j]
                total = gain[j] + apart * apart / (weight[i] - weight[j])
                if total > best:
                    best, cut[i] = total, j
            grown[i] = best
        stride //= 2
