"""The safetensors container over a memory map. It refuses headers whose types, shapes or offsets cannot be true.

Layout: 8 bytes length of the header (little-endian), the header (JSON), the tensors without gaps.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from assay.build.files import map_file, parse_json_object, require_file
from assay.core.errors import CorruptFileError

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 16 << 20
"""Room for 100,000 tensors; a parsed header may take 25 times its length in memory."""
_MAX_DIMENSIONS = 16
_DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
        "I64": torch.int64,
        "I32": torch.int32,
        "I16": torch.int16,
        "I8": torch.int8,
        "U64": torch.uint64,
        "U32": torch.uint32,
        "U16": torch.uint16,
        "U8": torch.uint8,
        "BOOL": torch.bool,
    }
)


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies; `start` counts from the beginning of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    size_bytes: int


@dataclass(frozen=True)
class SafetensorsFile:
    """A parsed file. The map lives as long as any tensor that was read from it."""

    path: Path
    tensors: Mapping[str, StoredTensor]
    data: mmap.mmap

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor as stored, in the mapped file where its place allows, else copied. The name must be known."""
        stored = self.tensors[name]
        if stored.size_bytes == 0:
            return torch.empty(stored.shape, dtype=stored.dtype)
        if stored.start % stored.dtype.itemsize:
            aligned = bytearray(self.data[stored.start : stored.start + stored.size_bytes])
            return torch.frombuffer(aligned, dtype=stored.dtype).reshape(stored.shape)
        count = stored.size_bytes // stored.dtype.itemsize
        flat = torch.frombuffer(self.data, dtype=stored.dtype, count=count, offset=stored.start)
        return flat.reshape(stored.shape)


def read_safetensors(path: Path) -> SafetensorsFile:
    """Map a safetensors file and read its header; no tensor is read.

    Raises:
        CheckpointError: the file is missing or cannot be mapped.
        CorruptFileError: it is truncated, or its header holds what cannot be true.
    """
    require_file(path, "The safetensors file")
    data = map_file(path, "The safetensors file")
    size = len(data)
    if size < _LENGTH_BYTES:
        raise _corrupt(path, f"it has {size} bytes, fewer than a header needs")
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if length > size - _LENGTH_BYTES:
        raise _corrupt(path, f"its header claims {length} bytes of the {size} that it has")
    if length > _MAX_HEADER_BYTES:
        raise _corrupt(path, f"its header claims {length} bytes; Assay reads up to {_MAX_HEADER_BYTES}")
    base = _LENGTH_BYTES + length
    header = parse_json_object(data[_LENGTH_BYTES:base], f"The safetensors file {path} was to be read")
    header.pop("__metadata__", None)
    tensors = {name: _stored(path, name, entry, base, size) for name, entry in header.items()}
    _refuse_gaps(path, tensors, base, size)
    return SafetensorsFile(path, MappingProxyType(tensors), data)


def _corrupt(path: Path, found: str) -> CorruptFileError:
    return CorruptFileError(
        f"The safetensors file {path} was to be read", found, "The file is damaged: download or copy it again"
    )


def _whole_numbers(values: Any, most: int) -> list[int] | None:
    """The list where it holds whole numbers of at most 63 bits only, else None."""
    if not isinstance(values, list) or len(values) > most:
        return None
    good = all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 for value in values)
    return values if good else None


def _stored(path: Path, name: str, entry: Any, base: int, size: int) -> StoredTensor:
    if not isinstance(entry, dict):
        raise _corrupt(path, f"the description of the tensor {name!r} is no JSON object")
    dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry.get("dtype"), str) else None
    if dtype is None:
        known = ", ".join(_DTYPES)
        raise _corrupt(path, f"the tensor {name!r} has the type {entry.get('dtype')!r} (known: {known})")
    shape = _whole_numbers(entry.get("shape"), _MAX_DIMENSIONS)
    if shape is None:
        raise _corrupt(path, f"the shape of the tensor {name!r} is no list of up to {_MAX_DIMENSIONS} whole numbers")
    offsets = _whole_numbers(entry.get("data_offsets"), 2)
    if offsets is None or len(offsets) != 2 or not offsets[0] <= offsets[1] <= size - base:
        raise _corrupt(path, f"the tensor {name!r} does not lie in the file, which ends at byte {size}")
    needed = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != needed:
        raise _corrupt(path, f"the tensor {name!r} needs {needed} bytes and has {offsets[1] - offsets[0]}")
    return StoredTensor(dtype, tuple(shape), base + offsets[0], needed)


def _refuse_gaps(path: Path, tensors: Mapping[str, StoredTensor], base: int, size: int) -> None:
    ordered = sorted(tensors.items(), key=lambda item: (item[1].start, item[1].size_bytes))
    ends = [base, *(stored.start + stored.size_bytes for _, stored in ordered)]
    for (name, stored), end in zip(ordered, ends, strict=False):
        if stored.start != end:
            kind = "overlaps the tensor before it" if stored.start < end else "does not follow the tensor before it"
            raise _corrupt(path, f"the tensor {name!r} {kind}")
    if ends[-1] != size:
        raise _corrupt(path, f"its tensors end at byte {ends[-1]}, and the file at byte {size}")
