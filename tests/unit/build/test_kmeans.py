"""Optimal one-dimensional k-means against an O(k n^2) dynamic programme and a library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.build.kmeans import Histogram, optimal_centres


def least_error(group, k):
    """Least weighted squared error of k intervals, by trying every last interval of every prefix."""
    values, counts = group.values, group.counts
    n = len(values)
    error = np.zeros((n, n + 1))
    for first in range(n):
        for end in range(first + 1, n + 1):
            part, weight = values[first:end], counts[first:end]
            error[first, end] = (weight * (part - np.average(part, weights=weight)) ** 2).sum()
    best = np.full(n + 1, np.inf)
    best[0] = 0.0
    for _ in range(k):
        best = np.array([0.0] + [min(best[j] + error[j, i] for j in range(i)) for i in range(1, n + 1)])
    return best[n]


def error_of(group, centres):
    return (group.counts * np.min((group.values[:, None] - centres) ** 2, axis=1)).sum()


HISTOGRAMS = st.lists(
    st.tuples(st.integers(-1000, 1000), st.integers(1, 50)), min_size=1, max_size=24, unique_by=lambda pair: pair[0]
).map(lambda pairs: Histogram(*np.array(sorted(pairs), dtype=np.float64).T))


@settings(max_examples=60)
@given(st.lists(HISTOGRAMS, min_size=1, max_size=4), st.integers(1, 9))
def test_the_error_is_the_least_one(groups, k):
    for group, centres in zip(groups, optimal_centres(groups, k), strict=True):
        assert len(centres) == min(k, len(group.values))
        assert (np.diff(centres) > 0).all()
        # Integers below 2^53 / 50: float64 differs by its rounding alone.
        assert error_of(group, centres) == pytest.approx(least_error(group, k), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("k", [2, 7, 16])
def test_groups_of_real_shapes_are_solved_exactly(k):
    rng = np.random.default_rng(k)
    groups = [
        Histogram(np.unique(draw), np.ones(len(np.unique(draw))))
        for draw in (rng.normal(size=90), rng.laplace(size=70), rng.normal(size=80) ** 3, 5 + rng.random(60) * 1e-3)
    ]
    for group, centres in zip(groups, optimal_centres(groups, k), strict=True):
        assert error_of(group, centres) == pytest.approx(least_error(group, k), rel=1e-9)


@pytest.mark.parametrize("values", [[0.0, np.nan], [0.0, np.inf], [1.0, 1.0], [2.0, 1.0]])
def test_values_that_are_no_histogram_are_refused(values):
    with pytest.raises(ValueError, match="finite and strictly increasing"):
        optimal_centres([Histogram(np.array(values), np.ones(2))], 1)
