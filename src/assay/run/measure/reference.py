"""The logits of the reference, written once and read by every variant. It refuses a file of another text or vocabulary.

The file: a header of 4,096 bytes (a line of JSON, padded with spaces), then one row of float32 logits per scored
position, in the order of the text. Rows are read with ordinary reads, not mapped: mapped pages would count as memory of
the worker, and a full disk would kill it instead of raising an error.
Shape suffixes: R rows (scored positions), V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np

from assay.core.errors import ContractError, CorruptFileError, StoreError

if TYPE_CHECKING:
    from assay.run.session import LogitArray

_HEADER_BYTES = 4096
_FORMAT = "assay reference logits 1"
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class ReferenceHeader:
    """What a file of reference logits holds."""

    format: str
    tokens_digest: str
    """SHA-256 of the windows' token ids: a variant must have read the same."""
    rows: int
    vocab_size: int


class ReferenceWriter:
    """Writes blocks of logits one after another; the file appears under its name only when it is whole.

    Args:
        path: where to.
        tokens_digest: of the windows' token ids.
        rows: scored positions of all windows together.

    Raises:
        StoreError: the file cannot be written, or the disk is full.
    """

    def __init__(self, path: Path, tokens_digest: str, rows: int) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._tokens_digest = tokens_digest
        self._rows = rows
        self._vocab_size = 0
        with self._errors():
            self._file: BinaryIO = self._partial.open("wb")
            self._file.write(b" " * _HEADER_BYTES)

    def add(self, block_RV: LogitArray) -> None:
        """Write the next rows, float32 `[R, V]`."""
        self._vocab_size = block_RV.shape[1]
        with self._errors():
            self._file.write(np.ascontiguousarray(block_RV, dtype="<f4").data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):  # what a full disk did not take is tried once more
                self._file.close()
            self._partial.unlink(missing_ok=True)
            return
        header = ReferenceHeader(_FORMAT, self._tokens_digest, self._rows, self._vocab_size)
        with self._errors():
            self._file.seek(0)
            self._file.write(json.dumps(asdict(header)).encode().ljust(_HEADER_BYTES - 1) + b"\n")
            self._file.close()
            self._partial.replace(self._path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._partial.unlink(missing_ok=True)
            raise StoreError(
                f"writing the logits of the reference to {self._path}",
                error.strerror or str(error),
                "Free some space, or ask for fewer quality tokens",
            ) from error


class ReferenceRows:
    """Reads the rows of a file of reference logits in order.

    Args:
        path: the file.
        tokens_digest: of the windows that are about to be compared.

    Raises:
        StoreError: the file cannot be read.
        CorruptFileError: it is not such a file, or is shorter than it says.
        ContractError: it was written for another text.
    """

    def __init__(self, path: Path, tokens_digest: str) -> None:
        self.header = _read_header(path)
        if self.header.tokens_digest != tokens_digest:
            raise ContractError(
                f"comparing with the reference logits in {path}",
                "they were computed on other tokens",
                "Write the reference again with the same text, context and number of tokens",
            )
        self._file: BinaryIO = path.open("rb")
        self._file.seek(_HEADER_BYTES)

    def next(self, rows: int, vocab_size: int) -> LogitArray:
        """The next `rows` rows, float32 `[rows, V]`.

        Raises:
            ContractError: the reference has another vocabulary.
        """
        if vocab_size != self.header.vocab_size:
            raise ContractError(
                "comparing with the logits of the reference",
                f"the vocabularies have {vocab_size} and {self.header.vocab_size} entries",
                "Compare variants of one model",
            )
        flat = np.fromfile(self._file, dtype="<f4", count=rows * vocab_size)
        return flat.reshape(rows, vocab_size)

    def close(self) -> None:
        """Close the file; it is not deleted."""
        self._file.close()


def _read_header(path: Path) -> ReferenceHeader:
    asked = f"reading the logits of the reference in {path}"
    remedy = "Write the reference again"
    try:
        with path.open("rb") as file:
            line = file.read(_HEADER_BYTES)
        size_bytes = path.stat().st_size
    except OSError as error:
        raise StoreError(asked, error.strerror or str(error), remedy) from error
    try:
        header = ReferenceHeader(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise CorruptFileError(asked, "the header is not one of reference logits", remedy) from error
    if header.format != _FORMAT:
        raise CorruptFileError(asked, f"its format is {header.format!r}, not {_FORMAT!r}", remedy)
    expected = _HEADER_BYTES + header.rows * header.vocab_size * _FLOAT_BYTES
    if size_bytes != expected:
        raise CorruptFileError(asked, f"it has {size_bytes} bytes, not {expected}", remedy)
    return header
