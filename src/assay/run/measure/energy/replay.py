"""Energy from a recorded log, such as an external meter's. It refuses a window that the log does not cover.

The log is CSV with a header: `time_s` and either `power_w` or `energy_j` (joules counted since some moment). The time
is that of the clock given to the meter, by default seconds since 1970, as meters write it.
"""

from __future__ import annotations

import csv
import itertools
import time
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

from assay.core.errors import InputError
from assay.core.records import Absent, Estimate
from assay.run.measure.energy.base import EnergyKind, counted
from assay.run.measure.energy.sampling import integrate


class ReplayMeter:
    """Answers windows from a log.

    Args:
        path: the log.
        clock: seconds on the log's own time.

    Raises:
        InputError: the file is no such log.
    """

    name = "recorded log"

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._column, self._rows = _read(path)
        self._begun_s: float | None = None

    @property
    def kind(self) -> EnergyKind:
        """`counter` for a log of joules, `sampled` for one of watts."""
        return "counter" if self._column == "energy_j" else "sampled"

    @property
    def covers(self) -> str:
        """What the log's meter was connected to is not in the log."""
        return f"what {self._path.name} recorded"

    def begin_window(self) -> None:
        """Note the time."""
        self._begun_s = self._clock()

    def end_window(self) -> Estimate | Absent:
        """Joules of the log from then to now."""
        if self._begun_s is None:
            return Absent(reason="the window was not begun")
        return self.energy(self._begun_s, self._clock())

    def energy(self, begin_s: float, end_s: float) -> Estimate | Absent:
        """Joules of the log between two moments of its time."""
        first_s, last_s = self._rows[0][0], self._rows[-1][0]
        if begin_s < first_s or end_s > last_s:
            return Absent(
                reason=f"the log covers {first_s:.1f} to {last_s:.1f} s, the window is {begin_s:.1f} to {end_s:.1f} s"
            )
        if self._column == "power_w":
            return integrate(self._rows, begin_s, end_s, f"power of {self._path.name}, integrated")
        joules = self._count_at(end_s) - self._count_at(begin_s)
        times = [at for at, _ in self._rows]
        pause_s = max(later - earlier for earlier, later in itertools.pairwise(times))
        return counted(joules, end_s - begin_s, pause_s, f"counter of {self._path.name}")

    def _count_at(self, moment_s: float) -> float:
        """The counter at a moment, on the straight line between the rows around it."""
        times = [at for at, _ in self._rows]
        right = max(1, bisect_left(times, moment_s))
        (earlier_s, before), (later_s, after) = self._rows[right - 1], self._rows[right]
        return before + (after - before) * (moment_s - earlier_s) / (later_s - earlier_s)


def _read(path: Path) -> tuple[str, list[tuple[float, float]]]:
    asked = f"reading the energy log {path}"
    remedy = "Give CSV with a header of time_s and power_w, or time_s and energy_j, in the order of time"
    try:
        with path.open(newline="") as file:
            table = csv.DictReader(file)
            columns = [name for name in ("power_w", "energy_j") if name in (table.fieldnames or ())]
            if "time_s" not in (table.fieldnames or ()) or len(columns) != 1:
                raise InputError(asked, f"its columns are {', '.join(table.fieldnames or ()) or 'none'}", remedy)
            rows = [(float(row["time_s"]), float(row[columns[0]])) for row in table]
    except OSError as error:
        raise InputError(asked, error.strerror or str(error), remedy) from error
    except (ValueError, TypeError) as error:
        raise InputError(asked, f"a value is no number ({error})", remedy) from error
    if len(rows) < 2 or any(later[0] <= earlier[0] for earlier, later in itertools.pairwise(rows)):
        raise InputError(asked, "it has fewer than two rows, or its times do not grow", remedy)
    return columns[0], rows
