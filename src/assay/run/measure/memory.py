"""Memory of one worker: before the weights, at the load's peak, after it, and at the peak of the workloads.

It refuses to sample, since a peak of some milliseconds falls between two samples: each system keeps a high-water mark
of its own, and that is what is read. What a system does not keep is `Absent` with the reason.
"""

from __future__ import annotations

import sys

from assay.core.records import Absent, Measured, Memory
from assay.run.measure.memory_reading import MemoryProbe, MemoryReading, NoMemory, PeakReset, Size

STEADY_SHARE = 0.02
"""Share of the peak by which file-mapped memory may change before the peak of anonymous memory is not told."""


def memory_probe(platform: str = sys.platform) -> MemoryProbe:
    """The probe of this system: Linux, macOS, Windows, or one that says that there is none."""
    if platform == "linux":
        from assay.run.measure.memory_linux import LinuxMemory

        return LinuxMemory()
    if platform == "darwin":
        from assay.run.measure.memory_macos import MacMemory

        return MacMemory()
    if platform == "win32":
        from assay.run.measure.memory_windows import WindowsMemory

        return WindowsMemory()
    return NoMemory(platform)


class MemoryMeter:
    """Follows one worker through its life: `start`, then the load, `loaded`, then the workloads, `finish`.

    Args:
        probe: how memory is read; the system's own where it is not given.
    """

    def __init__(self, probe: MemoryProbe | None = None) -> None:
        self._probe = memory_probe() if probe is None else probe
        self._reset: PeakReset = None
        self._mark: MemoryReading | Absent = Absent(reason="the meter was not started")
        self._before: Measured = Absent(reason="the meter was not started")
        self._load_peak: Measured = Absent(reason="the end of the load was not marked")
        self._after_load: Measured = Absent(reason="the end of the load was not marked")

    def reset(self) -> PeakReset:
        """Begin a new high-water mark; returns why that was not possible, None where it was."""
        self._reset = self._probe.reset_peak()
        self._mark = self._probe.read()
        return self._reset

    def read(self) -> MemoryReading | Absent:
        """What is resident now, and the highest since the last `reset`."""
        return self._probe.read()

    def start(self, device: str = "cpu") -> None:
        """Call before the weights are loaded, with the runtime already imported."""
        self.reset()
        self._before = _of(self._mark, "resident_bytes")
        reset_device_peak(device)

    def loaded(self) -> None:
        """Call when the weights are loaded, before the first call."""
        reading = self.read()
        self._load_peak = window_peak(self._reset, self._mark, reading)
        self._after_load = _of(reading, "resident_bytes")
        self.reset()

    def finish(self, kv_cache_bytes: Measured, device: str = "cpu") -> Memory:
        """Call after the last workload: the record, with peaks since `loaded`.

        Args:
            kv_cache_bytes: what the session says of its cache.
            device: `cpu`, or the device whose allocator's peak is asked: `cuda`, `mps`.
        """
        last = self.read()
        peak = window_peak(self._reset, self._mark, last)
        return Memory(
            before_bytes=self._before,
            load_peak_bytes=self._load_peak,
            after_load_bytes=self._after_load,
            peak_bytes=peak,
            peak_anonymous_bytes=peak_anonymous(peak, self._mark, last),
            file_mapped_bytes=_of(last, "file_bytes"),
            kv_cache_bytes=kv_cache_bytes,
            device_peak_bytes=device_peak_bytes(device),
        )


def no_memory(reason: str, kv_cache_bytes: Measured) -> Memory:
    """The record of an engine that this system does not show: its memory is Absent for `reason`."""
    absent = Absent(reason=reason)
    return Memory(**{**dict.fromkeys(Memory.model_fields, absent), "kv_cache_bytes": kv_cache_bytes})


def window_peak(reset: PeakReset, mark: MemoryReading | Absent, now: MemoryReading | Absent) -> Measured:
    """Highest resident size between `mark` and `now`, in bytes.

    Where the mark could be reset, it is the high-water mark. Where it could not (macOS, Windows), it is the high-water
    mark of the whole process if that rose in the window, and Absent if it did not: the peak then was before the window.
    """
    if isinstance(now, Absent):
        return now
    peak = now.peak_bytes
    if isinstance(peak, Absent):
        return peak
    if reset is None:
        return float(peak)
    earlier = _of(mark, "peak_bytes")
    if isinstance(earlier, Absent):
        return earlier
    if peak > earlier:
        return float(peak)
    return Absent(
        reason=f"{reset.reason}, and the process was larger before: the peak of this part lies between "
        f"{now.resident_bytes / 2**20:.0f} and {peak / 2**20:.0f} MiB"
    )


def peak_anonymous(peak: Measured, mark: MemoryReading | Absent, now: MemoryReading | Absent) -> Measured:
    """Highest anonymous memory between `mark` and `now`, in bytes.

    macOS keeps a mark of its own. Linux does not; but resident memory is anonymous plus file-mapped, and where the
    latter is the same at both ends of the window (within 2 % of the peak), both peak together: the peak of anonymous
    memory is that of resident memory less what is file-mapped. Where it is not the same, that would be a guess: Absent.
    """
    kept = _of(now, "peak_anonymous_bytes")
    if not isinstance(kept, Absent):
        return kept
    file_before, file_now = _of(mark, "file_bytes"), _of(now, "file_bytes")
    if isinstance(peak, Absent):
        return peak
    if isinstance(file_before, Absent):
        return file_before
    if isinstance(file_now, Absent):
        return file_now
    moved = abs(file_now - file_before)
    if moved > STEADY_SHARE * peak:
        return Absent(
            reason=f"file-mapped memory changed by {moved / 2**20:.0f} MiB while the peak was watched, and the system "
            "keeps no high-water mark of anonymous memory"
        )
    return peak - file_now


def reset_device_peak(device: str) -> None:
    """Begin a new peak of the device's allocator, where there is one that keeps a peak."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()


def device_peak_bytes(device: str) -> Measured:
    """Highest number of bytes that torch's allocator held on the device since `reset_device_peak`."""
    if device == "cpu":
        return Absent(reason="the device is the CPU: its memory is the process's")
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            return Absent(reason="torch sees no CUDA device")
        return float(torch.cuda.max_memory_allocated())
    return Absent(reason=f"the allocator of {device!r} keeps no peak")


def _of(reading: MemoryReading | Absent, field: str) -> Measured:
    if isinstance(reading, Absent):
        return reading
    size: Size = getattr(reading, field)
    return size if isinstance(size, Absent) else float(size)
