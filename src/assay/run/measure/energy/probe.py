"""Chooses the best energy meter of this machine. It refuses to be silent about the others."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.core.records import Absent
from assay.run.measure.energy.base import EnergyMeter, NoMeter
from assay.run.measure.system import Command, run_command


@dataclass(frozen=True)
class Surroundings:
    """What the meters are looked for in; the machine itself unless a test says otherwise."""

    platform: str = sys.platform
    root: Path = Path("/")
    command: Command = run_command
    load: Callable[[str], Any] = importlib.import_module
    superuser: bool | None = None


@dataclass(frozen=True)
class Choice:
    """The meter that was taken, and by name why each other one was not."""

    meter: EnergyMeter
    others: tuple[tuple[str, str], ...]


def probe(device: str = "cpu", surroundings: Surroundings | None = None) -> Choice:
    """The best meter for work on a device: a counter of that device before a model, a model before the battery.

    Args:
        device: `cpu`, `cuda` or `mps`.
        surroundings: where to look.
    """
    where = Surroundings() if surroundings is None else surroundings
    rejected: list[tuple[str, str]] = []
    for name, opened in (("NVML", _nvml), ("RAPL", _rapl), ("powermetrics", _powermetrics), ("battery", _battery)):
        meter = opened(device, where)
        if not isinstance(meter, Absent):
            return Choice(meter, tuple(rejected))
        rejected.append((name, meter.reason))
    reasons = "; ".join(f"{name}: {reason}" for name, reason in rejected)
    return Choice(NoMeter(f"no energy meter here ({reasons})"), tuple(rejected))


def _nvml(device: str, where: Surroundings) -> EnergyMeter | Absent:
    if device != "cuda":
        return Absent(reason=f"the work runs on {device}, not on an NVIDIA GPU")
    from assay.run.measure.energy.nvml import open_nvml

    return open_nvml(load=where.load)


def _rapl(device: str, where: Surroundings) -> EnergyMeter | Absent:
    if device != "cpu":
        return Absent(reason=f"the work runs on {device}, which the processor's counter does not cover")
    if where.platform != "linux":
        return Absent(reason=f"powercap is of Linux; this is {where.platform}")
    from assay.run.measure.energy.rapl import open_rapl

    return open_rapl(where.root)


def _powermetrics(_device: str, where: Surroundings) -> EnergyMeter | Absent:
    from assay.run.measure.energy.powermetrics import is_superuser, open_powermetrics

    return open_powermetrics(where.platform, is_superuser() if where.superuser is None else where.superuser)


def _battery(_device: str, where: Surroundings) -> EnergyMeter | Absent:
    from assay.run.measure.energy.battery import open_battery

    return open_battery(where.platform, where.root, where.command)
