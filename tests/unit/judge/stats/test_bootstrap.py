"""The bootstrap against scipy's, its coverage, and what it refuses."""

from __future__ import annotations

import math
import random
from statistics import fmean, median

import pytest
from scipy import stats

from assay.core.errors import InputError
from assay.core.records import Absent, Estimate
from assay.judge.stats.bootstrap import bootstrap, expanded, paired_mean


def test_the_interval_agrees_with_scipys_percentiles() -> None:
    draw = random.Random(4)
    values = [draw.lognormvariate(0, 0.4) for _ in range(40)]
    for statistic in (fmean, median):
        ours = bootstrap(values, statistic, resamples=6000)
        assert isinstance(ours, Estimate)
        theirs = stats.bootstrap(
            (values,),
            lambda x, s=statistic: float(s(list(x))),
            vectorized=False,
            method="percentile",
            n_resamples=6000,
            confidence_level=1 - 2 * expanded(0.95, 40),
            random_state=1,
        ).confidence_interval
        width = theirs.high - theirs.low
        # Monte Carlo error of a percentile of 6,000 resamples: some 3 % of the width.
        assert ours.low == pytest.approx(theirs.low, abs=0.06 * width)
        assert ours.high == pytest.approx(theirs.high, abs=0.06 * width)
        assert ours.value == statistic(values)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [1.0, 2.0, 5.0, 3.0]
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3)
    assert bootstrap(values, seed=3) != bootstrap(values, seed=4)


@pytest.mark.parametrize("count", [8, 20])
def test_the_interval_of_a_mean_covers_it(count: int) -> None:
    draw = random.Random(count)
    hits = 0
    for seed in range(200):
        found = bootstrap([draw.gauss(0, 1) for _ in range(count)], seed=seed, resamples=300)
        assert isinstance(found, Estimate)
        hits += found.low <= 0 <= found.high
    assert hits / 200 == pytest.approx(0.95, abs=0.046)  # three standard errors


@pytest.mark.parametrize("values", [[], [1.0], [2.0] * 30])
def test_constant_samples_get_no_bootstrap(values: list[float]) -> None:
    assert isinstance(bootstrap(values), Absent)


def test_chunks_widen_the_interval_of_correlated_tokens() -> None:
    draw = random.Random(9)
    differences, level = [], 0.0
    for _ in range(40 * 64):
        level = 0.95 * level + draw.gauss(0, 1)
        differences.append(level)
    chunked, alone = paired_mean(differences, chunk=64), bootstrap(differences, resamples=500)
    assert isinstance(chunked, Estimate)
    assert isinstance(alone, Estimate)
    assert chunked.value == pytest.approx(fmean(differences))
    # The deviation of a mean of AR(1) values is sqrt((1 + r)/(1 - r)) = 6.2 times that of independent ones.
    assert (chunked.high - chunked.low) / (alone.high - alone.low) == pytest.approx(6.2, rel=0.4)


def test_a_short_last_chunk_joins_the_one_before() -> None:
    found = paired_mean([0.1, -0.1] * 320 + [5.0] * 10, chunk=128)
    assert isinstance(found, Estimate)
    assert "5 chunks" in found.method
    assert found.value == pytest.approx(50 / 650)


def test_too_few_chunks_are_absent() -> None:
    assert isinstance(paired_mean([0.1, 0.2] * 500, chunk=512), Absent)
    assert isinstance(paired_mean([0.0] * 5120), Absent)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError):
        bootstrap([1.0, 2.0], level=0)
    with pytest.raises(InputError):
        paired_mean([1.0], chunk=0)


def test_percentiles_move_outwards_by_students_t() -> None:
    assert expanded(0.95, 10_000) == pytest.approx(0.025, abs=1e-4)
    reach = math.sqrt(5 / 4) * stats.t.ppf(0.975, 4)
    assert expanded(0.95, 5) == pytest.approx(stats.norm.cdf(-reach), rel=1e-9)
