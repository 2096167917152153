"""Weights that packages carry, whole or in parts; it refuses parts that do not make the file that they came from.

Nothing of such a package is imported: its files are found, read and put together.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from assay.core.canonical import file_digest
from assay.core.errors import CorruptFileError, StoreError

_BLOCK_BYTES = 1 << 20


def find_file(package: str, file: str) -> Path | None:
    """Where an installed package keeps a file; None where it is not installed, or has no such file."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / file).is_file():
            return Path(folder) / file
    return None


def assemble(parts: Sequence[Path], sha256: str, target: Path, say: Callable[[str], None]) -> Path:
    """Put the parts of a file together at `target`, in one step, unless the whole file is there already.

    Args:
        parts: in order.
        sha256: of the whole file.
        target: where it is to be.
        say: told before anything is written.

    Raises:
        CorruptFileError: the parts make another file, or another file is at `target`.
        StoreError: a part cannot be read, or `target` cannot be written.
    """
    asked = f"put {target.name} together from {len(parts)} parts"
    size = sum(part.stat().st_size for part in parts)
    if target.is_file():
        if target.stat().st_size == size and file_digest(target) == sha256:
            return target
        raise CorruptFileError(asked, f"another file is at {target}", "Remove it")
    say(f"{target.name} comes in {len(parts)} parts: putting it together at {target} ({size / 1e6:.0f} MB), once")
    partial = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}")
    sha = hashlib.sha256()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as whole:
            for part in parts:
                with part.open("rb") as source:
                    while block := source.read(_BLOCK_BYTES):
                        sha.update(block)
                        whole.write(block)
        if sha.hexdigest() != sha256:
            raise CorruptFileError(asked, f"they have the SHA-256 {sha.hexdigest()}", "Install their packages again")
        partial.replace(target)
    except OSError as error:
        raise StoreError(asked, str(error), "Check the store's directory and the free space") from error
    finally:
        if partial.exists():
            partial.unlink()
    return target
