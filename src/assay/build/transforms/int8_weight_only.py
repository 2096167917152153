"""Int8 weights with one scale per output channel, for torch's int8 kernel; it refuses models that are not bf16.

The kernel takes float32 activations too, but without vector instructions: it is a hundred times slower then.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from assay.build.nn.linear import Int8Linear
from assay.build.nn.select import linear_layer, replace, select
from assay.core.errors import TransformError
from assay.core.records import Change, Record

KIND = "int8_weight_only"
_HEAD = "lm_head"


class Options(Record):
    """Options of `int8_weight_only`."""

    head: bool = False
    """Quantise the output head too."""
    names: tuple[str, ...] = ("*",)
    """Patterns of module names, such as `*.mlp.*`."""


_KERNEL_INPUTS = 16


def quantise(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 `[O, I]` and its bf16 scales `[O]`: absmax / 127 of each row, rounded half to even.

    The scale is rounded to bf16 first, as the kernel uses it, so the error is at most half a scale.
    """
    scale_O = (weight_OI.abs().amax(dim=1).to(torch.float32) / 127).to(torch.bfloat16)
    scale_O = scale_O.clamp_min(torch.finfo(torch.bfloat16).tiny)
    quotient_OI = weight_OI.to(torch.float32) / scale_O.to(torch.float32)[:, None]
    return quotient_OI.round_().clamp_(-127, 127).to(torch.int8), scale_O


def apply(model: nn.Module, options: Options) -> Change:
    """Replace linear layers by int8 ones, in place.

    Raises:
        TransformError: nothing was selected, the model is not bf16, a weight is not finite, or a layer is too narrow.
    """
    chosen = _select(model, options)
    before = after = 0
    for name, module in chosen.items():
        assert isinstance(module, nn.Linear)
        weight_OI = module.weight.detach()
        _check(name, weight_OI)
        quantised = _empty_like(module)
        int8_OI, scale_O = quantise(weight_OI)
        quantised.weight.data, quantised.weight_scale.data = int8_OI, scale_O
        if quantised.bias is not None:
            quantised.bias.data = module.bias.detach().clone()
        replace(model, name, quantised)
        before += weight_OI.nbytes
        after += int8_OI.nbytes + scale_O.nbytes
    notes = ["int8 in memory too: the kernel converts in registers"]
    if _HEAD in chosen and any(isinstance(module, nn.Embedding) for module in model.modules()):
        notes.append("the embedding stays in bf16; a tied head becomes a second tensor")
    return Change(kind=KIND, modules=tuple(chosen), bytes_before=before, bytes_after=after, notes=tuple(notes))


def planned(model: nn.Module, options: Options) -> tuple[str, ...]:
    """Names of what `apply` will change, from names and types alone: the model may be without memory.

    Raises:
        TransformError: nothing was selected, the model is not bf16, or a layer's inputs do not fit the kernel.
    """
    chosen = _select(model, options)
    for name in chosen:
        _check_dtype(name, linear_layer(model, name).weight)
        _check_width(name, linear_layer(model, name).weight)
    return tuple(chosen)


def restructure(model: nn.Module, options: Options, modules: Sequence[str]) -> None:
    """Put empty int8 layers where `modules` of a model that is being loaded are."""
    for name in modules:
        replace(model, name, _empty_like(linear_layer(model, name)))


def _select(model: nn.Module, options: Options) -> dict[str, nn.Module]:
    exclude = () if options.head else (_HEAD,)
    return select(model, (nn.Linear,), options.names, exclude)


def _empty_like(module: nn.Linear) -> Int8Linear:
    with torch.device(module.weight.device):
        return Int8Linear(module.in_features, module.out_features, module.bias is not None, torch.bfloat16)


def _check(name: str, weight_OI: Tensor) -> None:
    _check_dtype(name, weight_OI)
    _check_width(name, weight_OI)
    if not torch.isfinite(weight_OI).all():
        raise TransformError("quantise the weights to int8", f"{name} holds NaN or infinity", "Repair the checkpoint")


def _check_width(name: str, weight_OI: Tensor) -> None:
    """torch's kernel reads 16 inputs at a time: of other widths it gives wrong sums or ends the process."""
    if weight_OI.shape[1] % _KERNEL_INPUTS:
        raise TransformError(
            "quantise the weights to int8",
            f"{name} has {weight_OI.shape[1]} inputs, and torch's int8 kernel takes multiples of {_KERNEL_INPUTS}",
            "Leave the layer out by `names`",
        )


def _check_dtype(name: str, weight_OI: Tensor) -> None:
    if weight_OI.dtype != torch.bfloat16:
        raise TransformError(
            "quantise the weights to int8",
            f"{name} is {weight_OI.dtype}, with which torch's int8 kernel is not usable (a hundred times slower)",
            'Put {kind = "cast", dtype = "bf16"} before int8_weight_only',
        )
