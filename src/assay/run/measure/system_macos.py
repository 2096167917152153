"""The machine and its state on macOS, from `sysctl`, `vm_stat`, `pmset`, `notifyutil`. It asks for no rights."""

from __future__ import annotations

import os
import platform
import re

from assay.core.records import Absent, Load, Machine, Measured, Text
from assay.run.measure.system import Command, CpuTimes, physical_memory_bytes, run_command

_ARM_FEATURES = {
    "hw.optional.neon": "neon",
    "hw.optional.AdvSIMD": "neon",
    "hw.optional.arm.FEAT_FP16": "asimdhp",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
}
_X86_FEATURES = {
    "SSE4.2": "sse4_2",
    "AVX1.0": "avx",
    "AVX2": "avx2",
    "FMA": "fma",
    "F16C": "f16c",
    "AVX512F": "avx512f",
    "AVX512BW": "avx512bw",
    "AVX512VL": "avx512vl",
    "AVX512VNNI": "avx512_vnni",
}
_THERMAL_STATES = ("nominal", "fair", "serious", "critical", "critical")
"""Of the levels nominal, moderate, heavy, trapping, sleeping of `OSThermalNotification.h`, in the words of
`ProcessInfo.thermalState`; from heavy on the system is throttled."""
_PAGES_TO_HAVE = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")


class MacSystem:
    """Reads a Mac.

    Args:
        command: runs a command; recorded answers in tests.
    """

    def __init__(self, command: Command = run_command) -> None:
        self._command = command

    def machine(self) -> Machine:
        """What does not change between runs."""
        values = self._sysctl()
        model = values.get("machdep.cpu.brand_string")
        return Machine(
            system="Darwin",
            release=values.get("kern.osproductversion") or values.get("kern.osrelease") or platform.release(),
            architecture=values.get("hw.machine", platform.machine()),
            cpu_model=model or Absent(reason="sysctl has no machdep.cpu.brand_string"),
            isa=_instruction_sets(values),
            logical_cpus=int(values.get("hw.logicalcpu", os.cpu_count() or 1)),
            usable_cpus=int(values.get("hw.activecpu", os.cpu_count() or 1)),
            cache_bytes=_caches(values),
            memory_bytes=int(values["hw.memsize"]) if "hw.memsize" in values else physical_memory_bytes(),
            cgroup_memory_bytes=Absent(reason="macOS has no control groups"),
            hypervisor=_hypervisor(values),
            governor=self._power_mode(),
            accelerators=_accelerators(model),
        )

    def load(self, since: CpuTimes | None) -> Load:
        """The state now; macOS tells of no stolen time, so `since` changes nothing."""
        return Load(
            load_average=self._load_average(),
            psi_cpu_some_avg10=Absent(reason="macOS tells no pressure of the CPU"),
            steal_fraction=Absent(reason="macOS does not tell stolen time"),
            available_bytes=self._available(),
            frequency_hz=Absent(reason="macOS tells a frequency to the superuser alone (powermetrics)"),
            temperature_c=Absent(reason="macOS tells temperatures to the superuser alone (powermetrics)"),
            thermal_state=self._thermal_state(),
        )

    def cpu_times(self) -> CpuTimes | None:
        """None: macOS does not tell stolen time."""
        return None

    def _sysctl(self) -> dict[str, str]:
        written = self._command(("sysctl", "hw", "machdep.cpu", "kern.osproductversion", "kern.hv_vmm_present"))
        if isinstance(written, Absent):
            return {}
        pairs = (line.split(":", 1) for line in written.splitlines() if ":" in line)
        return {name.strip(): value.strip() for name, value in pairs}

    def _power_mode(self) -> Text:
        written = self._command(("pmset", "-g"))
        if isinstance(written, Absent):
            return written
        for line in written.splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] in ("lowpowermode", "powermode"):
                return f"{words[0]} {words[1]}"
        return Absent(reason="pmset tells no power mode")

    def _load_average(self) -> Measured:
        written = self._command(("sysctl", "-n", "vm.loadavg"))
        if isinstance(written, Absent):
            return written
        numbers = re.findall(r"\d+[.,]\d+", written)
        return float(numbers[0].replace(",", ".")) if numbers else Absent(reason=f"vm.loadavg is {written.strip()!r}")

    def _available(self) -> Measured:
        written = self._command(("vm_stat",))
        if isinstance(written, Absent):
            return written
        page = re.search(r"page size of (\d+) bytes", written)
        counts = dict(re.findall(r'"?([^":\n]+)"?:\s+(\d+)\.', written))
        if page is None or "Pages free" not in counts:
            return Absent(reason="vm_stat tells no free pages")
        return float(int(page[1]) * sum(int(counts.get(name, "0")) for name in _PAGES_TO_HAVE))

    def _thermal_state(self) -> Text:
        written = self._command(("notifyutil", "-g", "com.apple.system.thermalpressurelevel"))
        if isinstance(written, Absent):
            return written
        level = written.split()[-1] if written.split() else ""
        if not level.isdigit() or int(level) >= len(_THERMAL_STATES):
            return Absent(reason=f"notifyutil said {written.strip()!r}")
        return _THERMAL_STATES[int(level)]


def _instruction_sets(values: dict[str, str]) -> tuple[str, ...]:
    found = [name for key, name in _ARM_FEATURES.items() if values.get(key) == "1"]
    features = f"{values.get('machdep.cpu.features', '')} {values.get('machdep.cpu.leaf7_features', '')}".split()
    found += [name for key, name in _X86_FEATURES.items() if key in features]
    return tuple(dict.fromkeys(found))


def _caches(values: dict[str, str]) -> dict[str, int]:
    """Of the fast cores (`perflevel0`) where there are two kinds; Apple's system-level cache is not told."""
    sizes: dict[str, int] = {}
    for name, keys in (
        ("L1d", ("hw.perflevel0.l1dcachesize", "hw.l1dcachesize")),
        ("L2", ("hw.perflevel0.l2cachesize", "hw.l2cachesize")),
        ("L3", ("hw.perflevel0.l3cachesize", "hw.l3cachesize")),
    ):
        for key in keys:
            if values.get(key, "0").isdigit() and int(values.get(key, "0")) > 0:
                sizes[name] = int(values[key])
                break
    return sizes


def _hypervisor(values: dict[str, str]) -> Text:
    present = values.get("kern.hv_vmm_present")
    if present is None:
        return Absent(reason="sysctl has no kern.hv_vmm_present")
    return "present, unnamed" if present == "1" else Absent(reason="none: kern.hv_vmm_present is 0")


def _accelerators(model: str | None) -> tuple[str, ...]:
    if model is None or not model.startswith("Apple"):
        return ()
    return (f"{model} GPU", f"{model} Neural Engine")
