"""Weights that take 2^bits values per group of output channels, chosen by optimal k-means; it refuses float32 models.

A palette saves room on disk alone: no kernel of torch computes with indices, so they are expanded at load.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from assay.build.nn.linear import PaletteLinear, pack_bits
from assay.build.nn.select import linear_layer, replace, select
from assay.core.errors import TransformError
from assay.core.records import Change, Record

KIND = "palettize"
_HEAD = "lm_head"
_SHORT = {torch.bfloat16: "bf16", torch.float16: "fp16"}
_NUMBERS = 1 << 16
"""Numbers of a 16-bit type: a histogram of all of them is quicker than sorting a group's weights."""


class Options(Record):
    """Options of `palettize`."""

    bits: int = Field(default=4, ge=1, le=8)
    """Of an index; a palette has 2^bits entries."""
    output_channels: int = Field(default=32, ge=1)
    """Rows of a weight that share a palette; the last group has fewer where it does not divide."""
    head: bool = False
    """Palettize the output head too."""
    names: tuple[str, ...] = ("*",)
    """Patterns of module names, such as `*.mlp.*`."""


def quantise(weight_OI: Tensor, bits: int, output_channels: int) -> tuple[Tensor, Tensor]:
    """Palettes `[groups, 2^bits]` in the type of the weight, and the index of each weight, uint8 `[O, I]`.

    The centres are the optimal k-means of the group's weights, rounded to the weight's type; each weight takes the
    nearest rounded centre, the lower one of two equally near. Entries that are not needed repeat the last one.
    """
    # Here and not above: a worker that only loads palettes needs no compiler in its memory.
    from assay.build.kmeans import Histogram, optimal_centres

    keys_OI = _sortable(weight_OI)
    groups = [keys_OI[first : first + output_channels] for first in range(0, len(keys_OI), output_channels)]
    found = [_distinct(keys) for keys in groups]
    numbers = _numbers(weight_OI.dtype)
    histograms = [Histogram(numbers[keys], counts) for keys, counts in found]
    centres = optimal_centres(histograms, 1 << bits, threads=torch.get_num_threads())
    palette = np.stack([np.pad(values, (0, (1 << bits) - len(values)), mode="edge") for values in centres])
    rounded = torch.from_numpy(palette).to(weight_OI.dtype)
    exact = rounded.to(torch.float64).numpy()
    indices_OI = np.empty(keys_OI.shape, dtype=np.uint8)
    for group, (keys, _) in enumerate(found):
        index_of = np.zeros(_NUMBERS, dtype=np.uint8)
        middles = (exact[group, 1:] + exact[group, :-1]) / 2
        index_of[keys] = np.searchsorted(middles, numbers[keys])
        rows = slice(group * output_channels, (group + 1) * output_channels)
        indices_OI[rows] = index_of[groups[group]]
    return rounded, torch.from_numpy(indices_OI)


def apply(model: nn.Module, options: Options) -> Change:
    """Replace linear layers by palettized ones, in place.

    Raises:
        TransformError: nothing was selected, the model is neither bf16 nor fp16, or a weight is not finite.
    """
    chosen = _select(model, options)
    before = after = 0
    dtypes = set()
    for name, module in chosen.items():
        assert isinstance(module, nn.Linear)
        weight_OI = module.weight.detach()
        _check(name, weight_OI)
        dtypes.add(_SHORT[weight_OI.dtype])
        stored = _empty_like(module, options)
        palette, indices_OI = quantise(weight_OI, options.bits, options.output_channels)
        stored.palette.data, stored.palette_indices.data = palette, pack_bits(indices_OI, options.bits)
        if stored.bias is not None:
            stored.bias.data = module.bias.detach().clone()
        replace(model, name, stored)
        before += weight_OI.nbytes
        after += stored.palette.nbytes + stored.palette_indices.nbytes
    notes = [f"expanded to {' and '.join(sorted(dtypes))} at load: smaller on disk, not in memory"]
    if _HEAD in chosen:
        notes.append("the embedding stays as it was; a tied head becomes a second tensor")
    return Change(kind=KIND, modules=tuple(chosen), bytes_before=before, bytes_after=after, notes=tuple(notes))


def planned(model: nn.Module, options: Options) -> tuple[str, ...]:
    """Names of what `apply` will change, from names and types alone: the model may be without memory.

    Raises:
        TransformError: nothing was selected, or the model is neither bf16 nor fp16.
    """
    chosen = _select(model, options)
    for name in chosen:
        _check_dtype(name, linear_layer(model, name).weight)
    return tuple(chosen)


def restructure(model: nn.Module, options: Options, modules: Sequence[str]) -> None:
    """Put empty palettized layers where `modules` of a model that is being loaded are."""
    for name in modules:
        replace(model, name, _empty_like(linear_layer(model, name), options))


def _select(model: nn.Module, options: Options) -> dict[str, nn.Module]:
    return select(model, (nn.Linear,), options.names, () if options.head else (_HEAD,))


def _empty_like(module: nn.Linear, options: Options) -> PaletteLinear:
    weight_OI = module.weight
    with torch.device(weight_OI.device):
        return PaletteLinear(
            module.in_features,
            module.out_features,
            module.bias is not None,
            weight_OI.dtype,
            options.bits,
            options.output_channels,
        )


def _check(name: str, weight_OI: Tensor) -> None:
    _check_dtype(name, weight_OI)
    if not torch.isfinite(weight_OI).all():
        raise TransformError("palettize the weights", f"{name} holds NaN or infinity", "Repair the checkpoint")


def _check_dtype(name: str, weight_OI: Tensor) -> None:
    if weight_OI.dtype not in _SHORT:
        raise TransformError(
            "palettize the weights",
            f"{name} is {weight_OI.dtype}, and palettes are of 16-bit numbers",
            'Put {kind = "cast", dtype = "bf16"} before palettize',
        )


def _sortable(weight_OI: Tensor) -> NDArray[np.uint16]:
    """The bits of 16-bit floats as integers in the order of the numbers; both zeros become one."""
    bits = (weight_OI + 0).view(torch.int16).numpy().view(np.uint16)
    return np.where(bits & 0x8000, ~bits, bits | 0x8000)


def _numbers(dtype: torch.dtype) -> NDArray[np.float64]:
    """The number that each sortable integer stands for."""
    keys = np.arange(_NUMBERS, dtype=np.uint16)
    bits = np.where(keys & 0x8000, keys & 0x7FFF, ~keys)
    return torch.from_numpy(bits.view(np.int16)).view(dtype).to(torch.float64).numpy()


def _distinct(keys: NDArray[np.uint16]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The sorted distinct keys and how often each occurs."""
    counts = np.bincount(keys.reshape(-1), minlength=_NUMBERS)
    present = np.flatnonzero(counts)
    return present, counts[present].astype(np.float64)
