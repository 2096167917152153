"""The line to a runner: JSON messages over a command's standard streams or a TCP socket, with patience that ends.

It refuses whatever is no JSON object on a line of its own, and never leaves a command behind that it started. The
protocol stands in docs/runner.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import IO, Any, Protocol

from assay.core.errors import EngineError, InputError
from assay.run.answers import lied, quoted

_LONGEST_LINE = 64 << 20
_TAIL_BYTES = 4000
_GOODBYE_S = 5.0
_ADDRESS = re.compile(r"(?:tcp://)?(?P<host>[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_PR_SET_PDEATHSIG = 1

Message = dict[str, Any]


class _Stream(Protocol):
    """Where lines go and come from."""

    output: IO[bytes]

    def write(self, line: bytes) -> None:
        """Send a line. Raises OSError where nobody reads it."""

    def end(self) -> str:
        """What is known of the other side once it has hung up."""

    def close(self) -> int | None:
        """End it; the exit status where there is one."""


class RunnerLine:
    """A line to one runner.

    Args:
        address: a command, or `host:port` (also `tcp://host:port`) of a runner that is listening.

    Raises:
        InputError: the command is empty or cannot be split into words.
        EngineError: it cannot be started, or nobody listens.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        written = _ADDRESS.fullmatch(address.strip())
        self.is_remote = written is not None
        self._stream: _Stream = (
            _Socket(written["host"].strip("[]"), int(written["port"])) if written else _Command(address)
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="runner", daemon=True).start()

    def ask(self, message: Mapping[str, Any], patience_s: float, asked: str) -> Message:
        """Send a message and wait for the line that answers it.

        Raises:
            EngineError: the runner is gone, says nothing in time, or answers with something else than a JSON object.
        """
        # A runner that is gone is told by what `receive` finds, with its last words.
        with contextlib.suppress(OSError):
            self._stream.write(json.dumps(message).encode() + b"\n")
        return self._receive(patience_s, asked)

    def close(self) -> int | None:
        """Say goodbye and end the runner, by force after some seconds; its exit status, None over a socket."""
        with contextlib.suppress(OSError):
            self._stream.write(b'{"do": "close"}\n')
        return self._stream.close()

    def _receive(self, patience_s: float, asked: str) -> Message:
        try:
            line = self._lines.get(timeout=patience_s)
        except queue.Empty:
            raise EngineError(
                asked, f"the runner said nothing for {patience_s:.0f} s", "Look at what it waits for", "timed_out"
            ) from None
        if not line:
            raise EngineError(asked, f"the runner is gone: {self._stream.end()}", "Run it alone to see why", "crashed")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            found = f"the runner wrote {quoted(line.decode(errors='replace').rstrip())}, which is no JSON object"
            raise lied(asked, found, "Its standard output belongs to the protocol: print to standard error")
        return message

    def _read(self) -> None:
        """Hand over line after line; an empty one at the end."""
        with contextlib.suppress(OSError), self._stream.output as output:  # a socket that is torn down raises
            while line := output.readline(_LONGEST_LINE):
                if line.strip():
                    self._lines.put(line)
        self._lines.put(b"")


class _Command:
    """A command of ours, in a process group of its own."""

    def __init__(self, command: str) -> None:
        asked = f"The runner {command!r} was asked for"
        try:
            words = shlex.split(command) if os.name == "posix" else command
        except ValueError as error:
            raise InputError(asked, f"it is no command ({error})", "Close every quotation mark") from None
        if not words:
            raise InputError(asked, "it is empty", "Write a command, such as runner:python my_runner.py, or host:port")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the runner
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            self._errors.close()
            raise EngineError(asked, str(error), "Check the command's first word", "crashed") from None
        if self._process.stdout is None or self._process.stdin is None:
            raise OSError("the runner has no pipes")
        self.output: IO[bytes] = self._process.stdout
        self._input = self._process.stdin

    def write(self, line: bytes) -> None:
        self._input.write(line)
        self._input.flush()

    def end(self) -> str:
        """How it ended, and the last line that it printed to standard error."""
        try:
            status = self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            return f"it closed its standard output and lives on. {self._last_words()}".strip().removesuffix(".")
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
        return f"{how}. {self._last_words()}".strip().removesuffix(".")

    def close(self) -> int | None:
        with contextlib.suppress(OSError):
            self._input.close()
        try:
            status = self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._kill()
            status = self._process.wait()
        self._errors.close()
        return status

    def _kill(self) -> None:
        """End the command and what it started, such as a shell's child."""
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()

    def _last_words(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _TAIL_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


class _Socket:
    """A runner that was listening already."""

    def __init__(self, host: str, port: int) -> None:
        try:
            self._socket = socket.create_connection((host, port), timeout=10.0)
        except (OSError, OverflowError) as error:
            raise EngineError(
                f"The runner at {host}:{port} was asked for",
                str(error),
                "Start it there, and check the port",
                "crashed",
            ) from None
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.output: IO[bytes] = self._socket.makefile("rb")

    def write(self, line: bytes) -> None:
        self._socket.sendall(line)

    def end(self) -> str:
        return "it hung up"

    def close(self) -> int | None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        return None


def _end_with_parent() -> None:
    """Ask Linux to kill the runner when the worker dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
