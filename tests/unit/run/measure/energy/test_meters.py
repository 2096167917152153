"""Energy meters on fixtures whose joules are known: counters that wrap, stand still, are forbidden, or break off."""

from __future__ import annotations

import plistlib
import subprocess
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from assay.core.errors import InputError
from assay.core.records import Absent, Estimate
from assay.run.measure.energy import powermetrics
from assay.run.measure.energy.base import EnergyMeter, counted, net_energy
from assay.run.measure.energy.battery import BatteryMeter, LinuxBattery, MacBattery, open_battery
from assay.run.measure.energy.nvml import NvmlCounter, NvmlSampler, open_nvml
from assay.run.measure.energy.powermetrics import PowermetricsMeter, energy_of, open_powermetrics
from assay.run.measure.energy.probe import Surroundings, probe
from assay.run.measure.energy.rapl import RaplMeter, open_rapl
from assay.run.measure.energy.replay import ReplayMeter
from assay.run.measure.energy.sampling import PowerSampler, integrate


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def joules(found: Estimate | Absent) -> float:
    assert isinstance(found, Estimate), found
    assert found.low <= found.value <= found.high
    return found.value


def reason(found: object) -> str:
    assert isinstance(found, Absent), found
    return found.reason


# ---------------------------------------------------------------------------------------------- RAPL


def powercap(root: Path, zones: dict[str, tuple[str, int]], limit_uj: int = 262_143_328_850) -> Path:
    for zone, (name, count) in zones.items():
        folder = root / "sys/class/powercap" / zone
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text(f"{count}\n")
        (folder / "max_energy_range_uj").write_text(f"{limit_uj}\n")
    return root


SERVER = {
    "intel-rapl:0": ("package-0", 1_000_000),
    "intel-rapl:0:0": ("core", 900_000),
    "intel-rapl:0:1": ("dram", 500_000),
    "intel-rapl:1": ("package-1", 2_000_000),
    "intel-rapl:2": ("psys", 9_000_000),
}


def test_rapl_sums_packages_and_nothing_that_they_contain_or_are_contained_in(tmp_path: Path) -> None:
    clock = Clock()
    meter = open_rapl(powercap(tmp_path, SERVER), clock)
    assert isinstance(meter, RaplMeter)
    assert meter.kind == "counter"
    assert "2 processor packages" in meter.covers
    meter.begin_window()
    clock.now_s += 10
    later = {zone: (name, count + 30_000_000) for zone, (name, count) in SERVER.items()}
    powercap(tmp_path, later)
    assert joules(meter.end_window()) == pytest.approx(60.0)


def test_rapl_counts_through_a_wrap(tmp_path: Path) -> None:
    clock = Clock()
    meter = open_rapl(powercap(tmp_path, {"intel-rapl:0": ("package-0", 90_000_000)}, limit_uj=100_000_000), clock)
    assert isinstance(meter, RaplMeter)
    meter.begin_window()
    clock.now_s += 10
    powercap(tmp_path, {"intel-rapl:0": ("package-0", 15_000_000)}, limit_uj=100_000_000)
    assert joules(meter.end_window()) == pytest.approx(25.0)


def test_rapl_that_reads_zero_or_stands_still_is_absent(tmp_path: Path) -> None:
    assert "reads zero" in reason(open_rapl(powercap(tmp_path / "a", {"intel-rapl:0": ("package-0", 0)})))
    clock = Clock()
    meter = open_rapl(powercap(tmp_path / "b", {"intel-rapl:0": ("package-0", 7)}), clock)
    assert isinstance(meter, RaplMeter)
    meter.begin_window()
    clock.now_s += 10
    assert "did not move" in reason(meter.end_window())


def test_rapl_is_absent_where_there_is_none_or_it_is_not_readable(tmp_path: Path, monkeypatch: Any) -> None:
    assert "no RAPL package" in reason(open_rapl(tmp_path))
    root = powercap(tmp_path, {"intel-rapl:0": ("package-0", 5), "intel-rapl:1": ("psys", 5)})
    read_text = Path.read_text

    def forbidden(path: Path, *arguments: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError
        return read_text(path, *arguments)

    monkeypatch.setattr(Path, "read_text", forbidden)
    assert "superuser" in reason(open_rapl(root))


def test_rapl_that_vanishes_is_absent(tmp_path: Path) -> None:
    meter = open_rapl(powercap(tmp_path, {"intel-rapl:0": ("package-0", 5)}))
    assert isinstance(meter, RaplMeter)
    assert "not begun" in reason(meter.end_window())
    meter.begin_window()
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    assert "energy_uj" in reason(meter.end_window())


# ---------------------------------------------------------------------------------------------- NVML


class FakeNvml:
    """The calls of pynvml that are used."""

    class NVMLError(Exception):
        """What pynvml raises."""

    def __init__(self, counts: bool = True, there: bool = True) -> None:
        self.millijoules = 5_000_000
        self._counts, self._there = counts, there

    def nvmlInit(self) -> None:
        if not self._there:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b"NVIDIA Example"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        if not self._counts:
            raise self.NVMLError("Not Supported")
        return self.millijoules

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 50_000


def importing(library: FakeNvml) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        assert name == "pynvml"
        return library

    return load


def test_nvml_counts_millijoules() -> None:
    library, clock = FakeNvml(), Clock()
    meter = open_nvml(load=importing(library), clock=clock)
    assert isinstance(meter, NvmlCounter)
    assert (meter.kind, meter.covers) == ("counter", "NVIDIA Example")
    assert "not begun" in reason(meter.end_window())
    meter.begin_window()
    clock.now_s += 5
    library.millijoules += 1_234_000
    found = meter.end_window()
    assert joules(found) == pytest.approx(1234.0)
    assert isinstance(found, Estimate)
    assert found.high - found.value == pytest.approx(1234.0 / 5 * 0.1)  # one period of 100 ms at mean power


def test_nvml_of_an_older_gpu_integrates_power() -> None:
    meter = open_nvml(load=importing(FakeNvml(counts=False)))
    assert isinstance(meter, NvmlSampler)
    assert meter.kind == "sampled"


def test_nvml_is_absent_without_the_package_or_the_driver() -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    assert "not installed" in reason(open_nvml(load=missing))
    assert "Driver Not Loaded" in reason(open_nvml(load=importing(FakeNvml(there=False))))


def test_nvml_that_is_lost_in_the_window_is_absent() -> None:
    library = FakeNvml()
    meter = open_nvml(load=importing(library))
    assert isinstance(meter, NvmlCounter)
    meter.begin_window()
    library._counts = False
    assert "Not Supported" in reason(meter.end_window())


# ---------------------------------------------------------------------------------------------- powermetrics


def plists(milliwatts: Sequence[float], elapsed_s: float = 0.2) -> bytes:
    documents = [
        plistlib.dumps({"elapsed_ns": int(elapsed_s * 1e9), "processor": {"combined_power": power}})
        for power in milliwatts
    ]
    return b"\0".join(documents)


class FakeRecording:
    """Writes its samples when it is asked to end, or never ends."""

    def __init__(self, path: Path, written: bytes, hangs: bool = False) -> None:
        self._path, self._written, self._hangs = path, written, hangs

    def terminate(self) -> None:
        if self._written:
            self._path.write_bytes(self._written)

    def wait(self, timeout: float) -> int:
        if self._hangs:
            raise subprocess.TimeoutExpired("powermetrics", timeout)
        return 0


def recorded(written: bytes, hangs: bool = False) -> Estimate | Absent:
    clock = Clock()
    meter = PowermetricsMeter(lambda path: FakeRecording(path, written, hangs), clock)
    meter.begin_window()
    clock.now_s += 10.0
    return meter.end_window()


def test_powermetrics_is_mean_power_times_the_window() -> None:
    assert joules(recorded(plists([10_000, 20_000] * 25))) == pytest.approx(150.0)


def test_powermetrics_forgives_a_last_document_that_is_cut_off() -> None:
    assert joules(recorded(plists([10_000] * 50)[:-40])) == pytest.approx(100.0)


def test_powermetrics_without_power_is_absent() -> None:
    assert "no power" in reason(recorded(b""))
    assert "no power" in reason(energy_of(plistlib.dumps({"elapsed_ns": 1}), 10.0))
    assert "did not move" in reason(energy_of(plists([0.0] * 50), 10.0))
    assert "did not end" in reason(recorded(plists([10_000] * 50), hangs=True))
    assert "not begun" in reason(PowermetricsMeter().end_window())


def test_powermetrics_is_for_the_superuser_of_a_mac() -> None:
    assert "linux" in reason(open_powermetrics("linux", superuser=True))
    assert "sudo" in reason(open_powermetrics("darwin", superuser=False))
    meter = open_powermetrics("darwin", superuser=True)
    assert isinstance(meter, PowermetricsMeter)
    assert meter.kind == "vendor_model"
    assert isinstance(powermetrics.is_superuser(), bool)


def test_a_second_begin_throws_the_first_recording_away() -> None:
    started: list[Path] = []

    def start(path: Path) -> FakeRecording:
        started.append(path)
        return FakeRecording(path, plists([10_000] * 50))

    meter = PowermetricsMeter(start, Clock())
    meter.begin_window()
    meter.begin_window()
    assert len(started) == 2
    meter.end_window()
    assert not any(path.parent.exists() for path in started)


# ---------------------------------------------------------------------------------------------- batteries


def supply(root: Path, name: str, **files: str) -> Path:
    folder = root / "sys/class/power_supply" / name
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(f"{text}\n")
    return root


def test_a_battery_that_tells_its_power(tmp_path: Path) -> None:
    supply(tmp_path, "AC", type="Mains", online="0")
    supply(tmp_path, "BAT0", type="Battery", status="Discharging", power_now="12500000")
    assert LinuxBattery(tmp_path).power_w() == 12.5


def test_a_battery_that_tells_current_and_voltage(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", status="Discharging", current_now="-1500000", voltage_now="12000000")
    assert LinuxBattery(tmp_path).power_w() == pytest.approx(18.0)


def test_a_battery_that_is_charged_or_silent_or_of_a_mouse_is_absent(tmp_path: Path) -> None:
    assert "charging" in reason(LinuxBattery(supply(tmp_path / "a", "B", type="Battery", status="Charging")).power_w())
    assert "no power" in reason(
        LinuxBattery(supply(tmp_path / "b", "B", type="Battery", status="Discharging")).power_w()
    )
    mouse = supply(tmp_path / "c", "hid", type="Battery", scope="Device", status="Discharging", power_now="1")
    assert "no battery" in reason(LinuxBattery(mouse).power_w())
    assert "no battery" in reason(LinuxBattery(tmp_path / "d").power_w())


IOREG = '"ExternalConnected" = {plugged}\n "InstantAmperage" = {amperage}\n "Voltage" = 12600\n'


def mac_battery(written: str) -> MacBattery:
    return MacBattery(lambda _: written)


def test_the_battery_of_a_mac() -> None:
    discharging = IOREG.format(plugged="No", amperage=(1 << 64) - 1500)
    assert mac_battery(discharging).power_w() == pytest.approx(18.9)
    assert "plugged in" in reason(mac_battery(IOREG.format(plugged="Yes", amperage=0)).power_w())
    assert "no battery" in reason(mac_battery("").power_w())
    assert "no current" in reason(mac_battery('"ExternalConnected" = No\n"Voltage" = 12600').power_w())
    assert reason(MacBattery(lambda _: Absent(reason="ioreg is not installed")).power_w()) == "ioreg is not installed"


def test_a_battery_is_integrated(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", status="Discharging", power_now="10000000")
    meter = open_battery("linux", tmp_path, period_s=0.002)
    assert isinstance(meter, BatteryMeter)
    begin = time.perf_counter()
    meter.begin_window()
    time.sleep(0.1)
    found = meter.end_window()
    elapsed_s = time.perf_counter() - begin
    if isinstance(found, Estimate):  # a busy machine may leave a gap, and says so
        assert 0.1 * 10 <= found.value <= elapsed_s * 10
    else:
        assert "power" in found.reason
    assert "not begun" in reason(meter.end_window())
    assert "win32" in reason(open_battery("win32", tmp_path))


# ---------------------------------------------------------------------------------------------- integration


def test_a_ramp_is_integrated_exactly() -> None:
    """P = 2 t: the trapezoid rule is exact, ends inside of pauses included."""
    readings = [(0.5 * step, 1.0 * step) for step in range(41)]
    found = integrate(readings, 2.25, 17.75, "ramp")
    assert joules(found) == pytest.approx(17.75**2 - 2.25**2)


def test_too_few_readings_or_a_gap_or_zeros_are_absent() -> None:
    readings = [(0.1 * step, 5.0) for step in range(100)]
    assert "9 readings" in reason(integrate(readings[:9], 0.0, 1.0, ""))
    assert "no power was read" in reason(integrate(readings[:40] + readings[60:], 0.0, 9.9, ""))
    assert "zero" in reason(integrate([(at, 0.0) for at, _ in readings], 0.0, 9.9, ""))


def test_a_sampler_hands_on_why_power_could_not_be_read() -> None:
    sampler = PowerSampler(lambda: Absent(reason="the meter is unplugged"), 0.001)
    sampler.begin()
    sampler.begin()
    time.sleep(0.01)
    assert reason(sampler.end("")) == "the meter is unplugged"


# ---------------------------------------------------------------------------------------------- recorded logs


def log(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_log_of_joules_is_replayed(tmp_path: Path) -> None:
    rows = "\n".join(f"{100 + at},{at * 12.5}" for at in range(60))
    clock = Clock()
    meter = ReplayMeter(log(tmp_path / "meter.csv", f"time_s,energy_j\n{rows}\n"), clock)
    assert meter.kind == "counter"
    clock.now_s = 110.5
    meter.begin_window()
    clock.now_s = 130.5
    assert joules(meter.end_window()) == pytest.approx(250.0)
    assert "meter.csv" in meter.covers


def test_a_log_of_watts_is_replayed(tmp_path: Path) -> None:
    rows = "\n".join(f"{100 + 0.1 * at:.1f},{40 if at < 100 else 60}" for at in range(300))
    meter = ReplayMeter(log(tmp_path / "meter.csv", f"time_s,power_w\n{rows}\n"))
    assert meter.kind == "sampled"
    # 4.9 s at 40 W, .1 s in which the trapezoid rises to 60 W, 5 s at 60 W
    assert joules(meter.energy(105.0, 115.0)) == pytest.approx(4.9 * 40 + 0.1 * 50 + 5 * 60)


def test_a_window_that_the_log_does_not_cover_is_absent(tmp_path: Path) -> None:
    meter = ReplayMeter(log(tmp_path / "m.csv", "time_s,energy_j\n0,0\n10,5\n"))
    assert "covers 0.0 to 10.0 s" in reason(meter.energy(5, 11))
    assert "not begun" in reason(meter.end_window())
    assert "period" in reason(meter.energy(2, 8))  # one row every 10 s says nothing of 6 s


@pytest.mark.parametrize(
    "text",
    [
        "",
        "time_s,power_w\n",
        "time_s,power_w\n1,2\n",
        "time_s,power_w\n2,2\n1,2\n",
        "time_s,power_w\n1,x\n2,2\n",
        "time_s,power_w\n1\n2,2\n",
        "seconds,power_w\n1,2\n2,2\n",
        "time_s,power_w,energy_j\n1,2,3\n2,2,3\n",
    ],
)
def test_a_file_that_is_no_log_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="energy log"):
        ReplayMeter(log(tmp_path / "m.csv", text))


def test_a_log_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        ReplayMeter(tmp_path / "none.csv")


# ---------------------------------------------------------------------------------------------- net energy, choice


def test_a_window_shorter_than_a_period_is_absent() -> None:
    assert "not longer" in reason(counted(5.0, 0.05, 0.1, ""))


def gross(value: float) -> Estimate:
    return Estimate(value=value, low=value - 1, high=value + 1, level=1.0, method="meter")


def test_net_energy_is_what_is_above_idle() -> None:
    found = net_energy(gross(100.0), 10.0, 4.0, 4.1)
    assert joules(found) == pytest.approx(100 - 4.05 * 10)
    assert isinstance(found, Estimate)
    assert found.low == pytest.approx(99 - 40.5 - 0.5)
    assert found.high == pytest.approx(101 - 40.5 + 0.5)


def test_net_energy_is_dropped_where_idle_drifts_or_nothing_is_left() -> None:
    assert "drifted" in reason(net_energy(gross(100.0), 10.0, 4.0, 4.3))
    assert "no more than idle" in reason(net_energy(gross(30.0), 10.0, 4.0, 4.0))
    missing = Absent(reason="idle was not measured")
    assert net_energy(gross(30.0), 10.0, missing, 4.0) == missing
    assert net_energy(gross(30.0), 10.0, 4.0, missing) == missing
    assert net_energy(missing, 10.0, 4.0, 4.0) == missing


def nothing(root: Path, **changes: Any) -> Surroundings:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    bare: dict[str, Any] = {
        "platform": "linux",
        "root": root,
        "command": lambda _: Absent(reason="not installed"),
        "load": missing,
        "superuser": False,
    }
    return Surroundings(**(bare | changes))


def test_without_a_meter_every_reason_is_told(tmp_path: Path) -> None:
    choice = probe("cpu", nothing(tmp_path))
    assert choice.meter.kind == "none"
    choice.meter.begin_window()
    told = reason(choice.meter.end_window())
    assert [name for name, _ in choice.others] == ["NVML", "RAPL", "powermetrics", "battery"]
    assert all(name in told for name, _ in choice.others)


def test_the_best_meter_is_taken(tmp_path: Path) -> None:
    root = supply(tmp_path, "BAT0", type="Battery", status="Discharging", power_now="10000000")
    assert probe("cpu", nothing(root)).meter.name == "battery"
    powercap(root, {"intel-rapl:0": ("package-0", 5)})
    choice = probe("cpu", nothing(root))
    assert choice.meter.name == "RAPL"
    assert [name for name, _ in choice.others] == ["NVML"]
    gpu: EnergyMeter = probe("cuda", nothing(root, load=importing(FakeNvml()))).meter
    assert gpu.name == "NVML"
    assert probe("cpu", nothing(root, load=importing(FakeNvml()))).meter.name == "RAPL"
    assert probe("mps", nothing(tmp_path / "mac", platform="darwin", superuser=True)).meter.name == "powermetrics"


def test_meters_do_not_know_each_other() -> None:
    folder = Path(powermetrics.__file__).parent
    meters = ("rapl", "nvml", "powermetrics", "battery", "replay")
    for one, other in [*pairwise(meters), *((b, a) for a, b in pairwise(meters))]:
        assert f"energy.{other}" not in (folder / f"{one}.py").read_text()
