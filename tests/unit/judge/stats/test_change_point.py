"""Pettitt's statistic against its definition, and the permutation p-value on series with and without a step."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.core.records import Absent
from assay.judge.stats.change_point import ChangePoint, change_point, pettitt


def brute(values: list[float]) -> tuple[int, float]:
    """K as the sum of signs over all pairs across the split, for every split."""
    sums = []
    for split in range(1, len(values)):
        pairs = ((a, b) for a in values[:split] for b in values[split:])
        sums.append(abs(sum((a > b) - (a < b) for a, b in pairs)))
    return sums.index(max(sums)) + 1, float(max(sums))


@settings(max_examples=50)
@given(st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=25))
def test_the_statistic_is_the_sum_of_signs(values: list[float]) -> None:
    at, strength = pettitt(values)
    assert strength == pytest.approx(brute(values)[1])
    assert brute(values)[1] == pytest.approx(abs(sum((a > b) - (a < b) for a in values[:at] for b in values[at:])))


def test_a_step_is_found_where_it_is() -> None:
    draw = random.Random(1)
    found = change_point([draw.gauss(0, 1) + (2.0 if i >= 60 else 0.0) for i in range(100)])
    assert isinstance(found, ChangePoint)
    assert abs(found.index - 60) <= 4
    assert found.p_value < 0.01
    assert found.after - found.before == pytest.approx(2, abs=0.5)


def series(draw: random.Random, correlation: float) -> list[float]:
    values, level = [], 0.0
    for _ in range(80):
        level = correlation * level + draw.gauss(0, 1)
        values.append(level)
    return values


@pytest.mark.parametrize(("correlation", "most"), [(0.0, 5), (0.5, 9)])
def test_stationary_series_are_rarely_flagged(correlation: float, most: int) -> None:
    draw = random.Random(3)
    flagged = 0
    for _ in range(100):
        found = change_point(series(draw, correlation), permutations=99)
        assert isinstance(found, ChangePoint)
        flagged += found.p_value <= 0.01
    assert flagged <= most


def test_short_or_constant_series_are_absent() -> None:
    assert isinstance(change_point([1.0, 2.0] * 5), Absent)
    assert isinstance(change_point([1.0] * 50), Absent)
    with pytest.raises(InputError):
        pettitt([1.0])
