"""Rotary position embedding with precomputed tables; it refuses scalings that it cannot compute.

Shape suffixes: B batch, T tokens, N heads, H head dim, R rotated dims of a head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.build.config_fields import ConfigFields
from assay.build.nn.padding import padded_positions
from assay.core.errors import CheckpointError

_ORIGINAL = "original_max_position_embeddings"
_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), ()),
    "linear": (("factor",), ()),
    "dynamic": (("factor",), ()),
    "proportional": ((), ("factor",)),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor", _ORIGINAL), ()),
    "yarn": (
        ("factor",),
        (_ORIGINAL, "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
    ),
    "longrope": (("short_factor", "long_factor"), (_ORIGINAL, "attention_factor", "factor")),
}
"""By `rope_type`: the keys that must be there and those that may be."""
_LISTS = ("short_factor", "long_factor")
_COMMON = ("rope_theta", "partial_rotary_factor")


@dataclass(frozen=True)
class RopeScaling:
    """How the inverse frequencies differ from theta^(-2i/R); fields as in config.json, their defaults filled in."""

    rope_type: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    attention_factor: float = 1.0
    """Cosines and sines are multiplied by it (`yarn`, `longrope`)."""
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()
    partial_rotary_factor: float = 1.0
    """Share of a head's dimensions that is rotated, the first ones."""

    @classmethod
    def from_dict(cls, table: Mapping[str, Any], max_position_embeddings: int = 8192) -> RopeScaling:
        """Read `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5).

        Args:
            table: the mapping of config.json.
            max_position_embeddings: of the same config: what `dynamic` starts to scale at, and where the others have no
                original length of their own.

        Raises:
            CheckpointError: a type or a key that is not implemented, or a value that cannot be.
        """
        rope_type = table.get("rope_type", table.get("type", "default"))
        if rope_type not in _KEYS:
            raise CheckpointError(
                "read the rope scaling of config.json",
                f"rope_type = {rope_type!r} is not implemented",
                f"Use a checkpoint with rope_type {', '.join(_KEYS)}",
            )
        needed, optional = _KEYS[rope_type]
        given = {key: value for key, value in table.items() if value is not None and key not in ("type", "rope_type")}
        strange = sorted(given.keys() - {*needed, *optional, *_COMMON})
        wrong = [key for key in needed if key not in given]
        wrong += [key for key in (*needed, *optional, *_COMMON) if key in given and not _is_possible(key, given[key])]
        if strange or wrong:
            raise CheckpointError(
                f"read the rope scaling {rope_type!r} of config.json",
                f"not implemented: {strange}" if strange else f"missing or not a positive number: {wrong}",
                "Use a checkpoint whose rope scaling has its own keys and no others",
            )
        fields: dict[str, Any] = {key: tuple(value) if key in _LISTS else value for key, value in given.items()}
        fields.pop("rope_theta", None)
        over, under = fields.pop("mscale", None), fields.pop("mscale_all_dim", None)
        if rope_type in ("dynamic", "yarn", "longrope"):
            fields.setdefault(_ORIGINAL, max_position_embeddings)
        if rope_type == "longrope":
            fields.setdefault("factor", max_position_embeddings / fields[_ORIGINAL])
            fields.setdefault("attention_factor", _longrope_attention(fields["factor"], fields[_ORIGINAL]))
        if rope_type == "yarn":
            fields.setdefault("attention_factor", _yarn_attention(fields["factor"], over, under))
        return cls(rope_type, **fields)

    @property
    def by_length(self) -> bool:
        """Whether the frequencies depend on how long the sequence has become."""
        return self.rope_type in ("dynamic", "longrope")

    def context_length(self, max_position_embeddings: int) -> int:
        """Tokens that the scaling makes room for: the config of `dynamic` and `yarn` may state the original length."""
        if self.rope_type == "dynamic":
            return int(max_position_embeddings * self.factor)
        if self.rope_type == "yarn":
            return max(max_position_embeddings, int(self.original_max_position_embeddings * self.factor))
        return max_position_embeddings


def read_rope(
    fields: ConfigFields,
    max_position_embeddings: int,
    theta: float = 10000.0,
    partial: float | None = None,
    theta_key: str = "rope_theta",
    partial_key: str = "partial_rotary_factor",
) -> tuple[float, RopeScaling]:
    """`(theta, scaling)` of a config.json of transformers 4 (keys beside the others) or 5 (in `rope_parameters`).

    Args:
        fields: the config.
        max_position_embeddings: of the same config.
        theta: where the config says nothing.
        partial: share of a head that is rotated, where the config says nothing; None for families that rotate all.
        theta_key: what transformers 4 called theta.
        partial_key: what transformers 4 called the share.

    Raises:
        CheckpointError: what `RopeScaling.from_dict` refuses, or a share of heads that this family rotates whole.
    """
    if partial is None:
        fields.only(partial_key, 1.0, "rotation of a part of each head")
    beside = {
        "rope_theta": fields.number(theta_key, theta),
        "partial_rotary_factor": fields.number(partial_key, partial or 1.0),
    }
    table = {**fields.mapping("rope_scaling"), **fields.mapping("rope_parameters")}
    table = {**beside, **{key: value for key, value in table.items() if value is not None}}
    original = fields.integer(_ORIGINAL, max_position_embeddings)
    if original != max_position_embeddings and _ORIGINAL in _accepted(table):
        # Where it stands beside the table, transformers prefers it.
        table[_ORIGINAL] = original
    scaling = RopeScaling.from_dict(table, max_position_embeddings)
    if partial is None and scaling.partial_rotary_factor != 1.0:
        raise CheckpointError(
            "read the rope parameters of config.json",
            f"partial_rotary_factor = {scaling.partial_rotary_factor}",
            "Use a checkpoint of this family that rotates whole heads",
        )
    return float(table["rope_theta"]), scaling


def _accepted(table: Mapping[str, Any]) -> tuple[str, ...]:
    needed, optional = _KEYS.get(table.get("rope_type", table.get("type", "default")), ((), ()))
    return (*needed, *optional)


def _is_possible(key: str, found: Any) -> bool:
    if key == "truncate":
        return isinstance(found, bool)
    if key == _ORIGINAL:
        return isinstance(found, int) and not isinstance(found, bool) and found > 0
    values = found if key in _LISTS else [found]
    return isinstance(values, list | tuple) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf for value in values
    )


def _longrope_attention(factor: float, original: int) -> float:
    """As Ding et al. 2024 suggest."""
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))


def _yarn_attention(factor: float, over: float | None, under: float | None) -> float:
    """As Peng et al. 2023 suggest; DeepSeek scales it by `mscale` over `mscale_all_dim`."""
    if factor <= 1:
        return 1.0
    if over and under:
        return (0.1 * over * math.log(factor) + 1) / (0.1 * under * math.log(factor) + 1)
    return 0.1 * math.log(factor) + 1


def inverse_frequencies(rotated: int, theta: float, scaling: RopeScaling, length: int = 0) -> Tensor:
    """`[R / 2]` float32 radians per position: theta^(-2i/R), scaled.

    Args:
        rotated: R.
        theta: `rope_theta` of config.json.
        scaling: how long wavelengths are stretched.
        length: tokens of the sequence so far, which `dynamic` and `longrope` look at.
    """
    steps = torch.arange(0, rotated, 2, dtype=torch.float32, device="cpu")
    frequencies: Tensor = theta ** (steps / rotated)
    original = scaling.original_max_position_embeddings
    match scaling.rope_type:
        case "linear":
            return 1.0 / frequencies / scaling.factor
        case "proportional":
            # Of whole heads; but only the first dimensions turn.
            turning = int(scaling.partial_rotary_factor * rotated // 2)
            return (1.0 / frequencies / scaling.factor) * (steps < 2 * turning)
        case "dynamic":
            stretch = scaling.factor * max(length, original) / original - (scaling.factor - 1)
            stretched: Tensor = (theta * stretch ** (rotated / (rotated - 2))) ** (steps / rotated)
            return 1.0 / stretched
        case "llama3":
            return _llama3(1.0 / frequencies, scaling)
        case "yarn":
            return _yarn(frequencies, theta, scaling)
        case "longrope":
            factors = scaling.long_factor if length > original else scaling.short_factor
            return 1.0 / (torch.tensor(factors, dtype=torch.float32, device="cpu") * frequencies)
        case _:
            return 1.0 / frequencies


def _llama3(inverse: Tensor, scaling: RopeScaling) -> Tensor:
    """Long wavelengths divided by the factor, short ones as they are, those between blended (Llama 3.1)."""
    turns = scaling.original_max_position_embeddings / (2 * math.pi / inverse)
    smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    smooth = smooth.clamp(0.0, 1.0)
    return (1 - smooth) * inverse / scaling.factor + smooth * inverse


def _yarn(frequencies: Tensor, theta: float, scaling: RopeScaling) -> Tensor:
    """Dimensions that turn often keep their frequency, those that turn seldom are interpolated (Peng et al. 2023)."""
    rotated = 2 * len(frequencies)

    def dimension(turns: float) -> float:
        span = scaling.original_max_position_embeddings / (turns * 2 * math.pi)
        return rotated * math.log(span) / (2 * math.log(theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotated - 1)
    ramp = (torch.arange(rotated // 2, dtype=torch.float32, device="cpu") - low) / ((high - low) or 0.001)
    kept = 1 - ramp.clamp(0, 1)
    return 1.0 / (scaling.factor * frequencies) * (1 - kept) + 1.0 / frequencies * kept


class RotaryTable:
    """Cosines and signed sines by position, grown when a longer sequence comes.

    The first half of the sines is negated, so that a rotation is `x * cos + roll(x, R / 2) * sin`.

    Args:
        head_dim: H.
        theta: `rope_theta` of config.json.
        scaling: which dimensions are rotated, an even number, and how long wavelengths are stretched.

    Raises:
        CheckpointError: longrope's factors are not as many as the angles.
    """

    def __init__(self, head_dim: int, theta: float, scaling: RopeScaling) -> None:
        whole = scaling.rope_type == "proportional"
        self._rotated = head_dim if whole else int(head_dim * scaling.partial_rotary_factor)
        for factors in (scaling.short_factor, scaling.long_factor):
            if factors and len(factors) != self._rotated // 2:
                raise CheckpointError(
                    "read the factors of longrope",
                    f"there are {len(factors)} for {self._rotated} rotated dimensions",
                    "There must be one for each two dimensions: correct config.json",
                )
        self._theta = theta
        self._scaling = scaling
        self._scale_length = 0
        self._cos_TR = torch.empty(0)
        self._sin_TR = torch.empty(0)

    def slice(self, start: int, tokens: int, like: Tensor, padding_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`(cos, sin)` of the tokens start .. start + tokens, each `[T, R]`, in the type and on the device of `like`.

        They are `[B, 1, T, R]` where padding shifts the positions of each sequence; see `nn.padding`.
        """
        end = start + tokens
        stale = self._cos_TR.dtype != like.dtype or self._cos_TR.device != like.device
        if self._scaling.by_length:
            stale |= self._lengthen(end if padding_B is None else end - int(padding_B.min()))
        if stale or end > len(self._cos_TR):
            self._grow(end, like)
        if padding_B is None:
            return self._cos_TR[start:end], self._sin_TR[start:end]
        positions_B1T = padded_positions(padding_B, start, tokens)[:, None]
        return self._cos_TR[positions_B1T], self._sin_TR[positions_B1T]

    def _lengthen(self, length: int) -> bool:
        """Note how long the longest sequence is, where that alters the frequencies; whether it did."""
        original = self._scaling.original_max_position_embeddings
        before = self._scale_length
        longest = length if self._scaling.rope_type == "dynamic" else original + 1
        self._scale_length = longest if length > original else original
        return self._scale_length != before

    @torch.inference_mode(False)  # a table made while a prompt was read serves training too
    def _grow(self, length: int, like: Tensor) -> None:
        inverse = inverse_frequencies(self._rotated, self._theta, self._scaling, self._scale_length)
        rounded = 1 << max(length - 1, 255).bit_length()
        angles_TR = torch.arange(rounded, dtype=torch.float32, device="cpu")[:, None] * inverse
        cos_TR, sin_TR = angles_TR.cos(), angles_TR.sin()
        if self._scaling.attention_factor != 1.0:
            cos_TR, sin_TR = cos_TR * self._scaling.attention_factor, sin_TR * self._scaling.attention_factor
        self._cos_TR = torch.cat((cos_TR, cos_TR), dim=-1).to(like.device, like.dtype)
        self._sin_TR = torch.cat((-sin_TR, sin_TR), dim=-1).to(like.device, like.dtype)


def rotate(x_BNTH: Tensor, cos_TR: Tensor, sin_TR: Tensor) -> Tensor:
    """Rotate the pairs (i, i + R / 2) of the first R of H dimensions by their angles (Su et al. 2021)."""
    R, H = cos_TR.shape[-1], x_BNTH.shape[-1]
    if R < H:
        return torch.cat((rotate(x_BNTH[..., :R], cos_TR, sin_TR), x_BNTH[..., R:]), dim=-1)
    return (x_BNTH * cos_TR).add_(torch.roll(x_BNTH, R // 2, -1).mul_(sin_TR))
