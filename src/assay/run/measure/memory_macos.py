"""Memory of this process on macOS, from the Mach kernel. It refuses to give a resident peak of a part of the process.

The kernel keeps two marks: the highest resident size since the start, which nothing resets, and the highest footprint
(anonymous pages, compressed ones included) since `proc_reset_footprint_interval`. Children are not included: the kernel
tells a process about itself alone.
"""

from __future__ import annotations

import ctypes
import os
from typing import Protocol

from assay.core.records import Absent
from assay.run.measure.memory_reading import MemoryReading, PeakReset, Size

_TASK_VM_INFO = 22
_RUSAGE_INFO_V4 = 4
_NATURAL_BYTES = 4
_CANNOT_RESET = Absent(reason="macOS cannot reset the high-water mark of resident memory")


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


class RusageInfo(ctypes.Structure):
    """`struct rusage_info_v4` of `sys/resource.h`; what is not read has no name."""

    _fields_ = (
        ("uuid", ctypes.c_uint8 * 16),
        ("times_and_sizes", ctypes.c_uint64 * 33),
        ("interval_max_phys_footprint", ctypes.c_uint64),
        ("runnable_time", ctypes.c_uint64),
    )


class MachCalls(Protocol):
    """The three calls into the system; each returns its status, 0 for success."""

    def task_vm_info(self, info: TaskVmInfo) -> int:
        """Fill `info` for this process."""

    def rusage(self, info: RusageInfo) -> int:
        """Fill `info` for this process."""

    def reset_footprint_interval(self) -> int:
        """Begin a new interval of the footprint's maximum."""


class LibSystem:
    """The calls themselves, through libSystem."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("/usr/lib/libSystem.B.dylib")

    def task_vm_info(self, info: TaskVmInfo) -> int:
        """`task_info(mach_task_self(), TASK_VM_INFO, ...)`."""
        task = ctypes.c_uint32.in_dll(self._library, "mach_task_self_")
        count = ctypes.c_uint32(ctypes.sizeof(info) // _NATURAL_BYTES)
        return int(self._library.task_info(task, _TASK_VM_INFO, ctypes.byref(info), ctypes.byref(count)))

    def rusage(self, info: RusageInfo) -> int:
        """`proc_pid_rusage(getpid(), RUSAGE_INFO_V4, ...)`."""
        return int(self._library.proc_pid_rusage(os.getpid(), _RUSAGE_INFO_V4, ctypes.byref(info)))

    def reset_footprint_interval(self) -> int:
        """`proc_reset_footprint_interval(getpid())`, there since macOS 10.14; -1 before."""
        if not hasattr(self._library, "proc_reset_footprint_interval"):
            return -1
        return int(self._library.proc_reset_footprint_interval(os.getpid()))


class MacMemory:
    """Reads the resident size, its peak since the start, and its internal (anonymous) and external (file) parts.

    Args:
        calls: into the system; recorded answers in tests.
    """

    def __init__(self, calls: MachCalls | None = None) -> None:
        self._calls: MachCalls = LibSystem() if calls is None else calls
        self._footprint_reset = False

    def reset_peak(self) -> PeakReset:
        """Begin a new interval of the footprint; the resident peak stays, and the reason is returned."""
        self._footprint_reset = self._calls.reset_footprint_interval() == 0
        return _CANNOT_RESET

    def read(self) -> MemoryReading | Absent:
        """What the kernel says of this process; Absent with its status where it refuses."""
        info = TaskVmInfo()
        status = self._calls.task_vm_info(info)
        if status != 0:
            return Absent(reason=f"task_info(TASK_VM_INFO) returned {status}")
        return MemoryReading(
            resident_bytes=int(info.resident_size),
            peak_bytes=int(info.resident_size_peak),
            anonymous_bytes=int(info.internal),
            file_bytes=int(info.external),
            peak_anonymous_bytes=self._peak_footprint(),
        )

    def _peak_footprint(self) -> Size:
        if not self._footprint_reset:
            return Absent(reason="proc_reset_footprint_interval did not succeed")
        info = RusageInfo()
        status = self._calls.rusage(info)
        if status != 0:
            return Absent(reason=f"proc_pid_rusage(RUSAGE_INFO_V4) returned {status}")
        return int(info.interval_max_phys_footprint)
