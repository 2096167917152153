"""The cache of built artifacts, one directory per digest. It refuses to show a directory that was not built to its end.

A build happens in a directory of its own that is renamed when it is whole. Each build holds a lock that dies with its
process, so what a killed build left behind is told from a build that is still going on, and removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from assay.core.errors import StoreError
from assay.keep.failures import as_store_error, disk_is_full, from_os
from assay.keep.locks import LockHeldError, file_lock

STALE_AFTER_S = 24 * 3600.0
"""Age at which a leftover without a lock file is removed."""

_LOCK_WAIT_S = 10.0
"""A cleaner may look at a lock file in the moment between its making and its locking."""

_BUILDING = ".building-"
_REMOVING = ".removing-"
_DIGEST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}")


class ArtifactCache:
    """Directories of built files by the digest of their recipe.

    Args:
        directory: the root of the cache, such as `.assay/artifacts`; made when something is placed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)

    def find(self, digest: str) -> Path | None:
        """The directory of a whole artifact, if it is in the cache."""
        path = self._path(digest)
        return path if path.is_dir() else None

    @contextlib.contextmanager
    def place(self, digest: str) -> Iterator[Path]:
        """Give an empty directory to build in; at the end of the block it becomes `find(digest)`, in one step.

        If the block raises, the directory is removed. If another process placed the same digest meanwhile, its
        directory stays and this one is removed: both hold the same files.

        Raises:
            StoreError: the disk is full or the cache cannot be written; the cache is as it was before.
        """
        final = self._path(digest)
        asked = f"building artifact {digest[:12]}"
        with as_store_error(asked, self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        self.clean()
        building = self.directory / f"{_BUILDING}{digest}-{os.getpid()}-{secrets.token_hex(4)}"
        lock = building.with_name(building.name + ".lock")
        try:
            with _full_disk_is_a_store_error(asked, building), file_lock(lock, wait_s=_LOCK_WAIT_S):
                building.mkdir()
                yield building
                _write_through(building)
                _rename_or_lose(building, final)
        finally:
            shutil.rmtree(building, ignore_errors=True)
            lock.unlink(missing_ok=True)

    def remove(self, digest: str) -> bool:
        """Delete an artifact; False if it was not there."""
        path = self._path(digest)
        doomed = self.directory / f"{_REMOVING}{digest}-{secrets.token_hex(4)}"
        with as_store_error(f"removing artifact {digest[:12]}", path):
            try:
                path.rename(doomed)
            except FileNotFoundError:
                return False
            shutil.rmtree(doomed)
        return True

    def digests(self) -> tuple[str, ...]:
        """Digests of all whole artifacts, sorted."""
        with as_store_error("listing the artifacts", self.directory):
            if not self.directory.is_dir():
                return ()
            return tuple(sorted(entry.name for entry in self.directory.iterdir() if _is_artifact(entry)))

    def sizes_bytes(self) -> dict[str, int]:
        """Bytes of the files of each artifact, by digest."""
        return {digest: _size_bytes(self._path(digest)) for digest in self.digests()}

    def clean(self) -> tuple[str, ...]:
        """Remove what killed builds and removals left behind.

        Returns:
            The names of the removed directories.
        """
        removed = []
        with as_store_error("cleaning the artifact cache", self.directory):
            for entry in sorted(self.directory.glob(f"{_BUILDING}*.lock")):
                building = entry.with_name(entry.name.removesuffix(".lock"))
                if _remove_if_abandoned(building, entry):
                    removed.append(building.name)
            for entry in sorted((*self.directory.glob(f"{_BUILDING}*"), *self.directory.glob(f"{_REMOVING}*"))):
                if entry.is_dir() and not _has_lock_file(entry) and _is_old(entry):
                    shutil.rmtree(entry, ignore_errors=True)
                    removed.append(entry.name)
        return tuple(removed)

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise StoreError("looking up an artifact", f"{digest!r} is no digest", "Name it by its SHA-256 digest")
        return self.directory / digest


@contextlib.contextmanager
def _full_disk_is_a_store_error(asked: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Other errors of the builder, such as a source file that is missing, are its own.
        if not disk_is_full(error):
            raise
        raise from_os(asked, path, error) from error


def _write_through(directory: Path) -> None:
    """Have everything on the disk before the name says that it is whole: after a power cut too."""
    for parent, _, names in os.walk(directory):
        for path in (*(Path(parent) / name for name in names), Path(parent)):
            _fsync(path)


def _fsync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename_or_lose(building: Path, final: Path) -> None:
    try:
        building.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        return
    _fsync(final.parent)


def _remove_if_abandoned(building: Path, lock: Path) -> bool:
    try:
        with file_lock(lock):
            found = building.is_dir()
            shutil.rmtree(building, ignore_errors=True)
    except LockHeldError:
        return False
    lock.unlink(missing_ok=True)
    return found


def _has_lock_file(entry: Path) -> bool:
    return entry.with_name(entry.name + ".lock").exists()


def _is_old(entry: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - entry.stat().st_mtime > STALE_AFTER_S
    return False


def _is_artifact(entry: Path) -> bool:
    return not entry.name.startswith(".") and entry.is_dir()


def _size_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
