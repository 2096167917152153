"""Linear layers of 4-bit weights with a scale per group of inputs; they refuse shapes that no group divides.

Shape suffixes: B batch, T tokens, O output channels, I input channels, J groups of inputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assay.build.nn.empty import empty_modules

KERNEL_GROUPS = (32, 64, 128, 256)
"""Group sizes that torch's int4 kernel takes."""
_KERNEL_ROWS = 16
"""It takes output channels by this many."""


class Int4Linear(nn.Module):
    """x W^T in the stored form: two 4-bit levels -8 .. 7 in a byte, W[o, i] = level[o, i] * scale[o, i // group_size].

    It is computed slowly, by expansion; `loaded_layer` makes of it what runs.

    Args:
        in_features: I, which `group_size` divides.
        out_features: O.
        bias: whether a bias is added.
        group_size: inputs that share a scale.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, group_size: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.group_size = group_size
        packed, scales = (out_features, in_features // 2), (out_features, in_features // group_size)
        self.weight_packed = nn.Parameter(torch.full(packed, 0x88, dtype=torch.uint8), requires_grad=False)
        self.weight_scale = nn.Parameter(torch.ones(scales, dtype=torch.bfloat16), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(out_features, dtype=torch.bfloat16), requires_grad=False) if bias else None

    def levels(self) -> Tensor:
        """Levels plus 8, uint8 `[O, I]`."""
        low, high = self.weight_packed & 0xF, self.weight_packed >> 4
        return torch.stack((low, high), dim=-1).view(self.out_features, self.in_features)

    def expanded(self, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """The weights, `[O, I]`; in float32 they are exact."""
        grouped_OJg = self.levels().view(self.out_features, -1, self.group_size).to(torch.float32) - 8
        weight_OJg = grouped_OJg * self.weight_scale.to(torch.float32)[:, :, None]
        return weight_OJg.view(self.out_features, self.in_features).to(dtype)

    def forward(self, x_BTI: Tensor) -> Tensor:
        """`[B, T, I]` to `[B, T, O]`."""
        return F.linear(x_BTI, self.expanded(), self.bias)

    def options(self) -> dict[str, int]:
        """What a reader of the stored tensors must know beside their shapes."""
        return {"group_size": self.group_size}

    @property
    def has_kernel(self) -> bool:
        """Whether torch's int4 kernel takes this shape."""
        return self.group_size in KERNEL_GROUPS and self.out_features % _KERNEL_ROWS == 0

    @property
    def loaded_bytes(self) -> int:
        """Bytes of the weights once loaded: for the kernel a zero point stands beside each scale."""
        if self.has_kernel:
            return self.weight_packed.nbytes + 2 * self.weight_scale.nbytes
        return 2 * self.in_features * self.out_features


class Int4KernelLinear(nn.Module):
    """The same by torch's int4 kernel for CPUs, which takes bfloat16 activations.

    Args:
        layer: the stored form, with a shape that the kernel takes.
    """

    def __init__(self, layer: Int4Linear) -> None:
        super().__init__()
        self.in_features = layer.in_features
        self.out_features = layer.out_features
        self.group_size = layer.group_size
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(layer.levels().to(torch.int32), 1)
        scale_JO = layer.weight_scale.t()
        scale_and_zero_JO2 = torch.stack((scale_JO, torch.zeros_like(scale_JO)), dim=-1).contiguous()
        self.weight_for_kernel = nn.Parameter(packed, requires_grad=False)
        self.scale_and_zero = nn.Parameter(scale_and_zero_JO2, requires_grad=False)
        self.bias = layer.bias

    def forward(self, x_BTI: Tensor) -> Tensor:
        """`[B, T, I]` to `[B, T, O]`."""
        out: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x_BTI.reshape(-1, self.in_features), self.weight_for_kernel, self.group_size, self.scale_and_zero
        )
        out_BTO = out.view(*x_BTI.shape[:-1], self.out_features)
        return out_BTO if self.bias is None else out_BTO.add_(self.bias)


def loaded_layer(layer: Int4Linear, kernel: bool = True) -> nn.Module:
    """What runs: the kernel's layer where the shape allows and `kernel` is asked for, else a plain one, expanded."""
    if kernel and layer.has_kernel:
        return Int4KernelLinear(layer)
    with empty_modules():
        plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    plain.weight = nn.Parameter(layer.expanded(), requires_grad=False)
    if layer.bias is not None:
        plain.bias = layer.bias
    return plain


def pack_levels(levels_OI: Tensor) -> Tensor:
    """Levels plus 8, uint8 below 16 `[O, I]`, two in a byte `[O, I / 2]`, the first in the low bits."""
    return levels_OI[:, 0::2] | (levels_OI[:, 1::2] << 4)
