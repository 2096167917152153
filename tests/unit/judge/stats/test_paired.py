"""Paired figures against brute force and known answers."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.core.records import Absent, Samples
from assay.judge.stats.paired import block_medians, hodges_lehmann, round_log_ratio

FLOATS = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=60)
@given(st.lists(FLOATS, min_size=1, max_size=25))
def test_hodges_lehmann_is_the_median_of_all_walsh_averages(values: list[float]) -> None:
    walsh = [(a + b) / 2 for a, b in combinations_with_replacement(values, 2)]
    assert hodges_lehmann(values) == pytest.approx(float(np.median(walsh)), rel=1e-12, abs=1e-9)


@settings(max_examples=30)
@given(st.lists(FLOATS, min_size=1, max_size=15), st.floats(-1e3, 1e3))
def test_hodges_lehmann_moves_with_the_values(values: list[float], shift: float) -> None:
    moved = hodges_lehmann([value + shift for value in values])
    assert moved == pytest.approx(hodges_lehmann(values) + shift, rel=1e-9, abs=1e-6)


def test_hodges_lehmann_refuses_nothing() -> None:
    with pytest.raises(InputError, match="no values"):
        hodges_lehmann([])


def samples(values: list[float], blocks: list[int], warmup: int = 0) -> Samples:
    return Samples(metric="tpot_s", values=tuple(values), block=tuple(blocks), warmup=warmup)


def test_blocks_of_one_turn_are_paired_and_warm_up_is_left_out() -> None:
    # The machine slows down tenfold in turn 2; the variant takes twice the baseline in every turn.
    baseline = samples([99, 1.0, 1.0, 10.0], [-1, 0, 1, 2], warmup=1)
    variant = samples([99, 98, 2.0, 2.0, 2.0, 20.0], [-2, -1, 0, 0, 1, 2], warmup=2)
    ratio = round_log_ratio(baseline, variant)
    assert not isinstance(ratio, Absent)
    assert ratio.turns == 3
    assert ratio.log_ratio == pytest.approx(math.log(2))
    assert ratio.log_ratio_of_minima == pytest.approx(math.log(2))


def test_only_common_turns_count() -> None:
    ratio = round_log_ratio(samples([1, 1, 1], [0, 1, 2]), samples([3, 5], [1, 7]))
    assert not isinstance(ratio, Absent)
    assert ratio.turns == 1
    assert ratio.log_ratio == pytest.approx(math.log(3))
    assert ratio.log_ratio_of_medians == pytest.approx(math.log(4))


@settings(max_examples=30)
@given(st.lists(st.floats(0.001, 10), min_size=2, max_size=20), st.floats(0.1, 10))
def test_a_constant_factor_is_found_whatever_the_drift(drift: list[float], factor: float) -> None:
    blocks = list(range(len(drift)))
    ratio = round_log_ratio(samples(drift, blocks), samples([factor * d for d in drift], blocks))
    assert not isinstance(ratio, Absent)
    assert ratio.log_ratio == pytest.approx(math.log(factor), abs=1e-12)


def test_one_value_per_round_needs_no_blocks() -> None:
    ratio = round_log_ratio(Samples(metric="load_s", values=(2.0,)), Samples(metric="load_s", values=(3.0,)))
    assert not isinstance(ratio, Absent)
    assert ratio.log_ratio == pytest.approx(math.log(1.5))


def test_workers_loaded_in_turn_are_not_paired_by_block_number() -> None:
    ratio = round_log_ratio(samples([1, 9, 1], [0, 1, 2]), samples([2, 2, 18], [0, 1, 2]), in_turns=False)
    assert not isinstance(ratio, Absent)
    assert ratio.log_ratio == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("baseline", "variant", "reason"),
    [
        (samples([1, 1], [0, 1]), samples([1, 1], [2, 3]), "in common"),
        (samples([1, 1], [0, 1], warmup=2), samples([1, 1], [0, 1]), "the baseline has no steady values"),
        (samples([1, 1], [0, 1]), samples([1, 0.0], [0, 1]), "the variant has a tpot_s of 0"),
        (
            Samples(metric="tpot_s", values=(1.0, 1.0)),
            Samples(metric="tpot_s", values=(1.0, 2.0)),
            "no steady block",
        ),
    ],
)
def test_what_cannot_be_paired_is_absent_with_its_reason(baseline: Samples, variant: Samples, reason: str) -> None:
    found = round_log_ratio(baseline, variant)
    assert isinstance(found, Absent)
    assert reason in found.reason


def test_block_medians_keep_the_order_of_the_blocks() -> None:
    found = block_medians(samples([5, 1, 3, 2], [7, 4, 4, 4]))
    assert found == {7: 5, 4: median([1, 3, 2])}
    assert list(found) == [7, 4]
