"""What the disk and the database say, as `StoreError`. It refuses to guess: unknown words are passed on as they are."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError, IntegrityError

from assay.core.errors import StoreError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

_REMEDY_FULL = "Free some space and repeat the command; it goes on where it stopped, what is stored is whole"
_REMEDY_FORBIDDEN = "Make the directory writable for this user, or name another one"
_REMEDY_BROKEN = (
    "Nothing was changed. Move the file away to start a new store; `sqlite3 FILE .recover` reads what can be saved"
)

_SAID_BY_SQLITE = (
    ("database or disk is full", "the disk is full", _REMEDY_FULL),
    ("file is not a database", "the file is no SQLite database", _REMEDY_BROKEN),
    ("malformed", "the database is corrupted", _REMEDY_BROKEN),
    ("readonly database", "the database may not be written", _REMEDY_FORBIDDEN),
    ("unable to open database file", "the database file cannot be opened", _REMEDY_FORBIDDEN),
    ("database is locked", "another process has been writing for too long", "Wait for it to end, then repeat"),
    ("no such table", "the database lacks a table of this store", _REMEDY_BROKEN),
    ("no such column", "the database lacks a column of this store", _REMEDY_BROKEN),
)


@contextlib.contextmanager
def as_store_error(asked: str, path: Path) -> Iterator[None]:
    """Turn what the operating system and the database raise inside the block into `StoreError`.

    Args:
        asked: what was being done, such as `storing round 3`.
        path: the file or directory that it concerns.

    Raises:
        StoreError: with what was found and what to do.
        IntegrityError: a record is there already; the caller knows what that means.
    """
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise _from_database(asked, path, error) from error
    except OSError as error:
        raise from_os(asked, path, error) from error


def from_os(asked: str, path: Path, error: OSError) -> StoreError:
    """The `StoreError` for what the operating system said about `path`."""
    found = f"{error.strerror or error} ({path})"
    if error.errno in _FULL:
        return StoreError(asked, f"the disk is full: {found}", _REMEDY_FULL)
    if error.errno in _FORBIDDEN:
        return StoreError(asked, f"no permission: {found}", _REMEDY_FORBIDDEN)
    return StoreError(asked, found, "Check that the path is a directory on a disk that this user can write to")


def disk_is_full(error: OSError) -> bool:
    """True for the errors of a full disk, a spent quota or a file-size limit."""
    return error.errno in _FULL


def _from_database(asked: str, path: Path, error: DBAPIError) -> StoreError:
    said = str(error.orig)
    for words, found, remedy in _SAID_BY_SQLITE:
        if words in said:
            return StoreError(asked, f"{found} ({path}: {said})", remedy)
    return StoreError(asked, f"the database said {said!r} ({path})", _REMEDY_BROKEN)
