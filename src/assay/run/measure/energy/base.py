"""What every energy meter is, and what is done with its joules. It refuses an energy that did not grow.

A window is begun and ended around work that repeats, at least 5 s of it; the caller synchronises the device at both
ends, and nothing outside of the window is integrated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from assay.core.records import Absent, Estimate, Measured

EnergyKind = Literal["counter", "sampled", "vendor_model", "estimate", "none"]
"""counter: the hardware counts joules. sampled: power is read and integrated. vendor_model: computed by the system from
activity, comparable on one device only. estimate: power times time, which ranks nothing. none: no meter."""

LONGEST_DRIFT = 0.05
"""Share by which idle power may change from before a window to after it, for net energy to be told."""


class EnergyMeter(Protocol):
    """One source of joules."""

    @property
    def name(self) -> str:
        """Such as `RAPL`."""

    @property
    def kind(self) -> EnergyKind:
        """How the joules come about."""

    @property
    def covers(self) -> str:
        """What the joules are of: the processor's package, one GPU, the whole system."""

    def begin_window(self) -> None:
        """Begin to count. A second call begins anew."""

    def end_window(self) -> Estimate | Absent:
        """Joules since `begin_window`, with the interval that the meter's resolution leaves; or why there are none."""


@dataclass(frozen=True)
class NoMeter:
    """Stands where there is no meter: every window is Absent with the reasons."""

    reason: str
    name: str = "none"
    kind: EnergyKind = "none"
    covers: str = "nothing"

    def begin_window(self) -> None:
        """Nothing to begin."""

    def end_window(self) -> Estimate | Absent:
        """Always the reasons."""
        return Absent(reason=self.reason)


def counted(joules: float, seconds: float, period_s: float, method: str) -> Estimate | Absent:
    """Energy of a counter that is updated every `period_s` seconds, with the error of one period at each end.

    Absent where the counter did not move or the window is shorter than a period: zero joules is no measurement.
    """
    if seconds <= period_s:
        return Absent(reason=f"the window of {seconds:.3f} s is not longer than the meter's period of {period_s:g} s")
    if joules <= 0:
        return Absent(reason=f"the meter did not move in {seconds:.1f} s: a reading of zero is no measurement")
    error = joules / seconds * period_s
    return Estimate(value=joules, low=max(0.0, joules - error), high=joules + error, level=1.0, method=method)


def net_energy(
    gross: Estimate | Absent, seconds: float, idle_before_w: Measured, idle_after_w: Measured
) -> Estimate | Absent:
    """Energy above idle: E - idle power x t, where idle was measured for 10 s at least before and after.

    Absent where idle power drifted by more than 5 %, or where nothing is left above it.
    """
    if isinstance(gross, Absent):
        return gross
    if isinstance(idle_before_w, Absent):
        return idle_before_w
    if isinstance(idle_after_w, Absent):
        return idle_after_w
    idle_w = (idle_before_w + idle_after_w) / 2
    drift = abs(idle_after_w - idle_before_w) / idle_w if idle_w > 0 else 1.0
    if drift > LONGEST_DRIFT:
        return Absent(reason=f"idle power drifted by {drift:.0%} around the window (at most {LONGEST_DRIFT:.0%})")
    net_j = gross.value - idle_w * seconds
    if net_j <= 0:
        return Absent(reason=f"the window took no more than idle power ({idle_w:.1f} W) would")
    spread_j = abs(idle_after_w - idle_before_w) / 2 * seconds
    return Estimate(
        value=net_j,
        low=gross.low - idle_w * seconds - spread_j,
        high=gross.high - idle_w * seconds + spread_j,
        level=gross.level,
        method=f"{gross.method}, less idle power of {idle_w:.1f} W",
    )
