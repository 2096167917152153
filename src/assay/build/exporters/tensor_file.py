"""Read a safetensors file straight into the memory of its tensors; it refuses headers that lie.

Reading instead of mapping: the weights lie in memory before anything is timed, and the file's pages do not count twice.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeGuard, cast

import torch
from torch import Tensor

from assay.build.files import parse_json_object, require_file
from assay.core.errors import CorruptFileError

_MAX_HEADER_BYTES = 100_000_000
"""Limit of the format's own reader."""
_DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I8": torch.int8,
    "U8": torch.uint8,
}


class TensorFile:
    """An open safetensors file. Use as a context manager.

    Raises:
        CheckpointError: the file is missing.
        CorruptFileError: the header cannot be true.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        require_file(path, "The weights")
        self._file = path.open("rb")
        try:
            self._entries, self._data_start = self._read_header(path.stat().st_size)
        except CorruptFileError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def names(self) -> set[str]:
        """Names of all tensors."""
        return set(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._entries[name][1]

    def dtype(self, name: str) -> torch.dtype:
        """Type of a tensor."""
        return self._entries[name][0]

    def read(self, name: str) -> Tensor:
        """One tensor, in memory of its own. Raises CorruptFileError."""
        dtype, shape, start = self._entries[name]
        tensor = torch.empty(shape, dtype=dtype)
        if tensor.nbytes:
            self._file.seek(self._data_start + start)
            read = self._file.readinto(memoryview(cast("bytearray", tensor.view(-1).view(torch.uint8).numpy())))
            if read != tensor.nbytes:
                raise self._corrupt(f"it ends within {name}")
        return tensor

    def _read_header(self, size: int) -> tuple[dict[str, tuple[torch.dtype, tuple[int, ...], int]], int]:
        length = int.from_bytes(self._file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise self._corrupt(f"its header claims {length} bytes of {size}")
        header = parse_json_object(self._file.read(length), f"The header of {self.path} was to be read")
        header.pop("__metadata__", None)
        data_bytes = size - 8 - length
        return {name: self._entry(name, entry, data_bytes) for name, entry in header.items()}, 8 + length

    def _entry(self, name: str, entry: Any, data_bytes: int) -> tuple[torch.dtype, tuple[int, ...], int]:
        fields = entry if isinstance(entry, dict) else {}
        dtype, shape, offsets = _DTYPES.get(str(fields.get("dtype"))), fields.get("shape"), fields.get("data_offsets")
        if dtype is None or not _is_counts(shape) or not _is_counts(offsets) or len(offsets) != 2:
            raise self._corrupt(f"the entry of {name} is {entry!r}")
        start, end = offsets
        if not start <= end <= data_bytes or end - start != math.prod(shape) * dtype.itemsize:
            raise self._corrupt(f"{name} of shape {shape} claims bytes {start}..{end} of {data_bytes}")
        return dtype, tuple(shape), start

    def _corrupt(self, found: str) -> CorruptFileError:
        return CorruptFileError(f"read {self.path}", found, "Write or copy the file again")


def _is_counts(found: Any) -> TypeGuard[list[int]]:
    return isinstance(found, list) and all(type(number) is int and number >= 0 for number in found)
