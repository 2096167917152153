"""What the readers of all operating systems share: the protocol, CPU times, and commands. It refuses to wait for ever.

A command that is missing, fails or hangs gives `Absent` with the reason.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from assay.core.records import Absent, Load, Machine

COMMAND_TIMEOUT_S = 15.0

Command = Callable[[Sequence[str]], str | Absent]
"""Runs a command and returns what it wrote, or why it could not."""


@dataclass(frozen=True)
class CpuTimes:
    """CPU time of all CPUs since boot, in the kernel's ticks."""

    total: int
    stolen: int


class System(Protocol):
    """How one operating system tells about the machine."""

    def machine(self) -> Machine:
        """What does not change between runs."""

    def load(self, since: CpuTimes | None) -> Load:
        """The state now; the stolen share is counted from `since`, or from boot where it is None."""

    def cpu_times(self) -> CpuTimes | None:
        """CPU time since boot; None where the system does not tell of stolen time."""


def physical_memory_bytes() -> int:
    """Memory of the machine, in bytes, on systems with `sysconf` (Linux and macOS)."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def run_command(arguments: Sequence[str]) -> str | Absent:
    """Run a command without a shell and return its standard output, or why there is none."""
    name = arguments[0]
    try:
        done = subprocess.run(  # the arguments are literals of this package
            list(arguments), capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        return Absent(reason=f"{name} is not installed")
    except OSError as error:
        return Absent(reason=f"{name} cannot be run: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Absent(reason=f"{name} gave no answer in {COMMAND_TIMEOUT_S:.0f} s")
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()
        return Absent(reason=f"{name} failed: {words[0] if words else f'status {done.returncode}'}")
    return done.stdout
