"""The detector on series that settle, that never do, and that have no time to."""

from __future__ import annotations

import random

import pytest

from assay.core.errors import InputError
from assay.judge.stats.steady import SteadyState


def feed(values: list[float], block_s: float = 0.01, cap_s: float = 30.0) -> SteadyState:
    detector = SteadyState(cap_s=cap_s)
    for value in values:
        if detector.settled or detector.no_steady_state:
            break
        detector.add(value, block_s)
    return detector


def test_a_slow_start_is_waited_out() -> None:
    draw = random.Random(1)
    # Each block is 15 % nearer to 1 than the one before, with 1 % of noise: within 3 % of it from block 33.
    found = [feed([1 + 5 * 0.85**i + draw.gauss(0, 0.01) for i in range(200)]).blocks for _ in range(50)]
    assert min(found) > 18
    assert sorted(found)[25] < 60


def test_stationary_noise_settles_at_once_or_soon() -> None:
    draw = random.Random(2)
    found = [feed([draw.lognormvariate(0, 0.05) for _ in range(100)]) for _ in range(200)]
    assert all(detector.settled for detector in found)
    assert sum(detector.blocks == 10 for detector in found) > 120
    assert max(detector.blocks for detector in found) < 40


def test_a_steady_fall_reaches_the_cap() -> None:
    detector = feed([1000.0 * 0.97**i for i in range(1000)], block_s=0.1, cap_s=5.0)
    assert detector.no_steady_state
    assert not detector.settled
    assert detector.elapsed_s == pytest.approx(5.0)
    assert "no steady state after 50 blocks" in detector.describe()


def test_long_calls_settle_in_small_groups() -> None:
    detector = feed([9.0, 4.1, 4.0, 4.05, 4.02], block_s=4.0, cap_s=30.0)
    assert detector.group == 2
    assert detector.settled
    assert detector.blocks == 5


def test_calls_too_long_for_the_cap_say_so() -> None:
    detector = feed([9.0, 8.0, 7.0], block_s=8.0, cap_s=20.0)
    assert detector.no_steady_state
    assert "left room for 3 blocks" in detector.describe()


def test_a_coarse_clock_is_no_reason_to_wait() -> None:
    assert feed([0.016] * 5 + [0.01601] * 5).settled


def test_it_stays_settled() -> None:
    detector = feed([1.0] * 10)
    detector.add(50.0, 0.01)
    assert detector.settled
    assert "settled after 11 blocks" in detector.describe()
    assert "not settled yet" in feed([1.0, 2.0]).describe()


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError):
        SteadyState(cap_s=0)
    with pytest.raises(InputError):
        SteadyState().add(1.0, -1.0)
