"""Memory of this process on macOS, from the Mach kernel's `task_info`. It refuses to reset a peak: macOS cannot.

Children are not included: Mach tells a task about itself alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from assay.core.records import Absent
from assay.run.measure.memory_reading import MemoryReading, PeakReset

TASK_VM_INFO = 22
_NATURAL_BYTES = 4
_CANNOT_RESET = Absent(reason="macOS cannot reset the high-water mark of a process")


class TaskVmInfo(ctypes.Structure):
    """`struct task_vm_info`, first revision, of `mach/task_info.h`."""

    _pack_ = 4
    _fields_ = (
        ("virtual_size", ctypes.c_uint64),
        ("region_count", ctypes.c_int32),
        ("page_size", ctypes.c_int32),
        ("resident_size", ctypes.c_uint64),
        ("resident_size_peak", ctypes.c_uint64),
        ("device", ctypes.c_uint64),
        ("device_peak", ctypes.c_uint64),
        ("internal", ctypes.c_uint64),
        ("internal_peak", ctypes.c_uint64),
        ("external", ctypes.c_uint64),
        ("external_peak", ctypes.c_uint64),
        ("reusable", ctypes.c_uint64),
        ("reusable_peak", ctypes.c_uint64),
        ("purgeable_volatile_pmap", ctypes.c_uint64),
        ("purgeable_volatile_resident", ctypes.c_uint64),
        ("purgeable_volatile_virtual", ctypes.c_uint64),
        ("compressed", ctypes.c_uint64),
        ("compressed_peak", ctypes.c_uint64),
        ("compressed_lifetime", ctypes.c_uint64),
        ("phys_footprint", ctypes.c_uint64),
    )


def task_vm_info(info: TaskVmInfo) -> int:
    """Fill `info` for this process; returns the kernel's status, 0 for success."""
    system = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    task = ctypes.c_uint32.in_dll(system, "mach_task_self_")
    count = ctypes.c_uint32(ctypes.sizeof(info) // _NATURAL_BYTES)
    status: int = system.task_info(task, TASK_VM_INFO, ctypes.byref(info), ctypes.byref(count))
    return status


class MacMemory:
    """Reads the resident size, its peak since the start, and its internal (anonymous) and external (file) parts.

    Args:
        query: fills a `TaskVmInfo` and returns the kernel's status.
    """

    def __init__(self, query: Callable[[TaskVmInfo], int] = task_vm_info) -> None:
        self._query = query

    def reset_peak(self) -> PeakReset:
        """Always why not."""
        return _CANNOT_RESET

    def read(self) -> MemoryReading | Absent:
        """What the kernel says of this process; Absent with its status where it refuses."""
        info = TaskVmInfo()
        status = self._query(info)
        if status != 0:
            return Absent(reason=f"task_info(TASK_VM_INFO) returned {status}")
        return MemoryReading(
            resident_bytes=int(info.resident_size),
            peak_bytes=int(info.resident_size_peak),
            anonymous_bytes=int(info.internal),
            file_bytes=int(info.external),
        )
