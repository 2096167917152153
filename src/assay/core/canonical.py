"""Canonical JSON and digests: the same content gives the same bytes. It refuses NaN, infinity and unknown types."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def canonical_json(content: Any) -> str:
    """Return `content` as JSON with sorted keys and no spaces.

    Raises:
        ValueError: a float is NaN or infinite.
        TypeError: a value is no JSON type.
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(content: Any) -> str:
    """SHA-256 of the canonical JSON of `content`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits; reads in chunks of 1 MiB."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()
