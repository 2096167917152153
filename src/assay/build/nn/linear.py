"""Linear layers whose weights are stored in fewer bits; they refuse activations that their kernels cannot take.

Shape suffixes: B batch, T tokens, O output channels, I input channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assay.build.nn.empty import empty_modules


class Int8Linear(nn.Module):
    """x W^T with int8 weights and one scale per output channel, by torch's own int8 kernel.

    The weights stay int8 in memory; the kernel converts them in registers.

    Args:
        in_features: I.
        out_features: O.
        bias: whether a bias is added.
        dtype: type of activations, scales and bias.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.zeros(out_features, in_features, dtype=torch.int8), requires_grad=False)
        self.weight_scale = nn.Parameter(torch.ones(out_features, dtype=dtype), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(out_features, dtype=dtype), requires_grad=False) if bias else None

    def forward(self, x_BTI: Tensor) -> Tensor:
        """`[B, T, I]` to `[B, T, O]`."""
        out = torch._weight_int8pack_mm(x_BTI.reshape(-1, self.in_features), self.weight, self.weight_scale)
        out_BTO = out.view(*x_BTI.shape[:-1], self.out_features)
        return out_BTO if self.bias is None else out_BTO.add_(self.bias)

    def options(self) -> dict[str, int]:
        """What a reader of the stored tensors must know beside their shapes: nothing."""
        return {}


class PaletteLinear(nn.Module):
    """x W^T where each group of output channels takes its weights from a palette of its own.

    This is the stored form; it is computed slowly, by expansion, and `plain_layer` makes an ordinary one of it.

    Args:
        in_features: I.
        out_features: O.
        bias: whether a bias is added.
        dtype: type of activations, palettes and bias.
        bits: of an index; a palette has 2^bits entries.
        output_channels: rows that share a palette; the last group may have fewer.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype, bits: int, output_channels: int
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.bits = bits
        self.output_channels = output_channels
        groups = -(-out_features // output_channels)
        packed_bytes = -(-out_features * in_features * bits // 8)
        self.palette = nn.Parameter(torch.zeros(groups, 1 << bits, dtype=dtype), requires_grad=False)
        self.palette_indices = nn.Parameter(torch.zeros(packed_bytes, dtype=torch.uint8), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(out_features, dtype=dtype), requires_grad=False) if bias else None

    def expanded(self) -> Tensor:
        """The weights, `[O, I]`, in the type of the palettes."""
        rows, columns = self.out_features, self.in_features
        indices_OI = unpack_bits(self.palette_indices, self.bits, rows * columns).view(rows, columns)
        group_O = torch.arange(rows, dtype=torch.int32, device=indices_OI.device) // self.output_channels
        entries_OI = indices_OI + (group_O << self.bits)[:, None]
        return self.palette.flatten().index_select(0, entries_OI.flatten()).view(rows, columns)

    def forward(self, x_BTI: Tensor) -> Tensor:
        """`[B, T, I]` to `[B, T, O]`."""
        return F.linear(x_BTI, self.expanded(), self.bias)

    def options(self) -> dict[str, int]:
        """What a reader of the stored tensors must know beside their shapes."""
        return {"bits": self.bits, "output_channels": self.output_channels}


def plain_layer(layer: PaletteLinear) -> nn.Linear:
    """An ordinary layer that holds the expanded weights."""
    with empty_modules():
        plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    plain.weight = nn.Parameter(layer.expanded(), requires_grad=False)
    if layer.bias is not None:
        plain.bias = layer.bias
    return plain


def pack_bits(values: Tensor, bits: int) -> Tensor:
    """Pack numbers below 2^bits into uint8, the first number in the lowest bits (little-endian bit order)."""
    flat = values.flatten()
    packed = torch.cat([_pack_chunk(chunk, bits) for chunk in torch.split(flat, _CHUNK_VALUES)])
    return packed[: -(-flat.numel() * bits // 8)].clone()


def unpack_bits(packed: Tensor, bits: int, count: int) -> Tensor:
    """The first `count` numbers that `pack_bits` packed, as uint8."""
    chunks = torch.split(packed, _CHUNK_VALUES * bits // 8)
    return torch.cat([_unpack_chunk(chunk, bits) for chunk in chunks])[:count]


_CHUNK_VALUES = 1 << 18
"""A multiple of 8, so that every chunk ends with a byte; bounds the memory of the words."""


def _pack_chunk(values: Tensor, bits: int) -> Tensor:
    """Eight numbers make a word of `bits` bytes."""
    eights = F.pad(values.to(torch.int64), (0, -values.numel() % 8)).view(-1, 8)
    words = (eights << torch.arange(0, 8 * bits, bits, device=values.device)).sum(dim=1, keepdim=True)
    return ((words >> torch.arange(0, 8 * bits, 8, device=values.device)) & 0xFF).to(torch.uint8).flatten()


def _unpack_chunk(packed: Tensor, bits: int) -> Tensor:
    """A word of `bits` bytes makes eight numbers."""
    octets = F.pad(packed.to(torch.int64), (0, -packed.numel() % bits)).view(-1, bits)
    words = (octets << torch.arange(0, 8 * bits, 8, device=packed.device)).sum(dim=1, keepdim=True)
    numbers = (words >> torch.arange(0, 8 * bits, bits, device=packed.device)) & ((1 << bits) - 1)
    return numbers.to(torch.uint8).flatten()
