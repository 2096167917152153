"""Where a gate's run and its kept numbers lie: fresh rounds for every run, artifacts from the cache.

It refuses a baseline file that it cannot read, and to count the rounds of an earlier run into a new one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from assay.core.errors import InputError
from assay.core.gate import GateBaseline
from assay.keep.failures import as_store_error


@contextmanager
def fresh_rounds(store: Path) -> Iterator[Path]:
    """A store without rounds that shares the cache of artifacts; it lives as long as the block."""
    asked = f"a gate's run in {store}"
    artifacts = store / "artifacts"
    with as_store_error(asked, store):
        artifacts.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="gate-", dir=store))
    with suppress(OSError):  # a system that does not let this user link builds the artifacts again
        (fresh / "artifacts").symlink_to(artifacts.resolve(), target_is_directory=True)
    try:
        yield fresh
    finally:
        if (fresh / "artifacts").is_symlink():
            (fresh / "artifacts").unlink()
        shutil.rmtree(fresh, ignore_errors=True)


def read_baseline(path: Path) -> GateBaseline:
    """The numbers that an earlier run kept.

    Raises:
        InputError: there is no such file, or it is none of a gate.
    """
    asked = f"The baseline {str(path)!r} was asked for"
    remedy = "Keep one from a good run: assay gate STUDY --save-baseline FILE"
    try:
        return GateBaseline.from_json(path.read_bytes())
    except OSError as error:
        raise InputError(asked, f"it cannot be read ({error.strerror})", remedy) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(asked, f"it is no baseline: {place}: {first['msg']}", remedy) from None


def write_baseline(path: Path, numbers: GateBaseline) -> None:
    """Keep a run's numbers. Raises StoreError."""
    with as_store_error(f"keeping the baseline {path}", path):
        path.write_text(numbers.model_dump_json(indent=1) + "\n", encoding="utf-8")
