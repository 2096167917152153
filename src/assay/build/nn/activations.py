"""Activations by the names of config.json; a name that is not here is refused by whoever reads the config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor

_tanh_gelu = partial(F.gelu, approximate="tanh")

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "gelu": F.gelu,
        "gelu_fast": _tanh_gelu,
        "gelu_new": _tanh_gelu,
        "gelu_pytorch_tanh": _tanh_gelu,
        "relu": F.relu,
        "silu": F.silu,
        "swish": F.silu,
    }
)
"""As transformers understands them; its three ways of writing the tanh approximation differ by rounding alone."""
