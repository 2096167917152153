"""Energy of an Apple chip as macOS models it, through `powermetrics`. It refuses to ask for the superuser's password.

The figures come from a model of activity, not from a meter: they compare programs on one device, and nothing else.
"""

from __future__ import annotations

import os
import plistlib
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from xml.parsers.expat import ExpatError

from assay.core.records import Absent, Estimate
from assay.run.measure.energy.base import EnergyKind, counted

PERIOD_S = 0.2
_MILLI = 1e-3
_NANO = 1e-9
_STOP_TIMEOUT_S = 5.0


class Recording(Protocol):
    """A `powermetrics` that is running."""

    def terminate(self) -> None:
        """Ask it to end."""

    def wait(self, timeout: float) -> int:
        """Wait until it has."""


def record(path: Path) -> Recording:
    """Start `powermetrics`, which writes a property list to `path` every 200 ms."""
    return subprocess.Popen(
        [
            "powermetrics",
            "--samplers",
            "cpu_power,gpu_power,ane_power",
            "--sample-rate",
            str(round(PERIOD_S / _MILLI)),
            "--format",
            "plist",
            "--output-file",
            str(path),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class PowermetricsMeter:
    """Integrates the modelled power of CPU, GPU and Neural Engine together. Make one with `open_powermetrics`.

    Args:
        start: begins a recording.
        clock: seconds.
    """

    name = "powermetrics"
    kind: EnergyKind = "vendor_model"
    covers = "CPU, GPU and Neural Engine, as macOS models them"

    def __init__(
        self, start: Callable[[Path], Recording] = record, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._start = start
        self._clock = clock
        self._running: tuple[Recording, tempfile.TemporaryDirectory[str], float] | None = None

    def begin_window(self) -> None:
        """Start a recording; one that is running is thrown away."""
        if self._running is not None:
            self.end_window()
        folder = tempfile.TemporaryDirectory()
        self._running = (self._start(Path(folder.name) / "power.plist"), folder, self._clock())

    def end_window(self) -> Estimate | Absent:
        """Stop the recording: mean power of its samples times the length of the window."""
        if self._running is None:
            return Absent(reason="the window was not begun")
        recording, folder, started_s = self._running
        self._running = None
        seconds = self._clock() - started_s
        with folder:
            recording.terminate()
            try:
                recording.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                return Absent(reason=f"powermetrics did not end in {_STOP_TIMEOUT_S:g} s")
            path = Path(folder.name) / "power.plist"
            written = path.read_bytes() if path.is_file() else b""
        return energy_of(written, seconds)


def energy_of(written: bytes, seconds: float) -> Estimate | Absent:
    """Joules of a window from property lists that zero bytes separate.

    Args:
        written: what `powermetrics --format plist` wrote.
        seconds: length of the window; the end of it, which no sample covers, counts at mean power.
    """
    joules = covered_s = 0.0
    for document in written.split(b"\0"):
        if not document.strip():
            continue
        try:
            sample = plistlib.loads(document)
            elapsed_s = float(sample["elapsed_ns"]) * _NANO
            joules += float(sample["processor"]["combined_power"]) * _MILLI * elapsed_s
        except (plistlib.InvalidFileException, ExpatError, KeyError, TypeError, ValueError):
            continue  # the last document is cut off where the recording was stopped
        covered_s += elapsed_s
    if covered_s == 0.0:
        return Absent(reason="powermetrics wrote no power of the processor")
    return counted(
        joules / covered_s * seconds,
        seconds,
        PERIOD_S,
        f"powermetrics, samples over {covered_s:.1f} of {seconds:.1f} s",
    )


def open_powermetrics(platform: str, superuser: bool) -> PowermetricsMeter | Absent:
    """The meter, or why there is none.

    Args:
        platform: `sys.platform`.
        superuser: whether this process has the superuser's rights.
    """
    if platform != "darwin":
        return Absent(reason=f"powermetrics is of macOS; this is {platform}")
    if not superuser:
        return Absent(reason="powermetrics needs the superuser: run the study with sudo to measure energy")
    return PowermetricsMeter()


def is_superuser() -> bool:
    """Whether this process has the superuser's rights; False where the system knows no such user."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
