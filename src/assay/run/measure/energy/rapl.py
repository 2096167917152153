"""Energy of the processor's packages, from Linux's powercap (RAPL of Intel and AMD). It refuses to sum what overlaps.

A platform (`psys`) contains its packages, and a package its cores: only packages are read, and only they are summed.
Memory outside of the package is not covered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assay.core.records import Absent, Estimate
from assay.run.measure.energy.base import EnergyKind, counted

PERIOD_S = 0.001
"""The counter is updated about every millisecond."""
_MICROJOULE = 1e-6


@dataclass(frozen=True)
class _Zone:
    """One package."""

    energy: Path
    range_uj: int
    """Where the counter begins again at zero."""


class RaplMeter:
    """Counts joules of all packages. Make one with `open_rapl`.

    Args:
        zones: the packages.
        clock: seconds.
    """

    name = "RAPL"
    kind: EnergyKind = "counter"

    def __init__(self, zones: tuple[_Zone, ...], clock: Callable[[], float] = time.perf_counter) -> None:
        self._zones = zones
        self._clock = clock
        self._begun: tuple[float, tuple[int, ...]] | Absent = Absent(reason="the window was not begun")

    @property
    def covers(self) -> str:
        """How many packages."""
        return f"{len(self._zones)} processor package{'s' if len(self._zones) > 1 else ''}, memory not included"

    def begin_window(self) -> None:
        """Read every package."""
        counts = self._counts()
        self._begun = counts if isinstance(counts, Absent) else (self._clock(), counts)

    def end_window(self) -> Estimate | Absent:
        """Joules of all packages; a counter that fell has wrapped once."""
        begun, counts, now = self._begun, self._counts(), self._clock()
        if isinstance(begun, Absent):
            return begun
        if isinstance(counts, Absent):
            return counts
        started_s, first = begun
        total_uj = 0
        for zone, before, after in zip(self._zones, first, counts, strict=True):
            total_uj += after - before if after >= before else after - before + zone.range_uj
        return counted(total_uj * _MICROJOULE, now - started_s, PERIOD_S, f"RAPL, {self.covers}")

    def _counts(self) -> tuple[int, ...] | Absent:
        found = []
        for zone in self._zones:
            count = _number(zone.energy)
            if isinstance(count, Absent):
                return count
            found.append(count)
        return tuple(found)


def open_rapl(root: Path = Path("/"), clock: Callable[[], float] = time.perf_counter) -> RaplMeter | Absent:
    """The meter of this machine's packages, or why there is none.

    Args:
        root: the root of the file system; another one in tests.
        clock: seconds.
    """
    folder = root / "sys/class/powercap"
    zones = []
    for path in sorted(folder.glob("intel-rapl:*")):
        name = path / "name"
        if path.name.count(":") != 1 or not name.is_file() or not name.read_text().startswith("package"):
            continue
        count, limit = _number(path / "energy_uj"), _number(path / "max_energy_range_uj")
        if isinstance(count, Absent):
            return count
        if isinstance(limit, Absent):
            return limit
        if count == 0:
            return Absent(reason=f"RAPL is there, but {path.name} reads zero: that is no measurement")
        zones.append(_Zone(path / "energy_uj", limit))
    if not zones:
        return Absent(reason="the system has no RAPL package (sys/class/powercap/intel-rapl:*)")
    return RaplMeter(tuple(zones), clock)


def _number(path: Path) -> int | Absent:
    try:
        return int(path.read_text())
    except PermissionError:
        return Absent(reason=f"RAPL is there, but {path.parent.name}/{path.name} is readable by the superuser alone")
    except (OSError, ValueError) as error:
        return Absent(reason=f"RAPL: {path.parent.name}/{path.name}: {error}")
