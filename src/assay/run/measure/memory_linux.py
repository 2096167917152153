"""Memory of processes on Linux, from `/proc`. It refuses to sample: the peak is the kernel's own high-water mark."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from assay.core.records import Absent
from assay.run.measure.memory_reading import MemoryReading, PeakReset

_KIBIBYTE = 1024
_RESET_HIGH_WATER_MARK = "5"
"""See proc(5), `/proc/pid/clear_refs`."""


def own_high_water_bytes() -> int:
    """The high-water mark of this process as `getrusage` gives it: from the kernel's approximate counters."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBIBYTE


class LinuxMemory:
    """Reads `VmRSS`, `VmHWM`, `RssAnon`, `RssFile` and `RssShmem` of this process and of all its descendants.

    The kernel counts pages per CPU and takes the high-water mark from the sum without what the CPUs still hold back
    (some hundred KiB). `VmRSS` of recent kernels is exact, so right after a reset the difference of the two is what is
    held back, and it is added to the mark. What is left is what changes while the process moves between CPUs: at most
    128 KiB for each CPU on machines of up to 16.

    Args:
        proc: where procfs is mounted.
        pid: this process.
        high_water: reads the approximate mark, in bytes.
    """

    def __init__(
        self,
        proc: Path = Path("/proc"),
        pid: int | None = None,
        high_water: Callable[[], int] = own_high_water_bytes,
    ) -> None:
        self._proc = proc
        self._pid = os.getpid() if pid is None else pid
        self._high_water = high_water
        self._held_back = 0

    def reset_peak(self) -> PeakReset:
        """Set the high-water mark of the process and of its descendants to what is resident now."""
        own = self._clear(self._pid)
        if isinstance(own, Absent):
            return own
        for child in self._descendants():
            self._clear(child)
        self._held_back = 0
        now = self._status(self._pid)
        if isinstance(now, MemoryReading):
            self._held_back = max(0, now.resident_bytes - self._high_water())
        return None

    def read(self) -> MemoryReading | Absent:
        """Sums over the process and its living descendants.

        The sum of their peaks is an upper bound of the peak of the sum; pages that they share count once in each; what
        a child that has ended held is not seen.
        """
        total = self._status(self._pid)
        if isinstance(total, Absent):
            return total
        if isinstance(total.peak_bytes, int) and total.peak_bytes > total.resident_bytes:
            total = replace(total, peak_bytes=total.peak_bytes + self._held_back)
        for child in self._descendants():
            reading = self._status(child)
            if isinstance(reading, MemoryReading):  # a child may have ended since it was listed
                total = total.plus(reading)
        return total

    def _clear(self, pid: int) -> PeakReset:
        path = self._proc / str(pid) / "clear_refs"
        try:
            path.write_text(_RESET_HIGH_WATER_MARK)
        except OSError as error:
            return Absent(reason=f"the high-water mark cannot be reset: {path}: {error.strerror}")
        return None

    def _status(self, pid: int) -> MemoryReading | Absent:
        path = self._proc / str(pid) / "status"
        try:
            lines = path.read_text().splitlines()
        except OSError as error:
            return Absent(reason=f"{path}: {error.strerror}")
        fields = dict(line.split(":", 1) for line in lines if ":" in line)

        def size(name: str) -> int | Absent:
            if name not in fields:
                return Absent(reason=f"{path} has no {name}")
            return int(fields[name].split()[0]) * _KIBIBYTE

        resident = size("VmRSS")
        if isinstance(resident, Absent):
            return resident
        file = size("RssFile")
        shared = size("RssShmem")
        if isinstance(file, int) and isinstance(shared, int):
            file += shared
        return MemoryReading(
            resident_bytes=resident, peak_bytes=size("VmHWM"), anonymous_bytes=size("RssAnon"), file_bytes=file
        )

    def _descendants(self) -> list[int]:
        parents: dict[int, int] = {}
        for entry in self._proc.iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                except OSError:  # it ended while the list was read
                    continue
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        found: list[int] = []
        front = [self._pid]
        while front:
            front = [pid for pid, parent in parents.items() if parent in front]
            found += front
        return found
