"""Ranks and Spearman's correlation against scipy."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from assay.core.records import Absent
from assay.judge.stats.rank import Correlation, drift, ranks, spearman


@settings(max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_ranks_share_ties(values: list[int]) -> None:
    assert ranks(values) == list(stats.rankdata(values))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", [8, 30, 200])
def test_spearman_is_scipys(count: int, ties: bool) -> None:
    draw = random.Random(count)
    xs = [float(i) for i in range(count)]
    ys = [x / count + draw.gauss(0, 0.5) for x in xs]
    if ties:
        ys = [float(round(y)) for y in ys]
    found, expected = spearman(xs, ys), stats.spearmanr(xs, ys)
    assert isinstance(found, Correlation)
    assert found.rho == pytest.approx(expected.statistic, rel=1e-10)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-8)


def test_a_monotone_series_drifts_for_certain() -> None:
    assert drift([float(i) for i in range(12)]) == Correlation(1.0, 0.0)


@pytest.mark.parametrize("values", [[1.0] * 20, [1.0, 2.0, 3.0]])
def test_what_has_no_correlation_is_absent(values: list[float]) -> None:
    assert isinstance(drift(values), Absent)
