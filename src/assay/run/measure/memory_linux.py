"""Memory of processes on Linux, from `/proc`. It refuses to sample: the peak is the kernel's own high-water mark."""

from __future__ import annotations

import os
from pathlib import Path

from assay.core.records import Absent
from assay.run.measure.memory_reading import MemoryReading, PeakReset

_KIBIBYTE = 1024
_RESET_HIGH_WATER_MARK = "5"
"""See proc(5), `/proc/pid/clear_refs`."""


class LinuxMemory:
    """Reads `VmRSS`, `VmHWM`, `RssAnon`, `RssFile` and `RssShmem` of a process and of all its descendants.

    Args:
        proc: where procfs is mounted.
        pid: the process; 0 is this one.
    """

    def __init__(self, proc: Path = Path("/proc"), pid: int = 0) -> None:
        self._proc = proc
        self._pid = pid or os.getpid()

    def reset_peak(self) -> PeakReset:
        """Set the high-water mark of the process and of its descendants to what is resident now."""
        own = self._clear(self._pid)
        if isinstance(own, Absent):
            return own
        for child in self._descendants():
            self._clear(child)
        return None

    def read(self) -> MemoryReading | Absent:
        """Sums over the process and its living descendants; the sum of their peaks is an upper bound of the peak of
        the sum, and pages that they share count once in each."""
        total = self._status(self._pid)
        if isinstance(total, Absent):
            return total
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
