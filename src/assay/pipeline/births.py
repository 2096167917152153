"""How a worker comes to be: spawned afresh, or forked from a server that has imported the engine and computed nothing.

A forked worker is ready in hundredths of a second instead of seconds. It refuses to fork anywhere but on Linux, and
every round has a server of its own, so that no two rounds share an address layout.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import IO, Any, Protocol, Self

from assay.core.errors import RunError

FORKS = sys.platform == "linux"
"""Whether this system can fork a process that has loaded an engine (macOS frameworks do not survive it)."""

_POLL_S = 0.005


class Life(Protocol):
    """A living worker: where to write requests, where to read answers, how to end it."""

    pid: int
    answers: int
    """File descriptor of its answers."""

    def write(self, line: bytes) -> None:
        """Send a request. Raises BrokenPipeError where the worker is gone."""

    def hang_up(self) -> None:
        """Close its input: it ends after what it is doing."""

    def kill(self) -> None:
        """End it now."""

    def wait(self, timeout_s: float | None = None) -> int:
        """Exit status, negative for a signal. Raises subprocess.TimeoutExpired."""

    def close(self) -> None:
        """Free what belongs to this side."""


class Spawned:
    """A worker in a new interpreter."""

    def __init__(self, errors: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "assay.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        if self._process.stdout is None or self._process.stdin is None:
            raise OSError("the worker has no pipes")
        self._requests, self._output = self._process.stdin, self._process.stdout
        self.pid = self._process.pid
        self.answers = self._output.fileno()

    def write(self, line: bytes) -> None:
        """Send a request."""
        self._requests.write(line)
        self._requests.flush()

    def hang_up(self) -> None:
        """Close its input."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def wait(self, timeout_s: float | None = None) -> int:
        """Exit status, negative for a signal."""
        return self._process.wait(timeout=timeout_s)

    def close(self) -> None:
        """Close the pipes."""
        self.hang_up()
        self._output.close()


class WorkerServer:
    """A process that imports runtimes once and forks a worker at each request. Use it as a context manager.

    Where the system cannot fork, workers are spawned instead, and nothing else changes.
    """

    def __init__(self, runtimes: Sequence[str] = ()) -> None:
        self._runtimes = tuple(runtimes)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self.import_s = 0.0

    def __enter__(self) -> Self:
        if not FORKS:
            return self
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "assay.worker", "--serve", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._control = ours
        self._say({"import": self._runtimes})
        return self

    def __exit__(self, *exception: object) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.wait()

    def ready(self) -> float:
        """Wait until the runtimes are imported; the seconds that this took the server, 0 where workers are spawned.

        Raises:
            RunError: one of them cannot be imported.
        """
        if self._control is not None and not self.import_s:
            told = self._hear()
            if "failed" in told:
                raise RunError(
                    f"The runtimes {', '.join(self._runtimes)} were asked for",
                    f"one cannot be imported: {told['failed']}",
                    "Install it again; `assay doctor` tells when it works",
                )
            self.import_s = float(told["import_s"])
        return self.import_s

    def start(self, errors: IO[bytes]) -> Life:
        """A new worker; what it and its engine print goes to `errors`."""
        if self._control is None:
            return Spawned(errors)
        self.ready()
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b'{"fork": true}'], [theirs.fileno(), errors.fileno()])
        return Forked(self, ours, int(self._hear()["pid"]))

    def status_of(self, pid: int, wait: bool) -> int | None:
        """Exit status of a forked worker, None while it lives; with `wait` it must be ending."""
        self._say({"wait": pid, "block": wait})
        status = self._hear()["status"]
        return None if status is None else int(status)

    def _say(self, message: dict[str, Any]) -> None:
        if self._control is None:
            raise OSError("the worker server is closed")
        self._control.sendall(json.dumps(message).encode())

    def _hear(self) -> dict[str, Any]:
        if self._control is None:
            raise OSError("the worker server is closed")
        message = self._control.recv(1 << 16)
        if not message:
            raise OSError("the worker server ended")
        heard: dict[str, Any] = json.loads(message)
        return heard


def servers_of(stack: ExitStack, runtimes: Iterable[str]) -> dict[str, WorkerServer]:
    """A server for each runtime, open as long as the stack: no worker holds the memory of another's engine."""
    return {runtime: stack.enter_context(WorkerServer([runtime])) for runtime in sorted(set(runtimes))}


class Forked:
    """A worker forked from a server."""

    def __init__(self, server: WorkerServer, line: socket.socket, pid: int) -> None:
        self._server = server
        self._line = line
        self._status: int | None = None
        self.pid = pid
        self.answers = line.fileno()

    def write(self, line: bytes) -> None:
        """Send a request."""
        self._line.sendall(line)

    def hang_up(self) -> None:
        """Close its input."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it now; the server has not reaped it, so that the process id is still its own."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout_s: float | None = None) -> int:
        """Exit status, negative for a signal."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._status is None:
            self._status = self._server.status_of(self.pid, wait=timeout_s is None)
            if self._status is None:
                if deadline is not None and time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired("worker", timeout_s or 0.0)
                time.sleep(_POLL_S)
        return self._status

    def close(self) -> None:
        """Close the line."""
        self._line.close()
