"""GGUF files as checkpoints: Hugging Face's names and layout, float32 values. It refuses architectures without a map.

Weights of a quantised file lost precision when it was written; `source.quantisation` says to what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from assay.build.checkpoints import base
from assay.build.checkpoints.gguf_blocks import BLOCK_TYPES
from assay.build.checkpoints.gguf_container import MAGIC, GgufFile, TensorInfo, read_gguf
from assay.build.checkpoints.gguf_families import FAMILIES, Family, Stored, restore
from assay.build.checkpoints.gguf_fields import Fields
from assay.core.canonical import file_digest
from assay.core.errors import CheckpointError, CorruptFileError, UnknownArchitectureError
from assay.core.records import Absent, ModelSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.build.tokenizers import Tokenizer

_QUANTISED = frozenset(block.name for block in BLOCK_TYPES.values() if block.quantised)
_CHUNK_ELEMENTS = 1 << 18
"""Weights dequantised at once: temporaries stay in the cache and far below the size of the tensor."""


class GgufCheckpoint:
    """An open GGUF file; see `base.Checkpoint`."""

    def __init__(self, file: GgufFile) -> None:
        self.path = file.path
        self._file: GgufFile | None = file
        self.metadata = file.metadata
        family = _family(file)
        shapes = {name: info.shape for name, info in file.tensors.items()}
        self._tensors = {hf: (info, stored) for hf, info, stored in _translated(file, family)}
        fields = Fields(file.metadata, shapes, lambda name: dequantise(file, file.tensors[name]), str(file.path))
        config = family.config(fields)
        self.config: Mapping[str, Any] = MappingProxyType(config)
        self.type_bytes: Mapping[str, int] = MappingProxyType(_bytes_by_type(file))
        """Bytes of the tensors by type of block, such as `{"Q4_1": 66355200, ...}`."""

    @cached_property
    def source(self) -> ModelSource:
        """Where the weights come from; the first use reads the whole file for its SHA-256."""
        quantised = {name: size for name, size in self.type_bytes.items() if name in _QUANTISED}
        reason = Absent(reason="the source is not quantised")
        return ModelSource(
            kind="gguf",
            location=str(self.path),
            digest=file_digest(self.path),
            quantisation=max(quantised, key=quantised.__getitem__) if quantised else reason,
        )

    def tensor_names(self) -> tuple[str, ...]:
        """Hugging Face names, in the order of the file."""
        return tuple(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor in Hugging Face's layout."""
        info, stored = self._find(name)
        return info.shape[::-1] if stored == "transposed" else info.shape

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor dequantised to float32, in Hugging Face's layout."""
        info, stored = self._find(name)
        if self._file is None:
            raise base.closed(self.path)
        values = dequantise(self._file, info)
        return torch.from_numpy(restore(values, stored, self._heads(name, info, stored)))

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the file's vocabulary."""
        from assay.build.tokenizers import Tokenizer

        return Tokenizer.from_gguf(self.metadata)

    def close(self) -> None:
        """Let go of the tensors; the metadata stays readable."""
        self._file = None

    def _find(self, name: str) -> tuple[TensorInfo, Stored]:
        if name not in self._tensors:
            raise base.no_such_tensor(name, self.path, self.tensor_names())
        return self._tensors[name]

    def _heads(self, name: str, info: TensorInfo, stored: Stored) -> int:
        if stored not in ("rows permuted", "parts apart"):
            return 1
        kind = "num_key_value_heads" if ".k_proj." in name else "num_attention_heads"
        heads: int = self.config[kind]
        parts = 2 if stored == "rows permuted" else 3
        if info.shape[0] % (parts * heads):
            raise CorruptFileError(
                f"The tensor {name!r} of {self.path} was to be read",
                f"its {info.shape[0]} rows are no multiple of {parts} x {heads} heads",
                "The file is damaged: download or convert it again",
            )
        return heads


def recognises(path: Path) -> bool:
    """Whether a file is named `.gguf` or begins as one."""
    if path.is_dir():
        return False
    if path.suffix.lower() == ".gguf":
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def open_checkpoint(path: Path) -> GgufCheckpoint:
    """Open a GGUF file; no tensor is read.

    Raises:
        CheckpointError: it is missing, or holds what Assay cannot compute with.
        CorruptFileError: it is truncated, or holds what cannot be true.
        UnknownArchitectureError: its architecture has no map to Hugging Face's names.
    """
    return GgufCheckpoint(read_gguf(path))


def dequantise(file: GgufFile, info: TensorInfo) -> NDArray[np.float32]:
    """One tensor as float32 of `info.shape`, bit-equal to ggml's own dequantisation.

    Raises:
        CorruptFileError: a value is NaN or infinite: no family has such weights, damaged scales give them.
    """
    block = info.block_type
    total = info.size_bytes // block.block_bytes
    step = max(_CHUNK_ELEMENTS // block.elements, 1)
    values = np.empty((total, block.elements), np.float32)
    with np.errstate(all="ignore"):
        for first in range(0, total, step):
            chunk = block.dequantise(file.blocks(info, first, min(step, total - first)))
            # The sum is finite nearly always and costs a fraction of a look at every value.
            if not np.isfinite(chunk.sum()) and not np.isfinite(chunk).all():
                raise CorruptFileError(
                    f"The tensor {info.name!r} of {file.path} was to be dequantised",
                    f"a weight from number {first * block.elements} on is not finite",
                    "The file is damaged: download or convert it again",
                )
            values[first : first + len(chunk)] = chunk
    return values.reshape(info.shape)


def _family(file: GgufFile) -> Family:
    architecture = file.metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise CorruptFileError(
            f"The GGUF file {file.path} was to be opened",
            "the key 'general.architecture' is missing or no string",
            "Convert the model again",
        )
    if architecture not in FAMILIES:
        raise UnknownArchitectureError(
            f"The GGUF file {file.path} was to be opened",
            f"its architecture is {architecture!r}",
            f"Known architectures: {', '.join(sorted(FAMILIES))}",
        )
    return FAMILIES[architecture]


def _translated(file: GgufFile, family: Family) -> list[tuple[str, TensorInfo, Stored]]:
    found = []
    for name, info in file.tensors.items():
        if name in family.constants:
            continue
        translation = family.translate(name)
        if translation is None:
            raise CheckpointError(
                f"The GGUF file {file.path} was to be opened",
                f"its tensor {name!r} has no place in the architecture {file.metadata['general.architecture']!r}",
                "Assay would compute something else without it: use a plain model of this family",
            )
        found.append((translation[0], info, translation[1]))
    return found


def _bytes_by_type(file: GgufFile) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for info in file.tensors.values():
        sizes[info.block_type.name] += info.size_bytes
    return dict(sizes)
