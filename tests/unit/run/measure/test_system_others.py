"""macOS and Windows from recorded answers of their commands; the systems themselves are not exercised here."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping, Sequence

from assay.core.records import Absent
from assay.run.measure.system import run_command
from assay.run.measure.system_macos import MacSystem
from assay.run.measure.system_windows import MemoryStatus, WindowsSystem

APPLE_SYSCTL = """\
hw.logicalcpu: 10
hw.activecpu: 10
hw.memsize: 17179869184
hw.machine: arm64
hw.l1dcachesize: 65536
hw.l2cachesize: 4194304
hw.perflevel0.l1dcachesize: 131072
hw.perflevel0.l2cachesize: 16777216
hw.optional.neon: 1
hw.optional.AdvSIMD: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_SME: 0
machdep.cpu.brand_string: Apple M2 Pro
kern.osproductversion: 15.3
kern.hv_vmm_present: 0
"""
INTEL_SYSCTL = """\
hw.logicalcpu: 8
hw.activecpu: 8
hw.memsize: 34359738368
hw.machine: x86_64
hw.l1dcachesize: 32768
hw.l2cachesize: 262144
hw.l3cachesize: 8388608
machdep.cpu.brand_string: Intel(R) Core(TM) i7-7820HQ CPU @ 2.90GHz
machdep.cpu.features: FPU VME SSE4.2 FMA F16C AVX1.0
machdep.cpu.leaf7_features: SMEP AVX2 BMI2
kern.osproductversion: 13.6
kern.hv_vmm_present: 1
"""
VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            200000.
Pages inactive:                           50000.
Pages speculative:                         1000.
Pages purgeable:                            500.
"Translation faults":                 123456789.
"""
MAC_STATE = {
    "sysctl -n vm.loadavg": "{ 2,15 1,90 1,75 }\n",
    "vm_stat": VM_STAT,
    "notifyutil -g com.apple.system.thermalpressurelevel": "com.apple.system.thermalpressurelevel 2\n",
    "pmset -g": "System-wide power settings:\nCurrently in use:\n lowpowermode         1\n sleep                1\n",
}


class Recorded:
    """Answers commands from a recording; what was not recorded is not installed."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers = answers

    def __call__(self, arguments: Sequence[str]) -> str | Absent:
        line = " ".join(arguments)
        for asked, answer in self._answers.items():
            if line.startswith(asked):
                return answer
        return Absent(reason=f"{arguments[0]} is not installed")


def mac(sysctl: str) -> MacSystem:
    return MacSystem(Recorded(MAC_STATE | {"sysctl hw": sysctl}))


def test_an_apple_chip() -> None:
    machine = mac(APPLE_SYSCTL).machine()
    assert machine.cpu_model == "Apple M2 Pro"
    assert machine.architecture == "arm64"
    assert machine.isa == ("neon", "asimddp", "i8mm", "bf16")
    assert machine.cache_bytes == {"L1d": 131072, "L2": 16777216}
    assert machine.memory_bytes == 16 * 2**30
    assert machine.accelerators == ("Apple M2 Pro GPU", "Apple M2 Pro Neural Engine")
    assert isinstance(machine.hypervisor, Absent)
    assert machine.governor == "lowpowermode 1"
    assert machine.release == "15.3"


def test_an_intel_mac_in_a_virtual_machine() -> None:
    machine = mac(INTEL_SYSCTL).machine()
    assert machine.isa == ("sse4_2", "avx", "avx2", "fma", "f16c")
    assert machine.cache_bytes == {"L1d": 32768, "L2": 262144, "L3": 8388608}
    assert machine.accelerators == ()
    assert machine.hypervisor == "present, unnamed"


def test_the_state_of_a_mac() -> None:
    system = mac(APPLE_SYSCTL)
    load = system.load(None)
    assert load.load_average == 2.15
    assert load.available_bytes == 16384 * 61_500
    assert load.thermal_state == "serious"
    assert isinstance(load.steal_fraction, Absent)
    assert system.cpu_times() is None


def test_a_mac_whose_commands_fail_gives_reasons() -> None:
    system = MacSystem(Recorded({}))
    load = system.load(None)
    for value in (load.load_average, load.available_bytes, load.thermal_state, load.frequency_hz):
        assert isinstance(value, Absent)


def test_a_mac_that_answers_strangely_gives_reasons() -> None:
    strange = dict.fromkeys(MAC_STATE, "?\n")
    load = MacSystem(Recorded(strange)).load(None)
    for value in (load.load_average, load.available_bytes, load.thermal_state):
        assert isinstance(value, Absent)


WINDOWS = {
    "powershell": json.dumps(
        {
            "cpu": {
                "Name": "AMD Ryzen 9 7950X 16-Core Processor            ",
                "L2CacheSize": 16384,
                "L3CacheSize": 65536,
                "CurrentClockSpeed": 4501,
            },
            "computer": {"Manufacturer": "Example", "Model": "Tower", "HypervisorPresent": False},
            "os": {"Version": "10.0.26100"},
            "video": ["NVIDIA GeForce RTX 4090"],
        }
    ),
    "powercfg": "Power Scheme GUID: 381b4222-f694-41f0-9685-ff5bb260df2e  (Balanced)\n",
}


def memory() -> MemoryStatus:
    return MemoryStatus(ullTotalPhys=64 * 2**30, ullAvailPhys=40 * 2**30)


def windows(answers: Mapping[str, str]) -> WindowsSystem:
    return WindowsSystem(Recorded(answers), feature={39, 40, 41}.__contains__, memory=memory)


def test_a_windows_machine() -> None:
    system = windows(WINDOWS)
    machine, load = system.machine(), system.load(None)
    assert machine.cpu_model == "AMD Ryzen 9 7950X 16-Core Processor"
    assert machine.isa == ("avx", "avx2", "avx512f")
    assert machine.cache_bytes == {"L2": 16 * 2**20, "L3": 64 * 2**20}
    assert machine.memory_bytes == 64 * 2**30
    assert machine.accelerators == ("NVIDIA GeForce RTX 4090",)
    assert machine.governor == "Balanced"
    assert isinstance(machine.hypervisor, Absent)
    assert load.available_bytes == 40 * 2**30
    assert load.frequency_hz == 4.501e9
    assert isinstance(load.load_average, Absent)
    assert system.cpu_times() is None


def test_a_windows_virtual_machine_names_its_maker() -> None:
    told = json.loads(WINDOWS["powershell"])
    told["computer"] = {"Manufacturer": "Microsoft Corporation", "Model": "Virtual Machine", "HypervisorPresent": True}
    machine = windows(WINDOWS | {"powershell": json.dumps(told)}).machine()
    assert machine.hypervisor == "Microsoft Corporation Virtual Machine"


def test_a_windows_machine_without_powershell_gives_reasons() -> None:
    for answers in ({}, {"powershell": "not JSON", "powercfg": "?"}, {"powershell": "[1]"}):
        system = windows(answers)
        machine, load = system.machine(), system.load(None)
        assert machine.memory_bytes == 64 * 2**30
        for value in (machine.cpu_model, machine.hypervisor, machine.governor, load.frequency_hz):
            assert isinstance(value, Absent)


def test_the_structure_of_windows_has_the_size_of_its_header() -> None:
    assert ctypes.sizeof(MemoryStatus) == 64


def test_a_command_answers_or_says_why_not() -> None:
    assert run_command(("git", "--version")) != ""
    missing = run_command(("assay-no-such-command",))
    assert isinstance(missing, Absent)
    assert "not installed" in missing.reason
