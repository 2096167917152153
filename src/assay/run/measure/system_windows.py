"""The machine and its state on Windows, from one PowerShell query and `powercfg`. It refuses to ask for rights."""

from __future__ import annotations

import ctypes
import json
import os
import platform
from collections.abc import Callable
from typing import Any

from assay.core.records import Absent, Load, Machine, Text
from assay.run.measure.system import Command, CpuTimes, run_command

_SCRIPT = """
$cpu = Get-CimInstance Win32_Processor | Select-Object -First 1 Name, L2CacheSize, L3CacheSize, CurrentClockSpeed
$computer = Get-CimInstance Win32_ComputerSystem | Select-Object Manufacturer, Model, HypervisorPresent
$os = Get-CimInstance Win32_OperatingSystem | Select-Object Version
$video = @(Get-CimInstance Win32_VideoController | ForEach-Object Name)
ConvertTo-Json -Depth 3 @{cpu = $cpu; computer = $computer; os = $os; video = $video}
"""
_QUERY = ("powershell", "-NoProfile", "-NonInteractive", "-Command", _SCRIPT)
_FEATURES = {
    38: "sse4_2",
    39: "avx",
    40: "avx2",
    41: "avx512f",
    19: "neon",
    43: "asimddp",
    66: "i8mm",
    67: "asimdhp",
    68: "bf16",
}
"""Numbers of `IsProcessorFeaturePresent`, from `winnt.h`."""
_KIBIBYTE = 1024


class MemoryStatus(ctypes.Structure):
    """`MEMORYSTATUSEX` of `sysinfoapi.h`."""

    _fields_ = (
        ("dwLength", ctypes.c_uint32),
        ("dwMemoryLoad", ctypes.c_uint32),
        ("ullTotalPhys", ctypes.c_uint64),
        ("ullAvailPhys", ctypes.c_uint64),
        ("ullTotalPageFile", ctypes.c_uint64),
        ("ullAvailPageFile", ctypes.c_uint64),
        ("ullTotalVirtual", ctypes.c_uint64),
        ("ullAvailVirtual", ctypes.c_uint64),
        ("ullAvailExtendedVirtual", ctypes.c_uint64),
    )


def memory_status() -> MemoryStatus:
    """What `GlobalMemoryStatusEx` says of the machine.

    Raises:
        OSError: Windows refused.
    """
    status = MemoryStatus()
    status.dwLength = ctypes.sizeof(status)
    if not ctypes.CDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(status)):
        raise OSError("GlobalMemoryStatusEx failed")
    return status


def processor_feature(number: int) -> bool:
    """Whether Windows says that the processor has a feature of `winnt.h`."""
    return bool(ctypes.CDLL("kernel32").IsProcessorFeaturePresent(number))


class WindowsSystem:
    """Reads a Windows machine.

    Args:
        command: runs a command; recorded answers in tests.
        feature: asks for a processor feature by its number.
        memory: asks for the memory of the machine.
    """

    def __init__(
        self,
        command: Command = run_command,
        feature: Callable[[int], bool] = processor_feature,
        memory: Callable[[], MemoryStatus] = memory_status,
    ) -> None:
        self._command = command
        self._feature = feature
        self._memory = memory

    def machine(self) -> Machine:
        """What does not change between runs."""
        answer = self._query()
        cpu, computer, system = answer.get("cpu", {}), answer.get("computer", {}), answer.get("os", {})
        logical = os.cpu_count() or 1
        caches = {"L2": cpu.get("L2CacheSize"), "L3": cpu.get("L3CacheSize")}
        return Machine(
            system="Windows",
            release=str(system.get("Version") or platform.release()),
            architecture=platform.machine(),
            cpu_model=str(cpu["Name"]).strip() if cpu.get("Name") else Absent(reason="Win32_Processor has no Name"),
            isa=tuple(name for number, name in _FEATURES.items() if self._feature(number)),
            logical_cpus=logical,
            usable_cpus=logical,
            cache_bytes={name: int(size) * _KIBIBYTE for name, size in caches.items() if size},
            memory_bytes=int(self._memory().ullTotalPhys),
            cgroup_memory_bytes=Absent(reason="Windows has no control groups"),
            hypervisor=_hypervisor(computer),
            governor=self._power_plan(),
            accelerators=tuple(str(name) for name in answer.get("video") or ()),
        )

    def load(self, since: CpuTimes | None) -> Load:
        """The state now; Windows tells of no stolen time, so `since` changes nothing."""
        speed = self._query().get("cpu", {}).get("CurrentClockSpeed")
        return Load(
            load_average=Absent(reason="Windows has no load average"),
            psi_cpu_some_avg10=Absent(reason="Windows tells no pressure of the CPU"),
            steal_fraction=Absent(reason="Windows does not tell stolen time"),
            available_bytes=float(self._memory().ullAvailPhys),
            frequency_hz=Absent(reason="Windows tells no CurrentClockSpeed") if speed is None else float(speed) * 1e6,
            temperature_c=Absent(reason="Windows tells no temperature of the processor"),
            thermal_state=Absent(reason="Windows tells no thermal state"),
        )

    def cpu_times(self) -> CpuTimes | None:
        """None: Windows does not tell stolen time."""
        return None

    def _query(self) -> dict[str, Any]:
        written = self._command(_QUERY)
        if isinstance(written, Absent):
            return {}
        try:
            answer = json.loads(written)
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    def _power_plan(self) -> Text:
        written = self._command(("powercfg", "/getactivescheme"))
        if isinstance(written, Absent):
            return written
        if "(" not in written:
            return Absent(reason="powercfg names no power plan")
        return written.rpartition("(")[2].rpartition(")")[0]


def _hypervisor(computer: dict[str, Any]) -> Text:
    if "HypervisorPresent" not in computer:
        return Absent(reason="Win32_ComputerSystem does not tell of a hypervisor")
    if not computer["HypervisorPresent"]:
        return Absent(reason="none: HypervisorPresent is false")
    return f"{computer.get('Manufacturer', '')} {computer.get('Model', '')}".strip() or "present, unnamed"
