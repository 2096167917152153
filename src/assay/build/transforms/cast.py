"""Cast every floating parameter to one type; it refuses quantised models and values that the type cannot hold.

Norms, and the angles of rotary positions, are computed in float32 whatever the type of the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from assay.core.errors import TransformError
from assay.core.records import Change, Record

KIND = "cast"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Options(Record):
    """Options of `cast`."""

    dtype: Literal["fp32", "bf16", "fp16"]
    """Type of parameters, activations and KV cache."""


def apply(model: nn.Module, options: Options) -> Change:
    """Cast the parameters in place.

    Raises:
        TransformError: the model is quantised already, or a value overflows the type.
    """
    dtype = _DTYPES[options.dtype]
    asked = f"cast the model to {options.dtype}"
    planned(model, options)
    parameters = dict(model.named_parameters())
    before = sum(parameter.nbytes for parameter in parameters.values())
    for name, parameter in parameters.items():
        largest = parameter.detach().abs().max().item()
        if largest > torch.finfo(dtype).max:
            raise TransformError(asked, f"{name} holds {largest:.3g}, beyond its range", "Cast to bf16 instead")
    same = all(parameter.dtype == dtype for parameter in parameters.values())
    model.to(dtype)
    return Change(
        kind=KIND,
        modules=tuple(parameters),
        bytes_before=before,
        bytes_after=sum(parameter.nbytes for parameter in model.parameters()),
        notes=(f"all parameters were {options.dtype} already",) if same else (),
    )


def planned(model: nn.Module, options: Options) -> tuple[str, ...]:
    """Names of what `apply` will change, from types alone: the model may be without memory.

    Raises:
        TransformError: the model is quantised already.
    """
    parameters = dict(model.named_parameters())
    if any(not parameter.is_floating_point() for parameter in parameters.values()):
        raise TransformError(
            f"cast the model to {options.dtype}",
            "an earlier transform has quantised it",
            "Put cast before the quantisation",
        )
    return tuple(parameters)


def restructure(model: nn.Module, options: Options, modules: Sequence[str]) -> None:
    """Give the empty parameters of a model that is being loaded their type."""
    model.to(_DTYPES[options.dtype])
