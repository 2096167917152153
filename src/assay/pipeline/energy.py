"""Energy of a workload: windows of their own after the timed turns, one row after another, several calls each.

It refuses to integrate anything else than the window, to give joules from a window that is too short for its meter, and
to take windows where they would eat the time in which speed is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from assay.core.records import Absent, Estimate, Samples, Scalar
from assay.run.measure.energy.base import EnergyMeter

WINDOW_S = 5.0
"""Least length of a window: 50 periods of the slowest counter."""
SLOW_WINDOW_S = 12.0
"""Of a battery, which is read once a second: 10 readings are needed."""
ROUNDS = 3
"""Rounds in which windows are taken: the first ones."""
MOST_SHARE = 0.5
"""Of a round's time that its windows may take."""
BLOCK_S = 1.0
"""Of the calls that are asked for at once."""


@dataclass(frozen=True)
class Spent:
    """What one window gave: joules of a call, or why there are none."""

    joules: Estimate | Absent
    calls: int
    window_s: float

    def samples(self) -> list[Samples]:
        """One value of `energy_j`, or nothing."""
        if isinstance(self.joules, Absent):
            return []
        return [Samples(metric="energy_j", values=(self.joules.value,))]

    def facts(self, meter: EnergyMeter) -> dict[str, Scalar]:
        """What stands beside it in the run."""
        if isinstance(self.joules, Absent):
            return absent(meter, self.joules.reason)
        return {
            "energy_kind": meter.kind,
            "energy_meter": f"{meter.name}: {meter.covers}",
            "energy_method": self.joules.method,
            "energy_window_s": self.window_s,
            "energy_calls": self.calls,
            "energy_interval_j": f"{self.joules.low:.6g} to {self.joules.high:.6g}",
        }


@dataclass(frozen=True)
class Energy:
    """A meter, and when its windows are taken.

    Args:
        meter: of the device that computes.
        clock: seconds, of the length of windows.
    """

    meter: EnergyMeter
    clock: Callable[[], float] = time.perf_counter

    @property
    def window_s(self) -> float:
        """Seconds of one window at least."""
        return SLOW_WINDOW_S if self.meter.name == "battery" else WINDOW_S

    def refusal(self, index: int, windows: int, share_s: float) -> str:
        """Why no window is taken in this round; empty where they are.

        Args:
            index: of the round.
            windows: that the round would take.
            share_s: seconds that the round has.
        """
        if self.meter.kind == "none":
            found = self.meter.end_window()
            return found.reason if isinstance(found, Absent) else "there is no energy meter"
        if index >= ROUNDS:
            return f"energy is measured in the first {ROUNDS} rounds"
        if windows * self.window_s > MOST_SHARE * share_s:
            return (
                f"{windows} windows of {self.window_s:g} s take too much of a round's {share_s:.0f} s: give more time"
            )
        return ""

    def measure(self, block: Callable[[], int]) -> Spent:
        """One window: blocks of calls until it is long enough.

        Args:
            block: makes some calls, with the device synchronised at both ends, and says how many; 0 ends the window.
        """
        calls = 0
        self.meter.begin_window()
        began = self.clock()
        while self.clock() - began < self.window_s:
            made = block()
            if not made:
                self.meter.end_window()
                return Spent(Absent(reason="the worker ended inside of the energy window"), calls, 0.0)
            calls += made
        found = self.meter.end_window()
        window_s = self.clock() - began
        if isinstance(found, Estimate):
            share = {"value": found.value / calls, "low": found.low / calls, "high": found.high / calls}
            found = found.model_copy(update=share)
        return Spent(found, calls, window_s)


def absent(meter: EnergyMeter, reason: str) -> dict[str, Scalar]:
    """Facts of a run without joules."""
    return {"energy_kind": meter.kind, "energy_absent": reason}
