"""The machine and its state on Linux, from `/proc` and `/sys`. It refuses to run commands or to need rights."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

from assay.core.records import Absent, Load, Machine, Measured, Text
from assay.run.measure.cgroup import ControlGroup
from assay.run.measure.system import CpuTimes, physical_memory_bytes

_ISA_FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "sme",
)
"""Names of the kernel for the instruction sets that matter; `asimd` is given as `neon` too."""

_CACHE_FILES = ("level", "type", "size")
_KIBIBYTE = 1024
_SIZES = {"K": _KIBIBYTE, "M": _KIBIBYTE**2, "G": _KIBIBYTE**3}


def _affinity() -> int:
    return len(os.sched_getaffinity(0))


class LinuxSystem:
    """Reads a Linux machine.

    Args:
        root: the root of the file system; another one in tests.
        affinity: how many CPUs this process may run on.
    """

    def __init__(self, root: Path = Path("/"), affinity: Callable[[], int] = _affinity) -> None:
        self._root = root
        self._affinity = affinity
        self._group = ControlGroup(root)

    def machine(self) -> Machine:
        """What does not change between runs."""
        processors = self._cpuinfo()
        first = processors[0] if processors else {}
        flags = set((first.get("flags") or first.get("Features") or "").split())
        isa = [name for name in _ISA_FLAGS if name in flags]
        if "asimd" in flags:
            isa.append("neon")
        return Machine(
            system=platform.system(),
            release=platform.release(),
            architecture=platform.machine(),
            cpu_model=self._cpu_model(first),
            isa=tuple(isa),
            logical_cpus=len(processors) or os.cpu_count() or 1,
            usable_cpus=self._usable_cpus(),
            cache_bytes=self._caches(),
            memory_bytes=physical_memory_bytes(),
            cgroup_memory_bytes=self._group.memory_bytes(),
            hypervisor=self._hypervisor("hypervisor" in flags),
            governor=self._text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            accelerators=self._accelerators(),
        )

    def load(self, since: CpuTimes | None) -> Load:
        """The state now; the stolen share is counted from `since`, or from boot where it is None."""
        return Load(
            load_average=self._first_number("proc/loadavg"),
            psi_cpu_some_avg10=self._pressure(),
            steal_fraction=self._stolen(since),
            available_bytes=self._available(),
            frequency_hz=self._frequency(),
            temperature_c=self._temperature(),
            thermal_state=self._throttling(),
        )

    def cpu_times(self) -> CpuTimes | None:
        """The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal (guest is in user)."""
        text = self._text("proc/stat")
        if isinstance(text, Absent) or not text.startswith("cpu "):
            return None
        ticks = [int(word) for word in text.splitlines()[0].split()[1:9]]
        return CpuTimes(total=sum(ticks), stolen=ticks[7]) if len(ticks) == 8 else None

    # ------------------------------------------------------------------------------------------ the machine

    def _cpuinfo(self) -> list[dict[str, str]]:
        text = self._text("proc/cpuinfo")
        if isinstance(text, Absent):
            return []
        processors = []
        for paragraph in text.split("\n\n"):
            fields = [line.split(":", 1) for line in paragraph.splitlines() if ":" in line]
            processor = {name.strip(): value.strip() for name, value in fields}
            if "processor" in processor:
                processors.append(processor)
        return processors

    def _cpu_model(self, processor: dict[str, str]) -> Text:
        if "model name" in processor:
            return processor["model name"]
        if "CPU part" in processor:
            return f"ARM implementer {processor.get('CPU implementer', '?')} part {processor['CPU part']}"
        return Absent(reason="/proc/cpuinfo names no model")

    def _usable_cpus(self) -> int:
        quota = self._group.cpus()
        allowed = self._affinity()
        return allowed if isinstance(quota, Absent) else max(1, min(allowed, int(quota)))

    def _caches(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for index in sorted((self._root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
            level, kind, size = (self._text(str(index.relative_to(self._root) / name)) for name in _CACHE_FILES)
            if isinstance(level, Absent) or isinstance(kind, Absent) or isinstance(size, Absent):
                continue
            if kind != "Instruction":
                sizes[f"L{level}d" if kind == "Data" else f"L{level}"] = int(size[:-1]) * _SIZES[size[-1]]
        return sizes

    def _hypervisor(self, flagged: bool) -> Text:
        named = self._text("sys/hypervisor/type")
        if isinstance(named, str) and named:
            return named
        vendor, product = (self._text(f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
        if flagged:
            words = [word for word in (vendor, product) if isinstance(word, str)]
            return " ".join(words) if words else "present, unnamed"
        if platform.machine() in ("x86_64", "AMD64", "i686"):
            return Absent(reason="none: the CPU shows no hypervisor flag")
        return Absent(reason=f"{platform.machine()} has no hypervisor flag")

    def _accelerators(self) -> tuple[str, ...]:
        found: list[str] = []
        for path in sorted((self._root / "proc/driver/nvidia/gpus").glob("*/information")):
            lines = path.read_text().splitlines()
            found += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
        for node in sorted((self._root / "sys/class/kfd/kfd/topology/nodes").glob("*")):
            name, properties = self._text_at(node / "name"), self._text_at(node / "properties")
            if isinstance(name, str) and isinstance(properties, str) and "simd_count 0" not in properties:
                found.append(f"AMD {name}")
        found += [f"accel {path.name}" for path in sorted((self._root / "sys/class/accel").glob("accel*"))]
        return tuple(found)

    # ------------------------------------------------------------------------------------------ its state

    def _pressure(self) -> Measured:
        text = self._text("proc/pressure/cpu")
        if isinstance(text, Absent):
            return Absent(reason="the kernel tells no pressure (/proc/pressure/cpu is not there)")
        for word in text.split():
            if word.startswith("avg10="):
                return float(word.removeprefix("avg10="))
        return Absent(reason="/proc/pressure/cpu has no avg10")

    def _stolen(self, since: CpuTimes | None) -> Measured:
        now = self.cpu_times()
        if now is None:
            return Absent(reason="/proc/stat does not tell stolen time")
        before = since or CpuTimes(total=0, stolen=0)
        total = now.total - before.total
        if total <= 0:
            return Absent(reason="no CPU time was counted since the moment before")
        return (now.stolen - before.stolen) / total

    def _available(self) -> Measured:
        machine, group = self._meminfo("MemAvailable"), self._group.free_memory_bytes()
        if isinstance(machine, Absent) or isinstance(group, Absent):
            return machine
        return min(machine, group)

    def _frequency(self) -> Measured:
        """Highest present frequency of the CPUs."""
        found = []
        for path in (self._root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"):
            text = self._text_at(path)
            if isinstance(text, str) and text.isdigit():
                found.append(int(text) * 1e3)
        found = found or [float(cpu["cpu MHz"]) * 1e6 for cpu in self._cpuinfo() if "cpu MHz" in cpu]
        return max(found) if found else Absent(reason="neither cpufreq nor /proc/cpuinfo tells a frequency")

    def _temperature(self) -> Measured:
        """Highest temperature of the thermal zones."""
        found = []
        for path in (self._root / "sys/class/thermal").glob("thermal_zone*/temp"):
            text = self._text_at(path)
            if isinstance(text, str) and text.lstrip("-").isdigit():
                found.append(int(text) / 1000)
        return max(found) if found else Absent(reason="the machine shows no thermal zone")

    def _throttling(self) -> Text:
        found = []
        for path in (self._root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/package_throttle_count"):
            text = self._text_at(path)
            if isinstance(text, str) and text.isdigit():
                found.append(int(text))
        if not found:
            return Absent(reason="the machine counts no thermal throttling")
        return f"throttled {max(found)} times since boot"

    # ------------------------------------------------------------------------------------------ files

    def _text(self, name: str) -> Text:
        return self._text_at(self._root / name)

    def _text_at(self, path: Path) -> Text:
        try:
            return path.read_text().strip("\x00 \n\t")
        except OSError as error:
            return Absent(reason=f"/{path.relative_to(self._root)}: {error.strerror}")

    def _first_number(self, name: str) -> Measured:
        text = self._text(name)
        return text if isinstance(text, Absent) else float(text.split()[0])

    def _meminfo(self, name: str) -> Measured:
        text = self._text("proc/meminfo")
        if isinstance(text, Absent):
            return text
        for line in text.splitlines():
            if line.startswith(f"{name}:"):
                return float(int(line.split()[1]) * _KIBIBYTE)
        return Absent(reason=f"/proc/meminfo has no {name}")
