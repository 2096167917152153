"""The clock: starts and durations belong to their calls, and the loop around them costs next to nothing."""

from __future__ import annotations

import gc
import time

import pytest

from assay.run.measure.clock import (
    clock_overhead_s,
    clock_resolution_s,
    collector_off,
    in_seconds,
    timed_calls,
    timed_each,
)


def test_every_call_is_timed_on_its_own() -> None:
    pauses = iter((0.001, 0.005, 0.001))
    starts, durations = timed_calls(lambda: time.sleep(next(pauses)), 3)
    assert len(starts) == len(durations) == 3
    assert durations[1] > durations[0]
    assert durations[1] >= 5_000_000
    assert starts == sorted(starts)
    assert starts[1] >= starts[0] + durations[0]


def test_arguments_come_in_order() -> None:
    seen: list[int] = []
    starts, durations = timed_each(seen.append, [3, 1, 2])
    assert seen == [3, 1, 2]
    assert len(starts) == len(durations) == 3


def test_no_call_gives_no_time() -> None:
    assert timed_calls(lambda: None, 0) == ([], [])


def test_starts_are_those_of_the_clock_that_all_processes_share() -> None:
    before = time.perf_counter()
    [(start, seconds)] = in_seconds(*timed_calls(lambda: None, 1))
    assert before <= start <= time.perf_counter()
    assert seconds >= 0


def test_the_collector_is_put_back_as_it_was() -> None:
    with collector_off():
        assert not gc.isenabled()
        with collector_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_collector_is_put_back_after_an_error() -> None:
    with pytest.raises(KeyError), collector_off():
        raise KeyError
    assert gc.isenabled()


def test_resolution_and_overhead_are_positive_and_small() -> None:
    """No absolute time is asserted on a shared machine beyond what no clock of ours misses by a factor of 100."""
    assert 0 < clock_resolution_s() < 1e-3
    assert 0 < clock_overhead_s(2000) < 1e-4
