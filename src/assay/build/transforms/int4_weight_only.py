"""Int4 weights, symmetric, with one scale per group of inputs; it refuses models that are not bf16.

The levels are -8 .. 7 and the scales are numbers of bfloat16 and of float16 alike, so that torch, ONNX's MatMulNBits,
OpenVINO's i4 and GGUF's Q4_0 can carry the very same weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from assay.build.nn.int4 import Int4Linear, pack_levels
from assay.build.nn.select import linear_layer, replace, select
from assay.core.errors import TransformError
from assay.core.records import Change, Record

KIND = "int4_weight_only"
_HEAD = "lm_head"


class Options(Record):
    """Options of `int4_weight_only`."""

    group_size: int = Field(default=32, ge=16)
    """Inputs that share a scale; it must divide the inputs of every layer that is quantised."""
    head: bool = False
    """Quantise the output head too."""
    names: tuple[str, ...] = ("*",)
    """Patterns of module names, such as `*.mlp.*`."""


def quantise(weight_OI: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """Levels plus 8, uint8 `[O, I]`, and bf16 scales `[O, I / group_size]`.

    Of two scales a group takes the one with the smaller squared error: absmax / 7, with which no weight is further off
    than half a scale, and the weight of largest magnitude / -8 (as GGUF's Q4_0), which uses all 16 levels.
    """
    rows = weight_OI.shape[0]
    grouped_OJg = weight_OI.to(torch.float32).view(rows, -1, group_size)
    extreme_OJ = grouped_OJg.gather(2, grouped_OJg.abs().argmax(dim=2, keepdim=True))[:, :, 0]
    tried = [_levels(grouped_OJg, _carried(scale_OJ)) for scale_OJ in (extreme_OJ.abs() / 7, extreme_OJ / -8)]
    (level_OJg, scale_OJ, error_OJ), (other_OJg, other_OJ, other_error_OJ) = tried
    use_other_OJ = other_error_OJ < error_OJ
    level_OJg = torch.where(use_other_OJ[:, :, None], other_OJg, level_OJg)
    scale_OJ = torch.where(use_other_OJ, other_OJ, scale_OJ)
    return (level_OJg + 8).to(torch.uint8).view(weight_OI.shape), scale_OJ.to(torch.bfloat16)


def apply(model: nn.Module, options: Options) -> Change:
    """Replace linear layers by int4 ones, in place.

    Raises:
        TransformError: nothing was selected, the model is not bf16, a group does not divide a layer, or a weight is not
            finite or too large for a float16 scale.
    """
    chosen = _select(model, options)
    before = after = 0
    expanded = []
    for name, module in chosen.items():
        assert isinstance(module, nn.Linear)
        weight_OI = module.weight.detach()
        _check(name, weight_OI, options.group_size)
        _check_values(name, weight_OI)
        quantised = _empty_like(module, options)
        levels_OI, scale_OJ = quantise(weight_OI, options.group_size)
        quantised.weight_packed.data, quantised.weight_scale.data = pack_levels(levels_OI), scale_OJ
        if quantised.bias is not None:
            quantised.bias.data = module.bias.detach().clone()
        if not quantised.has_kernel:
            expanded.append(name)
        replace(model, name, quantised)
        before += weight_OI.nbytes
        after += quantised.weight_packed.nbytes + scale_OJ.nbytes
    return Change(
        kind=KIND,
        modules=tuple(chosen),
        bytes_before=before,
        bytes_after=after,
        notes=_notes(model, list(chosen), expanded),
    )


def planned(model: nn.Module, options: Options) -> tuple[str, ...]:
    """Names of what `apply` will change, from names, shapes and types alone: the model may be without memory.

    Raises:
        TransformError: nothing was selected, the model is not bf16, or a group does not divide a layer.
    """
    chosen = _select(model, options)
    for name in chosen:
        _check(name, linear_layer(model, name).weight, options.group_size)
    return tuple(chosen)


def restructure(model: nn.Module, options: Options, modules: Sequence[str]) -> None:
    """Put empty int4 layers where `modules` of a model that is being loaded are."""
    for name in modules:
        replace(model, name, _empty_like(linear_layer(model, name), options))


def _carried(scale_OJ: Tensor) -> Tensor:
    """The nearest scale that bfloat16 and float16 both hold, in float32; never 0, with which nothing can be divided."""
    rounded_OJ = scale_OJ.to(torch.bfloat16).to(torch.float16).to(torch.float32)
    return torch.where(rounded_OJ == 0, torch.full_like(rounded_OJ, _SMALLEST), rounded_OJ)


_SMALLEST = 2.0**-24
"""Smallest float16 above 0, which bfloat16 holds too."""


def _levels(grouped_OJg: Tensor, scale_OJ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest levels of each group, the scales, and the squared error of each group."""
    level_OJg = (grouped_OJg / scale_OJ[:, :, None]).round_().clamp_(-8, 7)
    error_OJ = (level_OJg * scale_OJ[:, :, None] - grouped_OJg).square_().sum(dim=2)
    return level_OJg, scale_OJ, error_OJ


def _notes(model: nn.Module, chosen: Sequence[str], expanded: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if len(expanded) < len(chosen):
        notes.append("int4 in memory too: torch's kernel converts in registers, with bf16 activations")
    if expanded:
        notes.append(
            f"{len(expanded)} of {len(chosen)} layers expanded to bf16 at load in torch, whose int4 kernel takes "
            "groups of 32, 64, 128 or 256 and output channels in multiples of 16"
        )
    if _HEAD in chosen and any(isinstance(module, nn.Embedding) for module in model.modules()):
        notes.append("the embedding stays in bf16; a tied head becomes a second tensor")
    return tuple(notes)


def _select(model: nn.Module, options: Options) -> dict[str, nn.Module]:
    return select(model, (nn.Linear,), options.names, () if options.head else (_HEAD,))


def _empty_like(module: nn.Linear, options: Options) -> Int4Linear:
    with torch.device(module.weight.device):
        return Int4Linear(module.in_features, module.out_features, module.bias is not None, options.group_size)


def _check(name: str, weight_OI: Tensor, group_size: int) -> None:
    asked = f"quantise the weights to int4 in groups of {group_size}"
    if weight_OI.dtype != torch.bfloat16:
        raise TransformError(
            asked,
            f"{name} is {weight_OI.dtype}, with which torch's int4 kernel is not usable (hundreds of times slower)",
            'Put {kind = "cast", dtype = "bf16"} before int4_weight_only',
        )
    if weight_OI.shape[1] % group_size or group_size % 2:
        raise TransformError(
            asked,
            f"{name} has {weight_OI.shape[1]} inputs, which is no multiple of an even {group_size}",
            "Choose a group_size that divides them, or leave the layer out by `names`",
        )


def _check_values(name: str, weight_OI: Tensor) -> None:
    asked = "quantise the weights to int4"
    if not torch.isfinite(weight_OI).all():
        raise TransformError(asked, f"{name} holds NaN or infinity", "Repair the checkpoint")
    largest = weight_OI.abs().max().item()
    if largest / 7 > torch.finfo(torch.float16).max:
        raise TransformError(asked, f"{name} holds {largest:.3g}, whose scale no float16 holds", "Use int8_weight_only")
