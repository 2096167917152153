"""Rotary position embedding with precomputed tables; it refuses scalings that it cannot compute.

Shape suffixes: B batch, T tokens, N heads, H head dim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.build.nn.padding import padded_positions
from assay.core.errors import CheckpointError


@dataclass(frozen=True)
class RopeScaling:
    """How the inverse frequencies differ from theta^(-2i/H); fields as in config.json."""

    rope_type: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> RopeScaling:
        """Read `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5). Raises CheckpointError."""
        rope_type = table.get("rope_type", table.get("type", "default"))
        needed = {
            "default": (),
            "linear": ("factor",),
            "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
        }.get(rope_type)
        if needed is None:
            raise CheckpointError(
                "read the rope scaling of config.json",
                f"rope_type = {rope_type!r} is not implemented",
                "Use a checkpoint with rope_type default, linear or llama3",
            )
        known = {*needed, "rope_type", "type", "rope_theta"}
        strange = sorted(key for key in table if key not in known and table[key] is not None)
        if table.get("partial_rotary_factor") == 1.0:
            strange.remove("partial_rotary_factor")
        missing = [key for key in needed if not _is_positive_number(table.get(key))]
        if strange or missing:
            raise CheckpointError(
                f"read the rope scaling {rope_type!r} of config.json",
                f"not implemented: {strange}" if strange else f"missing or not a positive number: {missing}",
                "Use a checkpoint whose rope scaling has its own keys and no others",
            )
        return cls(rope_type, **{key: table[key] for key in needed})


def _is_positive_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and 0 < found < math.inf


def inverse_frequencies(head_dim: int, theta: float, scaling: RopeScaling) -> Tensor:
    """`[H / 2]` float32 radians per position: theta^(-2i/H), scaled as Llama 3.1 scales long wavelengths."""
    inverse = 1.0 / (theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim))
    if scaling.rope_type == "default":
        return inverse
    if scaling.rope_type == "linear":
        return inverse / scaling.factor
    wavelength = 2 * math.pi / inverse
    turns = scaling.original_max_position_embeddings / wavelength
    smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    smooth = smooth.clamp(0.0, 1.0)
    return (1 - smooth) * inverse / scaling.factor + smooth * inverse


class RotaryTable:
    """Cosines and signed sines by position, grown when a longer sequence comes.

    The first half of the sines is negated, so that a rotation is `x * cos + roll(x, H / 2) * sin`.

    Args:
        head_dim: H, even.
        theta: `rope_theta` of config.json.
        scaling: how long wavelengths are stretched.
    """

    def __init__(self, head_dim: int, theta: float, scaling: RopeScaling) -> None:
        self._inverse = inverse_frequencies(head_dim, theta, scaling)
        self._cos_TH = torch.empty(0)
        self._sin_TH = torch.empty(0)

    def slice(self, start: int, tokens: int, like: Tensor, padding_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`(cos, sin)` of the tokens start .. start + tokens, each `[T, H]`, in the type and on the device of `like`.

        They are `[B, 1, T, H]` where padding shifts the positions of each sequence; see `nn.padding`.
        """
        end = start + tokens
        if end > len(self._cos_TH) or self._cos_TH.dtype != like.dtype or self._cos_TH.device != like.device:
            self._grow(end, like)
        if padding_B is None:
            return self._cos_TH[start:end], self._sin_TH[start:end]
        positions_B1T = padded_positions(padding_B, start, tokens)[:, None]
        return self._cos_TH[positions_B1T], self._sin_TH[positions_B1T]

    @torch.inference_mode(False)  # a table made while a prompt was read serves training too
    def _grow(self, length: int, like: Tensor) -> None:
        rounded = 1 << max(length - 1, 255).bit_length()
        angles_TH = torch.arange(rounded, dtype=torch.float32, device="cpu")[:, None] * self._inverse
        cos_TH, sin_TH = angles_TH.cos(), angles_TH.sin()
        self._cos_TH = torch.cat((cos_TH, cos_TH), dim=-1).to(like.device, like.dtype)
        self._sin_TH = torch.cat((-sin_TH, sin_TH), dim=-1).to(like.device, like.dtype)


def rotate(x_BNTH: Tensor, cos_TH: Tensor, sin_TH: Tensor) -> Tensor:
    """Rotate the pairs (i, i + H / 2) of `[B, N, T, H]` by their angles (Su et al. 2021)."""
    return (x_BNTH * cos_TH).add_(torch.roll(x_BNTH, x_BNTH.shape[-1] // 2, -1).mul_(sin_TH))
