"""Times calls with one monotonic clock that all processes of a machine share. It refuses to time with the collector on.

`time.perf_counter_ns` is CLOCK_MONOTONIC on Linux, mach_absolute_time on macOS and QueryPerformanceCounter on Windows:
each counts from the boot of the machine, so starts taken in different workers can be put in order.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Argument = TypeVar("Argument")

NANOSECOND = 1e-9
"""Seconds in one tick of the clock."""


@contextmanager
def collector_off() -> Iterator[None]:
    """Hold the garbage collector off inside the block; it is put back as it was found.

    Nothing is collected on the way in: a full collection with a runtime loaded takes longer than a block, and leaves
    the processor's caches full of other things.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def timed_calls(call: Callable[[], object], count: int) -> tuple[list[int], list[int]]:
    """Call `call` `count` times and time each on its own.

    Returns:
        Start of each call and duration of each call, both in nanoseconds.

    The lists are allocated before the first call; inside the loop there is the pair of clock readings and two stores.
    The caller turns the collector off (`collector_off`) and synchronises the device at both ends.
    """
    clock = time.perf_counter_ns
    starts = [0] * count
    ends = [0] * count
    for index in range(count):
        starts[index] = clock()
        call()
        ends[index] = clock()
    return starts, [end - start for start, end in zip(starts, ends, strict=True)]


def timed_each(call: Callable[[Argument], object], arguments: Sequence[Argument]) -> tuple[list[int], list[int]]:
    """Like `timed_calls`, with one argument per call: `call(arguments[0])`, `call(arguments[1])`..."""
    clock = time.perf_counter_ns
    starts = [0] * len(arguments)
    ends = [0] * len(arguments)
    for index, argument in enumerate(arguments):
        starts[index] = clock()
        call(argument)
        ends[index] = clock()
    return starts, [end - start for start, end in zip(starts, ends, strict=True)]


def in_seconds(starts_ns: Sequence[int], durations_ns: Sequence[int]) -> list[tuple[float, float]]:
    """Pairs (started_s, seconds) from what `timed_calls` returns."""
    return [
        (start * NANOSECOND, duration * NANOSECOND) for start, duration in zip(starts_ns, durations_ns, strict=True)
    ]


def clock_resolution_s(readings: int = 2000) -> float:
    """Smallest step, in seconds, that the clock was seen to take between readings that follow each other.

    It is measured, because what the system declares (`time.get_clock_info`) is often finer than what it delivers.
    """
    clock = time.perf_counter_ns
    smallest = 0
    for _ in range(readings):
        before = clock()
        after = clock()
        while after == before:
            after = clock()
        step = after - before
        smallest = step if smallest == 0 else min(smallest, step)
    return smallest * NANOSECOND


def clock_overhead_s(calls: int = 20_000) -> float:
    """Mean cost, in seconds, that `timed_calls` adds to one timed call: the whole loop around an empty function."""
    with collector_off():
        before = time.perf_counter_ns()
        timed_calls(_nothing, calls)
        whole = time.perf_counter_ns() - before
    return whole * NANOSECOND / calls


def _nothing() -> None:
    """What is called when only the harness is to be timed."""
