"""The GGUF container: metadata and the directory of tensors, over a memory map.

It refuses lengths, offsets, counts and types that cannot be true, before anything is allocated for them.
Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import itertools
import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.build.checkpoints.gguf_blocks import BLOCK_TYPES, BlockType
from assay.build.files import map_file, require_file
from assay.core.errors import CheckpointError, CorruptFileError

MAGIC = b"GGUF"
_HEADER_BYTES = 24
_SMALLEST_PAIR_BYTES = 8 + 4 + 1
_SMALLEST_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8
_MAX_DIMENSIONS = 4
_MAX_ARRAY_DEPTH = 4
_MAX_ALIGNMENT = 1 << 20
_BOOL, _STRING, _ARRAY = 7, 8, 9
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_SIZES = {code: struct.calcsize("<" + letter) for code, letter in _SCALARS.items()}
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies. `shape` is outermost dimension first, as in numpy and torch."""

    name: str
    shape: tuple[int, ...]
    block_type: BlockType
    start: int
    """Offset of the data from the beginning of the file."""
    size_bytes: int


@dataclass(frozen=True)
class _LazyArray:
    """An array whose bounds were checked and whose elements were not yet read."""

    element: int
    count: int
    start: int
    """Offset of the first element."""


class Metadata(Mapping[str, Any]):
    """Metadata of a GGUF file by key. Arrays are read when asked for: numbers as numpy arrays, strings as lists."""

    def __init__(self, reader: _Reader, pairs: dict[str, Any]) -> None:
        self._reader = reader
        self._pairs = pairs

    def __getitem__(self, key: str) -> Any:
        found = self._pairs[key]
        return self._reader.array(found, key) if isinstance(found, _LazyArray) else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, key: object) -> bool:
        return key in self._pairs


class _Reader:
    """Bounds-checked reads from a mapped file."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)

    def fail(self, found: str) -> CorruptFileError:
        return CorruptFileError(
            f"The GGUF file {self.path} was to be read", found, "The file is damaged: download or convert it again"
        )

    def need(self, position: int, size: int, what: str) -> None:
        if size > self.size - position:
            raise self.fail(f"{what} at byte {position} needs {size} bytes, and the file ends at byte {self.size}")

    def number(self, packed: struct.Struct, position: int, what: str) -> int:
        self.need(position, packed.size, what)
        value: int = packed.unpack_from(self.data, position)[0]
        return value

    def string(self, position: int, what: str) -> tuple[str, int]:
        """The string at `position` and the offset behind it."""
        length = self.number(_U64, position, f"the length of {what}")
        start = position + 8
        self.need(start, length, what)
        try:
            return self.data[start : start + length].decode("utf-8"), start + length
        except UnicodeDecodeError as error:
            raise self.fail(f"{what} is not UTF-8 at byte {start + error.start}") from error

    def value(self, code: int, position: int, key: str) -> tuple[Any, int]:
        """The value of type `code` at `position` (arrays are left where they are) and the offset behind it."""
        what = f"the value of {key!r}"
        if code == _STRING:
            return self.string(position, what)
        if code == _ARRAY:
            return self._skip_array(position, key, depth=1)
        if code not in _SCALARS:
            raise self.fail(f"{key!r} has the value type {code}, which GGUF does not define")
        self.need(position, _SIZES[code], what)
        return struct.unpack_from("<" + _SCALARS[code], self.data, position)[0], position + _SIZES[code]

    def _skip_array(self, position: int, key: str, depth: int) -> tuple[_LazyArray, int]:
        what = f"the array {key!r}"
        if depth > _MAX_ARRAY_DEPTH:
            raise self.fail(f"{what} is nested more than {_MAX_ARRAY_DEPTH} deep")
        element = self.number(_U32, position, what)
        count = self.number(_U64, position + 4, what)
        start = position + 12
        found = _LazyArray(element, count, start)
        if element in _SIZES:
            self.need(start, count * _SIZES[element], what)
            return found, start + count * _SIZES[element]
        if element == _STRING:
            self.need(start, count * 8, what)
            return found, self._skip_strings(start, count, what)
        if element != _ARRAY:
            raise self.fail(f"{what} has the element type {element}, which GGUF does not define")
        self.need(start, count * 12, what)
        end = start
        for _ in range(count):
            _, end = self._skip_array(end, key, depth + 1)
        return found, end

    def _skip_strings(self, start: int, count: int, what: str) -> int:
        data, size, unpack = self.data, self.size, _U64.unpack_from
        position = start
        try:
            for _ in range(count):
                position += 8 + unpack(data, position)[0]
        except (struct.error, OverflowError) as error:
            raise self.fail(f"{what} runs beyond the end of the file") from error
        if position > size:
            raise self.fail(f"{what} runs beyond the end of the file")
        return position

    def array(self, found: _LazyArray, key: str) -> Any:
        """Read an array whose bounds `_skip_array` has checked."""
        if found.element in _SCALARS:
            dtype = np.dtype("<" + _SCALARS[found.element]) if found.element != _BOOL else np.dtype(np.bool_)
            return np.frombuffer(self.data, dtype, found.count, found.start)
        if found.element == _STRING:
            return self._strings(found, key)
        nested, position = [], found.start
        for _ in range(found.count):
            inner, position = self._skip_array(position, key, depth=1)
            nested.append(self.array(inner, key))
        return nested

    def _strings(self, found: _LazyArray, key: str) -> list[str]:
        data, unpack = self.data, _U64.unpack_from
        strings: list[str] = []
        position = found.start
        try:
            for _ in range(found.count):
                end = position + 8 + unpack(data, position)[0]
                strings.append(data[position + 8 : end].decode("utf-8"))
                position = end
        except UnicodeDecodeError as error:
            raise self.fail(f"string {len(strings)} of the array {key!r} is not UTF-8") from error
        return strings


@dataclass(frozen=True)
class GgufFile:
    """A parsed GGUF file. The map lives as long as anything that was read from it."""

    path: Path
    metadata: Metadata
    tensors: Mapping[str, TensorInfo]
    """By the name that the file gives, in the order of the file."""
    data: mmap.mmap

    def blocks(self, info: TensorInfo, first_block: int, count: int) -> NDArray[np.uint8]:
        """`count` blocks of a tensor as bytes `[count, block_bytes]`, without a copy."""
        width = info.block_type.block_bytes
        flat = np.frombuffer(self.data, np.uint8, count * width, info.start + first_block * width)
        return flat.reshape(count, width)


def read_gguf(path: Path) -> GgufFile:
    """Map a GGUF file and read its metadata and its directory of tensors; no tensor is read.

    Raises:
        CheckpointError: the file is missing, cannot be mapped, or is of a version that Assay does not read.
        CorruptFileError: it is no GGUF file, is truncated, or holds what cannot be true.
    """
    require_file(path, "The GGUF file")
    reader = _Reader(path, map_file(path, "The GGUF file"))
    tensor_count, pair_count = _header(reader)
    pairs, position = _pairs(reader, pair_count)
    infos, position = _directory(reader, tensor_count, position)
    alignment = pairs.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise reader.fail(f"general.alignment is {alignment!r}, no power of two up to {_MAX_ALIGNMENT}")
    base = -(-position // alignment) * alignment
    tensors = {info.name: _placed(reader, info, base, alignment) for info in infos}
    if len(tensors) != len(infos):
        raise reader.fail("two tensors have the same name")
    _refuse_overlap(reader, tuple(tensors.values()))
    return GgufFile(path, Metadata(reader, pairs), tensors, reader.data)


def _header(reader: _Reader) -> tuple[int, int]:
    if reader.data[:4] != MAGIC:
        raise reader.fail(f"it begins with {bytes(reader.data[:4])!r}, not with {MAGIC!r}")
    reader.need(0, _HEADER_BYTES, "the header")
    version, tensor_count, pair_count = struct.unpack_from("<IQQ", reader.data, 4)
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        found = "it is big-endian" if swapped in (2, 3) else f"it has version {version}"
        raise CheckpointError(
            f"The GGUF file {reader.path} was to be read", found, "Convert it to GGUF version 3, little-endian"
        )
    left = reader.size - _HEADER_BYTES
    for count, least, what in (
        (pair_count, _SMALLEST_PAIR_BYTES, "metadata pairs"),
        (tensor_count, _SMALLEST_TENSOR_BYTES, "tensors"),
    ):
        if count * least > left:
            raise reader.fail(f"it claims {count} {what}, more than its {reader.size} bytes can hold")
    return tensor_count, pair_count


def _pairs(reader: _Reader, count: int) -> tuple[dict[str, Any], int]:
    pairs: dict[str, Any] = {}
    position = _HEADER_BYTES
    for index in range(count):
        key, position = reader.string(position, f"the key of metadata pair {index}")
        if key in pairs:
            raise reader.fail(f"the metadata key {key!r} occurs twice")
        code = reader.number(_U32, position, f"the value type of {key!r}")
        pairs[key], position = reader.value(code, position + 4, key)
    return pairs, position


def _directory(reader: _Reader, count: int, position: int) -> tuple[list[TensorInfo], int]:
    infos = []
    for index in range(count):
        name, position = reader.string(position, f"the name of tensor {index}")
        dimensions = reader.number(_U32, position, f"the number of dimensions of {name!r}")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise reader.fail(f"the tensor {name!r} has {dimensions} dimensions")
        rest = struct.Struct(f"<{dimensions}QIQ")
        reader.need(position + 4, rest.size, f"the description of {name!r}")
        *sizes, code, offset = rest.unpack_from(reader.data, position + 4)
        position += 4 + rest.size
        if code not in BLOCK_TYPES:
            known = ", ".join(block.name for block in BLOCK_TYPES.values())
            raise reader.fail(f"the tensor {name!r} has the type {code}, which Assay does not know (known: {known})")
        block = BLOCK_TYPES[code]
        elements = math.prod(sizes)
        if elements == 0 or sizes[0] % block.elements:
            raise reader.fail(f"the tensor {name!r} has the shape {sizes[::-1]}, no whole blocks of {block.name}")
        size = elements // block.elements * block.block_bytes
        infos.append(TensorInfo(name, tuple(sizes[::-1]), block, offset, size))
    return infos, position


def _placed(reader: _Reader, info: TensorInfo, base: int, alignment: int) -> TensorInfo:
    start = base + info.start
    if info.start % alignment:
        raise reader.fail(f"the tensor {info.name!r} lies at offset {info.start}, no multiple of {alignment}")
    reader.need(start, info.size_bytes, f"the tensor {info.name!r}")
    return TensorInfo(info.name, info.shape, info.block_type, start, info.size_bytes)


def _refuse_overlap(reader: _Reader, infos: tuple[TensorInfo, ...]) -> None:
    ordered = sorted(infos, key=lambda info: info.start)
    for first, second in itertools.pairwise(ordered):
        if first.start + first.size_bytes > second.start:
            raise reader.fail(f"the tensors {first.name!r} and {second.name!r} overlap")
