"""The parent's side of a worker: spawn, ask, wait without polling, and tell how it died.

It refuses to wait longer than a time-out, and never leaves a worker behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from assay.core import errors
from assay.core.errors import AssayError, MissingDependencyError
from assay.core.records import Outcome
from assay.pipeline.births import Life, Spawned, WorkerServer

Reply = dict[str, Any]

_TAIL_BYTES = 2000
_GOODBYE_S = 2.0


class WorkerFailed(Exception):  # noqa: N818 - it carries an outcome: a failed worker is a row, not an error of ours
    """A worker failed; `outcome` is what its row will say. The worker is gone where `alive` is false."""

    def __init__(self, outcome: Outcome, alive: bool) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome
        self.alive = alive


class WorkerProcess:
    """A fresh process that runs `assay.worker`; use it as a context manager.

    Args:
        name: for messages.
        server: forks the worker; without one it is spawned.
    """

    def __init__(self, name: str, server: WorkerServer | None = None) -> None:
        self.name = name
        self._oom_kills_before = _oom_kills()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._life: Life = server.start(self._errors) if server is not None else Spawned(self._errors)
        self._closed = False
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._life.answers, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close(patience_s=0.0 if exception[0] else _GOODBYE_S)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._life.pid

    def ask(self, do: str, timeout_s: float, **arguments: Any) -> Reply:
        """Send a request and wait for its answer, asleep.

        Raises:
            AssayError: the worker refused the request; the worker is still alive.
            WorkerFailed: it crashed, ran out of memory, did not answer in time, or cannot carry the request.
        """
        self.send(do, **arguments)
        return self.receive(timeout_s)

    def send(self, do: str, **arguments: Any) -> None:
        """Send a request; every one must be followed by `receive`."""
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # the death is told by `receive`, with its cause
            self._life.write(json.dumps({"do": do, **arguments}).encode() + b"\n")

    def receive(self, timeout_s: float) -> Reply:
        """Wait for the answer to the request sent last."""
        deadline = time.monotonic() + timeout_s
        message = json.loads(self._line(deadline, timeout_s))
        if "answer" not in message:
            raise self._failure(message)
        answer: Reply = message["answer"]
        return answer

    def close(self, patience_s: float = _GOODBYE_S) -> None:
        """End the worker: by closing its input, then by force. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._life.hang_up()
        try:
            self._life.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._life.kill()
            self._life.wait()
        self._selector.close()
        self._life.close()
        self._errors.close()

    def _line(self, deadline: float, timeout_s: float) -> bytes:
        while b"\n" not in self._buffer:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not self._selector.select(remaining):
                self._life.kill()
                self._life.wait()
                outcome = Outcome(kind="timed_out", message=f"no answer within {timeout_s:.0f} s", successes=0)
                raise WorkerFailed(outcome, alive=False)
            try:
                chunk = os.read(self._life.answers, 1 << 20)
            except ConnectionResetError:  # how a socket tells that the worker died with a request unread
                chunk = b""
            if not chunk:
                raise WorkerFailed(self._cause_of_death(), alive=False)
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _cause_of_death(self) -> Outcome:
        status = self._life.wait()
        last_words = self._last_words()
        if status == -signal.SIGKILL and _oom_kills() > self._oom_kills_before:
            return Outcome(kind="out_of_memory", message="killed by the kernel, which ran out of memory", successes=0)
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return Outcome(kind="crashed", message=f"{how}. {last_words}".strip(), successes=0)

    def _last_words(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _TAIL_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _failure(self, message: Mapping[str, Any]) -> Exception:
        words = message["words"]
        if message["failure"] == "refused":
            return _rebuild(message)
        if message["failure"] == "unsupported":
            return WorkerFailed(Outcome(kind="unsupported", message=str(_rebuild(message)), successes=0), alive=True)
        text = f"{message['class']}: {words[0]}"
        return WorkerFailed(Outcome(kind=message["failure"], message=text, successes=0), alive=True)


def _oom_kills() -> int:
    """Processes that the kernel killed for memory since boot; 0 where it does not tell (then a kill is a crash)."""
    try:
        counters = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in counters.splitlines() if line.startswith("oom_kill ")), 0)


def _rebuild(message: Mapping[str, Any]) -> AssayError:
    asked, found, remedy = message["words"]
    if message["extra"]:
        return MissingDependencyError(asked, *message["extra"])
    error_class: type[AssayError] = getattr(errors, message["class"])
    return error_class(asked, found, remedy)
