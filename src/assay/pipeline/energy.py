"""Energy of a workload: windows of their own after the timed turns, one row after another, several calls each.

Idle power is taken before the first and after the last of them, while the workers sleep, and net energy is what was
spent above it. It refuses to integrate anything else than the window, to give joules from a window that is too short
for its meter, and to take windows where they would eat the time in which speed is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from assay.core.records import Absent, Estimate, Measured, Samples, Scalar
from assay.run.measure.energy.base import EnergyMeter, net_energy

WINDOW_S = 5.0
"""Least length of a window: 50 periods of the slowest counter."""
SLOW_WINDOW_S = 12.0
"""Of a battery, which is read once a second: 10 readings are needed."""
IDLE_S = 10.0
"""Of idle power, before and after."""
ROUNDS = 3
"""Rounds in which windows are taken: the first ones."""
MOST_SHARE = 0.5
"""Of a round's time that its windows may take."""
BLOCK_S = 1.0
"""Of the calls that are asked for at once."""


_NO_IDLE = Absent(reason="idle power was not measured")


@dataclass(frozen=True)
class Spent:
    """What one window gave: its joules, or why there are none."""

    joules: Estimate | Absent
    """Of the whole window."""
    calls: int
    window_s: float
    net_joules: Estimate | Absent = _NO_IDLE
    """Of the whole window, above idle."""

    def above_idle(self, before_w: Measured, after_w: Measured) -> Spent:
        """The same with its net joules, by the idle power before and after."""
        return replace(self, net_joules=net_energy(self.joules, self.window_s, before_w, after_w))

    def samples(self) -> list[Samples]:
        """One value each of `energy_j` and `net_energy_j`, joules of a call, where they are known."""
        found = (("energy_j", self.joules), ("net_energy_j", self.net_joules))
        return [
            Samples(metric=metric, values=(joules.value / self.calls,))
            for metric, joules in found
            if not isinstance(joules, Absent)
        ]

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
            "energy_interval_j": f"{self.joules.low / self.calls:.6g} to {self.joules.high / self.calls:.6g}",
            "net_energy": self.net_joules.reason if isinstance(self.net_joules, Absent) else self.net_joules.method,
        }


@dataclass(frozen=True)
class Energy:
    """A meter, and when its windows are taken.

    Args:
        meter: of the device that computes.
        clock: seconds, of the length of windows.
        sleep: waits so many seconds while idle power is taken.
    """

    meter: EnergyMeter
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep

    @property
    def window_s(self) -> float:
        """Seconds of one window at least."""
        return SLOW_WINDOW_S if self.meter.name == "battery" else WINDOW_S

    def seconds(self, windows: int) -> float:
        """Seconds that a round's windows take, idle power included."""
        return windows * self.window_s + 2 * IDLE_S

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
        if self.seconds(windows) > MOST_SHARE * share_s:
            return (
                f"{windows} windows of {self.window_s:g} s and twice {IDLE_S:g} s of idle power take too much of a "
                f"round's {share_s:.0f} s: give more time"
            )
        return ""

    def idle_power(self) -> Measured:
        """Watts while nothing is asked of the workers, over `IDLE_S` seconds."""
        self.meter.begin_window()
        began = self.clock()
        self.sleep(IDLE_S)
        found = self.meter.end_window()
        return found if isinstance(found, Absent) else found.value / (self.clock() - began)

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
        return Spent(found, calls, self.clock() - began)


def absent(meter: EnergyMeter, reason: str) -> dict[str, Scalar]:
    """Facts of a run without joules."""
    return {"energy_kind": meter.kind, "energy_absent": reason}
