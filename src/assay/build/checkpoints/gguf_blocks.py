"""Dequantisation of GGUF's block types to float32, vectorised. It refuses no bytes: every block has a value.

Each function takes blocks as bytes `[n, block_bytes]` and returns float32 `[n, elements]`, by the formulas of ggml
(`ggml-quants.c`, `dequantize_row_*`), in float32 and in the same order of operations.
d is a scale, dmin a minimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SUPER = 256
"""Elements of a super-block (QK_K)."""


@dataclass(frozen=True)
class BlockType:
    """A way of storing weights: `elements` weights in `block_bytes` bytes."""

    code: int
    name: str
    elements: int
    block_bytes: int
    dequantise: Callable[[Bytes], Floats]

    @property
    def quantised(self) -> bool:
        """False for plain floats and integers."""
        return self.elements > 1


def _plain(dtype: str) -> Callable[[Bytes], Floats]:
    def read(blocks: Bytes) -> Floats:
        return np.ascontiguousarray(blocks).view(dtype).astype(np.float32)

    return read


def _bf16(blocks: Bytes) -> Floats:
    bits = np.ascontiguousarray(blocks).view("<u2").astype(np.uint32)
    return (bits << np.uint32(16)).view(np.float32)


def _f16(blocks: Bytes, start: int) -> Floats:
    """One float16 a block, as float32 `[n, 1]`."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view("<f2").astype(np.float32)


def _flat(groups: Floats) -> Floats:
    return groups.reshape(-1, _SUPER)


def _nibbles(blocks: Bytes) -> Bytes:
    """The low halves of all bytes, then the high halves."""
    return np.concatenate((blocks & np.uint8(15), blocks >> np.uint8(4)), axis=1)


def _fifth_bits(blocks: Bytes, start: int) -> Bytes:
    """32 bits a block as 0 or 16."""
    return np.unpackbits(blocks[:, start : start + 4], axis=1, bitorder="little") << np.uint8(4)


def _q4_0(blocks: Bytes) -> Floats:
    q = _nibbles(blocks[:, 2:]).view(np.int8) - np.int8(8)
    return q.astype(np.float32) * _f16(blocks, 0)


def _q4_1(blocks: Bytes) -> Floats:
    return _nibbles(blocks[:, 4:]).astype(np.float32) * _f16(blocks, 0) + _f16(blocks, 2)


def _q5_0(blocks: Bytes) -> Floats:
    q = (_nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2)).view(np.int8) - np.int8(16)
    return q.astype(np.float32) * _f16(blocks, 0)


def _q5_1(blocks: Bytes) -> Floats:
    q = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4)
    return q.astype(np.float32) * _f16(blocks, 0) + _f16(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return blocks[:, 2:].view(np.int8).astype(np.float32) * _f16(blocks, 0)


def _scales_and_minima(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Eight 6-bit scales and eight 6-bit minima out of 12 bytes (K_SCALE of Q4_K and Q5_K)."""
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    top_scale = (low >> np.uint8(2)) & np.uint8(0x30)
    top_minimum = (middle >> np.uint8(2)) & np.uint8(0x30)
    scale = np.concatenate((low & np.uint8(63), (high & np.uint8(15)) | top_scale), axis=1)
    minimum = np.concatenate((middle & np.uint8(63), (high >> np.uint8(4)) | top_minimum), axis=1)
    return scale, minimum


def _with_scales_and_minima(blocks: Bytes, q: Bytes) -> Floats:
    """d scale q - dmin minimum for `q` of `[n, 8, 32]`."""
    scale, minimum = _scales_and_minima(blocks[:, 4:16])
    d = (_f16(blocks, 0) * scale.astype(np.float32))[:, :, None]
    dmin = (_f16(blocks, 2) * minimum.astype(np.float32))[:, :, None]
    return _flat(d * q.astype(np.float32) - dmin)


def _paired_nibbles(packed: Bytes) -> Bytes:
    """`[n, 128]` bytes as `[n, 8, 32]`: of each 32 bytes the low halves, then the high halves."""
    groups = packed.reshape(-1, 4, 1, 32)
    halves: Bytes = np.concatenate((groups & np.uint8(15), groups >> np.uint8(4)), axis=2)
    return halves.reshape(-1, 8, 32)


def _q4_k(blocks: Bytes) -> Floats:
    return _with_scales_and_minima(blocks, _paired_nibbles(blocks[:, 16:]))


def _q5_k(blocks: Bytes) -> Floats:
    shifts = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    fifth = ((blocks[:, 16:48].reshape(-1, 1, 32) >> shifts) & np.uint8(1)) << np.uint8(4)
    return _with_scales_and_minima(blocks, _paired_nibbles(blocks[:, 48:]) | fifth)


def _two_bits(packed: Bytes, width: int) -> Bytes:
    """Of each `width` bytes the four 2-bit fields, lowest first: `[n, bytes / width, 4, width]`."""
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    fields: Bytes = (packed.reshape(len(packed), -1, 1, width) >> shifts) & np.uint8(3)
    return fields


def _q6_k(blocks: Bytes) -> Floats:
    low = blocks[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate((low & np.uint8(15), low >> np.uint8(4)), axis=2).reshape(-1, 2, 4, 32)
    high = _two_bits(blocks[:, 128:192], 32) << np.uint8(4)
    q = (low | high).view(np.int8) - np.int8(32)
    scale = blocks[:, 192:208].view(np.int8).astype(np.float32)
    d = (_f16(blocks, 208) * scale)[:, :, None]
    return _flat(d * q.reshape(-1, 16, 16).astype(np.float32))


def _q2_k(blocks: Bytes) -> Floats:
    scales = blocks[:, :16]
    d = (_f16(blocks, 80) * (scales & np.uint8(15)).astype(np.float32))[:, :, None]
    dmin = (_f16(blocks, 82) * (scales >> np.uint8(4)).astype(np.float32))[:, :, None]
    q = _two_bits(blocks[:, 16:80], 32).reshape(-1, 16, 16)
    return _flat(d * q.astype(np.float32) - dmin)


def _q3_k(blocks: Bytes) -> Floats:
    shifts = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    clear = (((blocks[:, :32].reshape(-1, 1, 32) >> shifts) & np.uint8(1)) ^ np.uint8(1)) << np.uint8(2)
    q = _two_bits(blocks[:, 32:96], 32).reshape(-1, 8, 32).view(np.int8) - clear.view(np.int8)
    packed = blocks[:, 96:108]
    low = np.concatenate((packed[:, :8] & np.uint8(15), packed[:, :8] >> np.uint8(4)), axis=1)
    high = _two_bits(packed[:, 8:12], 4).reshape(-1, 16) << np.uint8(4)
    scale = ((low | high).view(np.int8) - np.int8(32)).astype(np.float32)
    d = (_f16(blocks, 108) * scale)[:, :, None]
    return _flat(d * q.reshape(-1, 16, 16).astype(np.float32))


BLOCK_TYPES = MappingProxyType(
    {
        block.code: block
        for block in (
            BlockType(0, "F32", 1, 4, _plain("<f4")),
            BlockType(1, "F16", 1, 2, _plain("<f2")),
            BlockType(2, "Q4_0", 32, 18, _q4_0),
            BlockType(3, "Q4_1", 32, 20, _q4_1),
            BlockType(6, "Q5_0", 32, 22, _q5_0),
            BlockType(7, "Q5_1", 32, 24, _q5_1),
            BlockType(8, "Q8_0", 32, 34, _q8_0),
            BlockType(10, "Q2_K", _SUPER, 84, _q2_k),
            BlockType(11, "Q3_K", _SUPER, 110, _q3_k),
            BlockType(12, "Q4_K", _SUPER, 144, _q4_k),
            BlockType(13, "Q5_K", _SUPER, 176, _q5_k),
            BlockType(14, "Q6_K", _SUPER, 210, _q6_k),
            BlockType(28, "F64", 1, 8, _plain("<f8")),
            BlockType(30, "BF16", 1, 2, _bf16),
        )
    }
)
"""By the number that a GGUF file gives."""
