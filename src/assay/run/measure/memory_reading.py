"""What a system tells of the memory of a process. It refuses to invent: a size that is not kept is Absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from assay.core.records import Absent

PeakReset = Absent | None
"""Why the high-water mark could not be reset; None where it was."""
Size = int | Absent
_NO_ANONYMOUS_PEAK = Absent(reason="the system keeps no high-water mark of anonymous memory")


@dataclass(frozen=True)
class MemoryReading:
    """Memory of a process and its children at one moment; all in bytes."""

    resident_bytes: int
    peak_bytes: Size
    """Highest resident size since the last reset, or since the start where there is no reset."""
    anonymous_bytes: Size
    file_bytes: Size
    """Resident pages that belong to files or to shared memory: libraries, mapped weights."""
    peak_anonymous_bytes: Size = _NO_ANONYMOUS_PEAK
    """Highest anonymous size since the last reset, where the system keeps it."""

    def plus(self, other: MemoryReading) -> MemoryReading:
        """The sum with another process; what one of the two cannot tell, the sum cannot."""
        return MemoryReading(
            resident_bytes=self.resident_bytes + other.resident_bytes,
            peak_bytes=_sum(self.peak_bytes, other.peak_bytes),
            anonymous_bytes=_sum(self.anonymous_bytes, other.anonymous_bytes),
            file_bytes=_sum(self.file_bytes, other.file_bytes),
            peak_anonymous_bytes=_sum(self.peak_anonymous_bytes, other.peak_anonymous_bytes),
        )


class MemoryProbe(Protocol):
    """How one system tells the memory of a process."""

    def reset_peak(self) -> PeakReset:
        """Set the high-water mark to what is resident now; returns why that was not possible, None where it was."""

    def read(self) -> MemoryReading | Absent:
        """What is resident, and the highest since the last reset."""


class NoMemory:
    """Stands where a system has no probe: every reading is Absent."""

    def __init__(self, platform: str) -> None:
        self._absent = Absent(reason=f"no way to read a process's memory is known on {platform}")

    def reset_peak(self) -> PeakReset:
        """Always the reason."""
        return self._absent

    def read(self) -> MemoryReading | Absent:
        """Always the reason."""
        return self._absent


def _sum(one: Size, other: Size) -> Size:
    if isinstance(one, Absent):
        return one
    return other if isinstance(other, Absent) else one + other
