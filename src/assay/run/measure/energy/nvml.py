"""Energy of one NVIDIA GPU, through NVML. It refuses to read power where the GPU counts joules itself.

From Volta on the GPU counts millijoules; on older ones power is read and integrated.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from assay.core.records import Absent, Estimate, Measured
from assay.run.measure.energy.base import EnergyKind, counted
from assay.run.measure.energy.sampling import PowerSampler

PERIOD_S = 0.1
"""The counter and the power reading are updated about every 100 ms."""
_MILLI = 1e-3


class NvmlCounter:
    """Counts joules of one GPU. Make one with `open_nvml`."""

    name = "NVML"
    kind: EnergyKind = "counter"

    def __init__(self, library: Any, handle: Any, covers: str, clock: Callable[[], float]) -> None:
        self._library = library
        self._handle = handle
        self._covers = covers
        self._clock = clock
        self._begun: tuple[float, int] | Absent = Absent(reason="the window was not begun")

    @property
    def covers(self) -> str:
        """Name of the GPU."""
        return self._covers

    def begin_window(self) -> None:
        """Read the counter."""
        count = self._count()
        self._begun = count if isinstance(count, Absent) else (self._clock(), count)

    def end_window(self) -> Estimate | Absent:
        """Joules since then."""
        begun, count, now = self._begun, self._count(), self._clock()
        if isinstance(begun, Absent):
            return begun
        if isinstance(count, Absent):
            return count
        started_s, first = begun
        return counted((count - first) * _MILLI, now - started_s, PERIOD_S, f"NVML counter, {self.covers}")

    def _count(self) -> int | Absent:
        """Millijoules since the driver was loaded."""
        try:
            return int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._library.NVMLError as error:
            return Absent(reason=f"NVML: {error}")


class NvmlSampler:
    """Integrates the power of one GPU. Make one with `open_nvml`."""

    name = "NVML"
    kind: EnergyKind = "sampled"

    def __init__(self, library: Any, handle: Any, covers: str) -> None:
        self._library = library
        self._handle = handle
        self._covers = covers
        self._sampler = PowerSampler(self.power_w, PERIOD_S)

    @property
    def covers(self) -> str:
        """Name of the GPU."""
        return self._covers

    def begin_window(self) -> None:
        """Begin to read power."""
        self._sampler.begin()

    def end_window(self) -> Estimate | Absent:
        """Joules since then."""
        return self._sampler.end(f"NVML power every {PERIOD_S:g} s, {self.covers}")

    def power_w(self) -> Measured:
        """Watts now."""
        try:
            return float(self._library.nvmlDeviceGetPowerUsage(self._handle)) * _MILLI
        except self._library.NVMLError as error:
            return Absent(reason=f"NVML: {error}")


def open_nvml(
    index: int = 0,
    load: Callable[[str], Any] = importlib.import_module,
    clock: Callable[[], float] = time.perf_counter,
) -> NvmlCounter | NvmlSampler | Absent:
    """The meter of one GPU, or why there is none.

    Args:
        index: number of the GPU, in the driver's order.
        load: imports `pynvml`; a fake in tests.
        clock: seconds.
    """
    try:
        library = load("pynvml")
    except ModuleNotFoundError:
        return Absent(reason="NVML: the package nvidia-ml-py is not installed")
    try:
        library.nvmlInit()
        handle = library.nvmlDeviceGetHandleByIndex(index)
        told = library.nvmlDeviceGetName(handle)
    except library.NVMLError as error:
        return Absent(reason=f"NVML: {error}")
    covers = told.decode() if isinstance(told, bytes) else str(told)
    try:
        library.nvmlDeviceGetTotalEnergyConsumption(handle)
    except library.NVMLError:
        sampler = NvmlSampler(library, handle, covers)
        watts = sampler.power_w()
        return watts if isinstance(watts, Absent) else sampler
    return NvmlCounter(library, handle, covers, clock)
