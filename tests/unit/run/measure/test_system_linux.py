"""Linux machines from fixture trees: a bare laptop, containers with limits, an ARM board, one that tells nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from assay.core.records import Absent
from assay.run.measure.cgroup import ControlGroup
from assay.run.measure.system import CpuTimes
from assay.run.measure.system_linux import LinuxSystem

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="os.sysconf is of POSIX")

LAPTOP = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Example CPU 7 @ 2.5GHz\ncpu MHz\t\t: 2500.000\n"
    "flags\t\t: fpu sse4_2 avx avx2 fma f16c avx512f avx512_vnni amx_tile amx_bf16\n\n"
    "processor\t: 1\nmodel name\t: Example CPU 7 @ 2.5GHz\ncpu MHz\t\t: 2600.000\nflags\t\t: fpu avx\n\n",
    "proc/meminfo": "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n",
    "proc/loadavg": "1.25 0.80 0.60 2/345 6789\n",
    "proc/pressure/cpu": "some avg10=3.50 avg60=0.12 avg300=0.33 total=9195064\nfull avg10=9.00 avg60=0 total=0\n",
    "proc/stat": "cpu  1000 0 500 8000 100 0 100 300 50 0\ncpu0 500 0 250 4000 50 0 50 150 0 0\n",
    "proc/self/cgroup": "0::/\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2100000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "3900000\n",
    "sys/devices/system/cpu/cpu0/cache/index0/level": "1\n",
    "sys/devices/system/cpu/cpu0/cache/index0/type": "Data\n",
    "sys/devices/system/cpu/cpu0/cache/index0/size": "48K\n",
    "sys/devices/system/cpu/cpu0/cache/index1/level": "1\n",
    "sys/devices/system/cpu/cpu0/cache/index1/type": "Instruction\n",
    "sys/devices/system/cpu/cpu0/cache/index1/size": "32K\n",
    "sys/devices/system/cpu/cpu0/cache/index2/level": "2\n",
    "sys/devices/system/cpu/cpu0/cache/index2/type": "Unified\n",
    "sys/devices/system/cpu/cpu0/cache/index2/size": "2M\n",
    "sys/devices/system/cpu/cpu0/cache/index3/level": "3\n",
    "sys/devices/system/cpu/cpu0/cache/index3/type": "Unified\n",
    "sys/devices/system/cpu/cpu0/cache/index3/size": "36608K\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "4\n",
    "sys/class/thermal/thermal_zone0/temp": "41000\n",
    "sys/class/thermal/thermal_zone1/temp": "67500\n",
    "sys/class/dmi/id/sys_vendor": "Example Cloud\n",
    "sys/class/dmi/id/product_name": "vm.large\n",
    "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 1\n",
    "sys/class/kfd/kfd/topology/nodes/0/name": "\n",
    "sys/class/kfd/kfd/topology/nodes/0/properties": "cpu_cores_count 8\nsimd_count 0\n",
    "sys/class/kfd/kfd/topology/nodes/1/name": "gfx1100\n",
    "sys/class/kfd/kfd/topology/nodes/1/properties": "cpu_cores_count 0\nsimd_count 192\n",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_machine_with_everything(tmp_path: Path) -> None:
    machine = LinuxSystem(tree(tmp_path, LAPTOP), affinity=lambda: 2).machine()
    assert machine.cpu_model == "Example CPU 7 @ 2.5GHz"
    assert machine.isa == (
        "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "amx_tile", "amx_bf16"
    )  # fmt: skip
    assert machine.logical_cpus == 2
    assert machine.usable_cpus == 2
    assert machine.cache_bytes == {"L1d": 48 * 1024, "L2": 2 * 1024**2, "L3": 36608 * 1024}
    assert machine.governor == "powersave"
    assert machine.accelerators == ("NVIDIA A100-SXM4-80GB", "AMD gfx1100")
    assert isinstance(machine.cgroup_memory_bytes, Absent)
    assert machine.memory_bytes > 0


def test_a_machine_under_a_hypervisor_names_it(tmp_path: Path) -> None:
    flagged = LAPTOP | {"proc/cpuinfo": LAPTOP["proc/cpuinfo"].replace("fpu sse4_2", "fpu hypervisor sse4_2")}
    assert LinuxSystem(tree(tmp_path, flagged), lambda: 2).machine().hypervisor == "Example Cloud vm.large"


def test_a_machine_under_xen_names_it(tmp_path: Path) -> None:
    assert (
        LinuxSystem(tree(tmp_path, LAPTOP | {"sys/hypervisor/type": "xen\n"}), lambda: 2).machine().hypervisor == "xen"
    )


def test_the_state_of_a_machine(tmp_path: Path) -> None:
    load = LinuxSystem(tree(tmp_path, LAPTOP), lambda: 2).load(None)
    assert load.load_average == 1.25
    assert load.psi_cpu_some_avg10 == 3.5
    assert load.steal_fraction == pytest.approx(300 / 10_000)
    assert load.available_bytes == 8_000_000 * 1024
    assert load.frequency_hz == 3.9e9
    assert load.temperature_c == 67.5
    assert load.thermal_state == "throttled 4 times since boot"


def test_stolen_time_is_counted_from_the_moment_before(tmp_path: Path) -> None:
    system = LinuxSystem(tree(tmp_path, LAPTOP), lambda: 2)
    assert system.cpu_times() == CpuTimes(total=10_000, stolen=300)
    assert system.load(CpuTimes(total=9_000, stolen=290)).steal_fraction == pytest.approx(0.01)
    assert isinstance(system.load(CpuTimes(total=10_000, stolen=300)).steal_fraction, Absent)


def test_a_machine_that_tells_nothing_gives_reasons(tmp_path: Path) -> None:
    system = LinuxSystem(tmp_path, affinity=lambda: 3)
    machine, load = system.machine(), system.load(None)
    assert machine.isa == ()
    assert machine.cache_bytes == {}
    assert machine.accelerators == ()
    assert machine.usable_cpus == 3
    for text in (machine.cpu_model, machine.hypervisor, machine.governor, load.thermal_state):
        assert isinstance(text, Absent)
    for name in ("load_average", "psi_cpu_some_avg10", "steal_fraction", "available_bytes", "frequency_hz",
                 "temperature_c"):  # fmt: skip
        assert isinstance(getattr(load, name), Absent), name


def test_an_arm_board(tmp_path: Path) -> None:
    info = (
        "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp i8mm bf16\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n\n"
    )
    machine = LinuxSystem(tree(tmp_path, {"proc/cpuinfo": info}), lambda: 1).machine()
    assert machine.isa == ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "neon")
    assert machine.cpu_model == "ARM implementer 0x41 part 0xd4f"


VERSION_2 = {
    "proc/self/cgroup": "0::/app/job\n",
    "sys/fs/cgroup/app/cpu.max": "350000 100000\n",
    "sys/fs/cgroup/app/job/cpu.max": "max 100000\n",
    "sys/fs/cgroup/app/memory.max": "8589934592\n",
    "sys/fs/cgroup/app/memory.current": "1073741824\n",
    "sys/fs/cgroup/app/job/memory.max": "max\n",
    "sys/fs/cgroup/app/job/memory.current": "1000\n",
}
VERSION_1 = {
    "proc/self/cgroup": "5:memory:/box\n3:cpu,cpuacct:/box\n0::/\n",
    "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "350000\n",
    "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "8589934592\n",
    "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "1073741824\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "1073741824\n",
}


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1], ids=["version 2", "version 1"])
def test_a_container_may_use_what_its_group_allows(tmp_path: Path, files: dict[str, str]) -> None:
    root = tree(tmp_path, files | {"proc/meminfo": "MemAvailable: 900000000 kB\n"})
    group = ControlGroup(root)
    assert group.cpus() == 3.5
    assert group.memory_bytes() == 8 * 2**30
    assert group.free_memory_bytes() == 7 * 2**30
    system = LinuxSystem(root, affinity=lambda: 8)
    assert system.machine().usable_cpus == 3
    assert system.machine().cgroup_memory_bytes == 8 * 2**30
    assert system.load(None).available_bytes == 7 * 2**30


def test_a_namespaced_container_sees_its_group_as_the_root(tmp_path: Path) -> None:
    """The path in /proc/self/cgroup does not exist under the mount of the container."""
    files = {"proc/self/cgroup": "0::/../../hidden\n", "sys/fs/cgroup/memory.max": "1048576\n"}
    assert ControlGroup(tree(tmp_path, files)).memory_bytes() == 2**20


def test_no_group_no_limit(tmp_path: Path) -> None:
    group = ControlGroup(tmp_path)
    assert isinstance(group.cpus(), Absent)
    assert isinstance(group.memory_bytes(), Absent)
    assert isinstance(group.free_memory_bytes(), Absent)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the machine itself")
def test_this_machine_is_read_without_error() -> None:
    system = LinuxSystem()
    machine, times = system.machine(), system.cpu_times()
    assert 1 <= machine.usable_cpus <= len(os.sched_getaffinity(0))
    assert times is not None
    assert times.total > 0
    assert isinstance(system.load(None).available_bytes, float)
