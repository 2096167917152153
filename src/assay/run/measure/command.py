"""One execution of a shell command, timed from outside. It refuses to poll, and to count a failed execution.

CPU time and peak memory come from the kernel's own account of the child (`wait4`), where there is one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Self

from assay.core.errors import UnsupportedError
from assay.core.records import Absent, Measured
from assay.run.measure.clock import NANOSECOND

_TAIL_BYTES = 2000
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of `ru_maxrss`."""


@dataclass(frozen=True)
class Execution:
    """What one execution took."""

    started_s: float
    """On the machine's monotonic clock."""
    seconds: float
    """From the start of the shell to its end."""
    cpu_s: Measured
    """User and system time of the shell and of all children that it waited for."""
    peak_bytes: Measured
    """Highest resident size of any one of these processes."""
    status: int
    """Exit status; negative for a signal."""
    words: str
    """Last line that it wrote to standard error; empty where it wrote none."""
    timed_out: bool


class CommandRunner:
    """Runs shell commands, one after another, each in a session of its own. Use it as a context manager.

    Standard input is empty and standard output is discarded; of standard error the end is kept.
    """

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the runner

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the file that standard error goes to."""
        self._errors.close()

    def execute(self, command: str, timeout_s: float) -> Execution:
        """Run a command to its end, asleep, and take its times.

        Raises:
            UnsupportedError: the system has no `wait4`.
            KeyboardInterrupt: Ctrl-C; the command was ended first.
        """
        if sys.platform == "win32":
            raise UnsupportedError(
                "a comparison of two commands", "this system gives no account of a child", "Compare two callables"
            )
        self._errors.seek(0)
        self._errors.truncate()
        late = threading.Event()
        started = time.perf_counter_ns()
        process = subprocess.Popen(
            command,
            shell=True,  # the user's own command line, as it would be typed
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,
        )
        guard = threading.Timer(timeout_s, _end_late, (process.pid, late))
        guard.daemon = True
        guard.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            ended = time.perf_counter_ns()
        except KeyboardInterrupt:
            _kill_session(process.pid)
            process.wait()
            raise
        finally:
            guard.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        return Execution(
            started_s=started * NANOSECOND,
            seconds=(ended - started) * NANOSECOND,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_bytes=_peak(usage.ru_maxrss * _MAXRSS_BYTES),
            status=process.returncode,
            words=self._last_line(),
            timed_out=late.is_set(),
        )

    def _last_line(self) -> str:
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, end - _TAIL_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def _peak(told: int) -> Measured:
    """The kernel's figure for a child starts from the parent's own peak: below that it tells nothing of the child."""
    if sys.platform == "win32":
        return Absent(reason="this system gives no account of a child")
    import resource

    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES
    if told <= own:
        return Absent(reason=f"below the {own / 1e6:.0f} MB of Assay itself, from which the kernel counts")
    return float(told)


def _end_late(pid: int, late: threading.Event) -> None:
    late.set()
    _kill_session(pid)


def _kill_session(pid: int) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
