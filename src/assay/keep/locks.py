"""File locks that die with their process: one writer per key. They refuse to outlive a killed process.

POSIX record locks are used, not `flock`: a forked worker does not inherit them, so an orphan cannot keep a study
locked. Within one process they would not exclude each other, hence the registry of the locks that this process holds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_registry_guard = threading.Lock()
_held_by_pid: dict[str, int] = {}

_POLL_S = 0.02
_WINDOWS_LOCK_BYTE = 1 << 30
"""Locked far behind the text, since a locked byte cannot be read by others on Windows."""


class LockHeldError(Exception):
    """Another holder has the lock; `pid` is 0 where its number could not be read."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(path, pid)
        self.path = path
        self.pid = pid


@contextlib.contextmanager
def file_lock(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on `path`, which is created; the file keeps the holder's process id for others to read.

    Args:
        path: the lock file; its directory is made.
        wait_s: how long to wait for another holder, in seconds.

    Raises:
        LockHeldError: another process, or another place in this one, holds it after `wait_s`.
        OSError: the file cannot be created, or its file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    key = str(path.resolve())
    deadline_s = time.monotonic() + wait_s
    while (file := _try_once(path, key)) is None:
        if time.monotonic() >= deadline_s:
            raise LockHeldError(path, _holder(path, key))
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        with _registry_guard:
            _write_pid(file, "")
            file.close()
            _held_by_pid.pop(key, None)


def _try_once(path: Path, key: str) -> IO[bytes] | None:
    with _registry_guard:
        # Before the file is opened: closing any descriptor of a file drops this process's lock on it.
        if _held_by_pid.get(key) == os.getpid():
            return None
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        if not _lock_first_byte(file):
            file.close()
            return None
        _held_by_pid[key] = os.getpid()
        _write_pid(file, f"{os.getpid()}\n")
        return file


def _lock_first_byte(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            file.seek(_WINDOWS_LOCK_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file_is_locked = error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
        if not file_is_locked:
            file.close()
            raise
        return False
    return True


def _write_pid(file: IO[bytes], text: str) -> None:
    # A full disk must not stop the lock itself: the process id is a courtesy to whoever is refused.
    with contextlib.suppress(OSError):
        file.seek(0)
        file.truncate()
        file.write(text.encode())


def _holder(path: Path, key: str) -> int:
    with _registry_guard:
        if _held_by_pid.get(key) == os.getpid():
            return os.getpid()
        try:
            text = path.read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return 0
    return int(text) if text.isdigit() else 0
