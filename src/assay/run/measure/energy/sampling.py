"""Integrates power that is read now and then. It refuses to integrate over a gap."""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence

from assay.core.records import Absent, Estimate, Measured

LEAST_SAMPLES = 10
"""Readings in a window, for its energy to be told."""
LARGEST_GAP = 5.0
"""Longest pause between two readings that is integrated, in median pauses."""

Reading = tuple[float, float]
"""Time in seconds and power in watts."""


def integrate(readings: Sequence[Reading], begin_s: float, end_s: float, method: str) -> Estimate | Absent:
    """Joules of the window by the trapezoid rule.

    At its ends power lies on the line between the readings around them, or is that of the nearest one where there is
    none beyond. The interval is between the sums that take the smaller and the larger reading of every pause.

    Args:
        readings: in the order of time.
        begin_s: begin of the window, on the clock of the readings.
        end_s: its end.
        method: what stands beside the number.
    """
    inside = [(at, watts) for at, watts in readings if begin_s <= at <= end_s]
    if len(inside) < LEAST_SAMPLES:
        return Absent(reason=f"{len(inside)} readings of power in {end_s - begin_s:.1f} s; {LEAST_SAMPLES} are needed")
    pauses = sorted(later[0] - earlier[0] for earlier, later in itertools.pairwise(inside))
    if pauses[-1] > LARGEST_GAP * pauses[len(pauses) // 2]:
        return Absent(reason=f"no power was read for {pauses[-1]:.1f} s of the window")
    points = [(begin_s, _power_at(readings, begin_s)), *inside, (end_s, _power_at(readings, end_s))]
    middle = low = high = 0.0
    for (earlier_s, earlier_w), (later_s, later_w) in itertools.pairwise(points):
        pause = later_s - earlier_s
        middle += pause * (earlier_w + later_w) / 2
        low += pause * min(earlier_w, later_w)
        high += pause * max(earlier_w, later_w)
    if middle <= 0:
        return Absent(reason="every reading of power was zero: that is no measurement")
    return Estimate(value=middle, low=low, high=high, level=1.0, method=method)


def _power_at(readings: Sequence[Reading], moment_s: float) -> float:
    right = bisect_left(readings, moment_s, key=lambda reading: reading[0])
    if right == 0 or right == len(readings):
        return readings[min(right, len(readings) - 1)][1]
    (earlier_s, before_w), (later_s, after_w) = readings[right - 1], readings[right]
    return before_w + (after_w - before_w) * (moment_s - earlier_s) / (later_s - earlier_s)


class PowerSampler:
    """Reads power on a thread of its own between `begin` and `end`.

    Args:
        read: watts now, or why not.
        period_s: pause between readings.
    """

    def __init__(self, read: Callable[[], Measured], period_s: float) -> None:
        self._read = read
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._readings: list[Reading] = []
        self._failure: Absent | None = None
        self._begun_s = 0.0

    def begin(self) -> None:
        """Begin to read; what an earlier window left is forgotten."""
        self._halt()
        self._stop.clear()
        self._readings, self._failure = [], None
        self._begun_s = time.perf_counter()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)
        self._thread.start()

    def end(self, method: str) -> Estimate | Absent:
        """Stop, and integrate what was read."""
        if self._thread is None:
            return Absent(reason="the window was not begun")
        ended_s = time.perf_counter()
        self._halt()
        if self._failure is not None:
            return self._failure
        return integrate(self._readings, self._begun_s, ended_s, method)

    def _run(self) -> None:
        while not self._stop.is_set():
            watts = self._read()
            if isinstance(watts, Absent):
                self._failure = watts
                return
            self._readings.append((time.perf_counter(), watts))
            self._stop.wait(self._period_s)

    def _halt(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
