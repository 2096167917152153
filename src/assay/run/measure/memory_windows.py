"""Memory of this process on Windows, from `GetProcessMemoryInfo`. It refuses to reset a peak: Windows cannot.

Children are not included, and the working set is not told apart into anonymous and file-mapped pages.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from assay.core.records import Absent
from assay.run.measure.memory_reading import MemoryReading, PeakReset

_CANNOT_RESET = Absent(reason="Windows cannot reset the peak working set of a process")
_NOT_APART = Absent(reason="Windows does not tell anonymous from file-mapped pages of the working set")


class ProcessMemoryCounters(ctypes.Structure):
    """`PROCESS_MEMORY_COUNTERS_EX` of `psapi.h`."""

    _fields_ = (
        ("cb", ctypes.c_uint32),
        ("PageFaultCount", ctypes.c_uint32),
        ("PeakWorkingSetSize", ctypes.c_size_t),
        ("WorkingSetSize", ctypes.c_size_t),
        ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
        ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
        ("PagefileUsage", ctypes.c_size_t),
        ("PeakPagefileUsage", ctypes.c_size_t),
        ("PrivateUsage", ctypes.c_size_t),
    )


def process_memory_counters(counters: ProcessMemoryCounters) -> int:
    """Fill `counters` for this process; returns 0 for failure, as Windows does."""
    kernel = ctypes.CDLL("kernel32")
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    query = kernel.K32GetProcessMemoryInfo
    query.argtypes = (ctypes.c_void_p, ctypes.POINTER(ProcessMemoryCounters), ctypes.c_uint32)
    counters.cb = ctypes.sizeof(counters)
    succeeded: int = query(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb)
    return succeeded


class WindowsMemory:
    """Reads the working set and its peak since the start.

    Args:
        query: fills a `ProcessMemoryCounters` and returns 0 for failure.
    """

    def __init__(self, query: Callable[[ProcessMemoryCounters], int] = process_memory_counters) -> None:
        self._query = query

    def reset_peak(self) -> PeakReset:
        """Always why not."""
        return _CANNOT_RESET

    def read(self) -> MemoryReading | Absent:
        """What Windows says of this process."""
        counters = ProcessMemoryCounters()
        if not self._query(counters):
            return Absent(reason="GetProcessMemoryInfo failed")
        return MemoryReading(
            resident_bytes=int(counters.WorkingSetSize),
            peak_bytes=int(counters.PeakWorkingSetSize),
            anonymous_bytes=_NOT_APART,
            file_bytes=_NOT_APART,
        )
