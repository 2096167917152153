"""Reading files that strangers wrote: JSON and memory maps. It refuses what is missing, empty, too large or no JSON."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

from assay.core.errors import CheckpointError, CorruptFileError

_MAX_JSON_BYTES = 32 << 20
"""Parsed JSON may take 25 times its length in memory; the largest index of shards known has 12 MB."""


def require_file(path: Path, what: str) -> None:
    """Raise where `path` is no readable, non-empty file.

    Raises:
        CheckpointError: it is missing, a directory, or may not be read.
        CorruptFileError: it is empty.
    """
    asked = f"{what} {path} was to be read"
    try:
        if path.is_dir():
            raise CheckpointError(asked, "it is a directory", "Give the file inside it")
        with path.open("rb") as file:
            first = file.read(1)
    except FileNotFoundError as error:
        raise CheckpointError(asked, "there is no such file", "Check the path") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(asked, f"the system refused: {error}", "Check the path and its permissions") from error
    if not first:
        raise CorruptFileError(asked, "it is empty (0 bytes)", "Download or copy it again")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object from a file of at most 32 MiB.

    Raises:
        CheckpointError: the file is missing or may not be read.
        CorruptFileError: it is no JSON object.
    """
    require_file(path, what)
    asked = f"{what} {path} was to be read"
    size = path.stat().st_size
    if size > _MAX_JSON_BYTES:
        raise CorruptFileError(asked, f"it has {size} bytes, too many for a JSON of this kind", "Check the path")
    return parse_json_object(path.read_bytes(), asked)


def parse_json_object(text: bytes, asked: str) -> dict[str, Any]:
    """Parse UTF-8 JSON text that must be an object.

    Raises:
        CorruptFileError: it is no UTF-8, no JSON, nested too deeply, or no object.
    """
    remedy = "Download or write the file again"
    try:
        content = json.loads(text.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise CorruptFileError(
            asked, f"it is no JSON: {error.msg} at line {error.lineno}, column {error.colno}", remedy
        ) from error
    except UnicodeDecodeError as error:
        raise CorruptFileError(asked, f"it is not UTF-8 at byte {error.start}", remedy) from error
    except (RecursionError, ValueError) as error:
        raise CorruptFileError(asked, f"its JSON cannot be read: {error}", remedy) from error
    if not isinstance(content, dict):
        raise CorruptFileError(asked, f"it holds a JSON {type(content).__name__}, not an object", remedy)
    return content


def map_file(path: Path, what: str) -> mmap.mmap:
    """Map a file into memory, copy on write: nothing is read until it is used, and the file is never changed.

    Raises:
        CheckpointError: the system refused.
        CorruptFileError: the file is empty.
    """
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise CheckpointError(
            f"{what} {path} was to be mapped into memory", f"the system refused: {error}", "Check path and memory"
        ) from error
    except ValueError as error:
        raise CorruptFileError(f"{what} {path} was to be read", "it is empty", "Download or copy it again") from error
