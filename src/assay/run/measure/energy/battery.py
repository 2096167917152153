"""Energy of the whole system from its battery, on Linux and macOS. It refuses to measure a machine on mains."""

from __future__ import annotations

import re
from pathlib import Path

from assay.core.records import Absent, Estimate, Measured
from assay.run.measure.energy.base import EnergyKind
from assay.run.measure.energy.sampling import PowerSampler
from assay.run.measure.system import Command, run_command

PERIOD_S = 1.0
_MICRO = 1e-6
_MILLI = 1e-3


class LinuxBattery:
    """Power that a battery gives, from `/sys/class/power_supply`.

    Args:
        root: the root of the file system; another one in tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "sys/class/power_supply"

    def power_w(self) -> Measured:
        """Watts now; Absent where there is no battery, or it is not discharging."""
        for path in sorted(self._folder.glob("*")):
            if _text(path / "type") != "Battery" or _text(path / "scope") == "Device":
                continue
            status = _text(path / "status")
            if status != "Discharging":
                return Absent(
                    reason=f"the battery is {status.lower() or 'silent'}: unplug the machine to measure energy"
                )
            power, current, voltage = (_text(path / name) for name in ("power_now", "current_now", "voltage_now"))
            if power.lstrip("-").isdigit():
                return abs(int(power)) * _MICRO
            if current.lstrip("-").isdigit() and voltage.isdigit():
                return abs(int(current)) * _MICRO * int(voltage) * _MICRO
            return Absent(reason=f"the battery {path.name} tells no power")
        return Absent(reason="the machine has no battery")


class MacBattery:
    """Power that a Mac's battery gives, from `ioreg`.

    Args:
        command: runs a command; recorded answers in tests.
    """

    def __init__(self, command: Command = run_command) -> None:
        self._command = command

    def power_w(self) -> Measured:
        """Watts now; Absent where there is no battery, or the machine is plugged in."""
        written = self._command(("ioreg", "-r", "-n", "AppleSmartBattery", "-w", "0"))
        if isinstance(written, Absent):
            return written
        fields = dict(re.findall(r'"(ExternalConnected|InstantAmperage|Amperage|Voltage)" = (\w+)', written))
        if not fields:
            return Absent(reason="the machine has no battery")
        if fields.get("ExternalConnected") == "Yes":
            return Absent(reason="the machine is plugged in: unplug it to measure energy")
        amperage = fields.get("InstantAmperage", fields.get("Amperage"))
        if amperage is None or "Voltage" not in fields:
            return Absent(reason="the battery tells no current or no voltage")
        milliamperes = int(amperage)
        if milliamperes >= 1 << 63:  # ioreg prints negative numbers, which discharging gives, as unsigned ones
            milliamperes -= 1 << 64
        return abs(milliamperes) * _MILLI * int(fields["Voltage"]) * _MILLI


class BatteryMeter:
    """Integrates the power of the battery. Make one with `open_battery`."""

    name = "battery"
    kind: EnergyKind = "sampled"
    covers = "the whole system, its screen and radios included"

    def __init__(self, battery: LinuxBattery | MacBattery, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._sampler = PowerSampler(battery.power_w, period_s)

    def begin_window(self) -> None:
        """Begin to read power."""
        self._sampler.begin()

    def end_window(self) -> Estimate | Absent:
        """Joules since then."""
        return self._sampler.end(f"battery power every {self._period_s:g} s")


def open_battery(
    platform: str, root: Path = Path("/"), command: Command = run_command, period_s: float = PERIOD_S
) -> BatteryMeter | Absent:
    """The meter, or why there is none.

    Args:
        platform: `sys.platform`.
        root: the root of the file system; another one in tests.
        command: runs a command.
        period_s: pause between readings.
    """
    if platform not in ("linux", "darwin"):
        return Absent(reason=f"no way to read a battery's power is known on {platform}")
    battery: LinuxBattery | MacBattery = LinuxBattery(root) if platform == "linux" else MacBattery(command)
    watts = battery.power_w()
    return watts if isinstance(watts, Absent) else BatteryMeter(battery, period_s)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
