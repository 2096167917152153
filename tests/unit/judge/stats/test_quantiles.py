"""Quantiles: ranks against scipy's binomial, coverage by simulation."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from assay.core.errors import InputError
from assay.core.records import Absent, Estimate
from assay.judge.stats.quantiles import P90_FROM, P99_FROM, binomial_ranks, p50, p90, p99


@pytest.mark.parametrize(
    ("count", "share"), [(64, 0.9), (100, 0.9), (662, 0.99), (5000, 0.99), (200_000, 0.9), (40, 0.5), (1001, 0.5)]
)
def test_ranks_bracket_the_quantile_with_equal_tails(count: int, share: float) -> None:
    low, high = binomial_ranks(count, share, 0.99)
    below = stats.binom(count, share)
    # x_(low) is above the quantile when fewer than `low` values lie below it; x_(high) below it when at least `high`.
    assert below.cdf(low - 1) <= 0.005 + 1e-9 < below.cdf(low) + 2e-9
    assert below.sf(high - 1) <= 0.005 + 1e-9 < below.sf(high - 2) + 2e-9


@pytest.mark.parametrize(("tail", "least"), [(p90, P90_FROM), (p99, P99_FROM)])
def test_tails_need_their_samples(tail: object, least: int) -> None:
    values = [float(i) for i in range(least)]
    absent = tail(values[:-1])  # type: ignore[operator]
    assert isinstance(absent, Absent)
    assert f"needs {least}" in absent.reason
    assert isinstance(tail(values), Estimate)  # type: ignore[operator]


def test_quantiles_are_numpys() -> None:
    draw = random.Random(1)
    values = [draw.expovariate(1) for _ in range(1000)]
    for found, share in ((p50(values), 0.5), (p90(values), 0.9), (p99(values), 0.99)):
        assert isinstance(found, Estimate)
        assert found.value == pytest.approx(float(np.quantile(values, share)), rel=1e-12)
        assert found.low < found.value < found.high


@pytest.mark.parametrize("count", [6, 9, 12, 25, 40])
def test_the_interval_of_a_median_covers_it(count: int) -> None:
    draw = random.Random(count)
    hits = 0
    for _ in range(1500):
        found = p50([draw.expovariate(1) for _ in range(count)])
        assert isinstance(found, Estimate)
        hits += found.low <= np.log(2) <= found.high
    assert hits / 1500 == pytest.approx(0.95, abs=0.02)  # 95 % and three standard errors, rounded up


def test_few_values_say_what_their_range_covers() -> None:
    found = p50([1.0, 2.0, 4.0])
    assert isinstance(found, Estimate)
    assert (found.low, found.value, found.high, found.level) == (1.0, 2.0, 4.0, 0.75)


@pytest.mark.parametrize("values", [[], [1.0], [3.0] * 50])
def test_no_spread_no_interval(values: list[float]) -> None:
    assert isinstance(p50(values), Absent)


def test_a_level_is_between_0_and_1() -> None:
    with pytest.raises(InputError):
        p50([1.0, 2.0], level=95)
