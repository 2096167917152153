"""Metadata of a GGUF file as fields of config.json; it refuses impossible values, and scalings not computed here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.core.errors import CheckpointError, CorruptFileError

Floats = NDArray[np.float32]
ROPE_FREQS = "rope_freqs.weight"
"""Divisors of the frequencies, by which llama.cpp scales the positions of Llama 3."""
_SCALING_KEYS = {
    "none": frozenset({"type"}),
    "linear": frozenset({"type", "factor"}),
    "yarn": frozenset({"type", "factor", "original_context_length", "yarn_beta_fast", "yarn_beta_slow"}),
}
"""By type: the keys below `rope.scaling` that are read."""
_SCALES_NOTHING: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "finetuned": (True, False),
        "attn_factor": (1.0,),
        "yarn_attn_factor": (1.0,),
        "yarn_ext_factor": (1.0,),
        "yarn_log_multiplier": (0.0,),
    }
)
"""Keys below `rope.scaling` with the values that alter nothing."""


class Fields:
    """Metadata of one file under its architecture's prefix, with errors that name the key."""

    def __init__(
        self,
        metadata: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
        values: Callable[[str], Floats],
        location: str,
    ) -> None:
        self.metadata = metadata
        self.shapes = shapes
        self.values = values
        self.location = location
        self.architecture = str(metadata["general.architecture"])

    def fail(self, found: str) -> CorruptFileError:
        """The error for metadata that cannot be true."""
        return CorruptFileError(
            f"The config of the GGUF file {self.location} was to be read", found, "Convert the model again"
        )

    def _find(self, key: str, default: Any) -> Any:
        found = self.metadata.get(f"{self.architecture}.{key}", default)
        if found is None:
            raise self.fail(f"the key '{self.architecture}.{key}' is missing")
        return found

    def whole(self, key: str, default: int | None = None) -> int:
        """A positive whole number."""
        found = self._find(key, default)
        if not isinstance(found, int) or isinstance(found, bool) or found <= 0:
            raise self.fail(f"'{self.architecture}.{key}' is {found!r}, no positive whole number")
        return found

    def real(self, key: str, default: float | None = None) -> float:
        """A positive number, as the shortest decimal that gives the stored float32."""
        found = self._find(key, default)
        if not isinstance(found, float) or not 0 < found < float("inf"):
            raise self.fail(f"'{self.architecture}.{key}' is {found!r}, no positive number")
        return float(str(np.float32(found)))

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        found = self._find(key, default)
        if not isinstance(found, bool):
            raise self.fail(f"'{self.architecture}.{key}' is {found!r}, neither true nor false")
        return found

    def has(self, tensor: str) -> bool:
        """Whether the file holds a tensor of this GGUF name."""
        return tensor in self.shapes

    def rope_scaling(self) -> dict[str, Any] | None:
        """`rope_scaling` of config.json; None where positions are not scaled."""
        prefix = f"{self.architecture}.rope.scaling."
        given = {key.removeprefix(prefix): self.metadata[key] for key in self.metadata if key.startswith(prefix)}
        kind = str(given.get("type", "none"))
        altering = {key for key, value in given.items() if not _scales_nothing(key, value)}
        known = _SCALING_KEYS.get(kind, frozenset())
        if not known or not altering <= known or (kind != "none" and self.has(ROPE_FREQS)):
            strange = ", ".join(sorted(altering - known - {"type"}))
            raise CheckpointError(
                f"The config of the GGUF file {self.location} was to be read",
                f"its positions are scaled by {kind!r}{strange and f' with {strange}'}",
                "Assay reads GGUF files whose positions are not scaled, or scaled linearly, by yarn or by rope_freqs",
            )
        if self.has(ROPE_FREQS):
            # Divisors of the frequencies, as llama.cpp writes Llama 3's scaling: longrope with one list at all lengths.
            factors = [float(value) for value in self.values(ROPE_FREQS)]
            same = {"short_factor": factors, "long_factor": factors, "factor": 1.0, "attention_factor": 1.0}
            return {"rope_type": "longrope", "original_max_position_embeddings": self.whole("context_length"), **same}
        if kind == "none":
            return None
        scaling: dict[str, Any] = {"rope_type": kind, "factor": self.real("rope.scaling.factor")}
        if kind == "yarn":
            original = self.whole("rope.scaling.original_context_length", self.whole("context_length"))
            scaling["original_max_position_embeddings"] = original
            for name in ("beta_fast", "beta_slow"):
                if f"yarn_{name}" in given:
                    scaling[name] = self.real(f"rope.scaling.yarn_{name}")
        return scaling

    def rotated_share(self, head_dim: int) -> float:
        """The share of a head's dimensions that is rotated, so that the product with them gives their number again."""
        rotated = self.whole("rope.dimension_count", head_dim)
        if rotated > head_dim:
            raise self.fail(f"{rotated} of {head_dim} dimensions of a head are rotated")
        share = rotated / head_dim
        return share if int(head_dim * share) == rotated else math.nextafter(share, 2.0)

    def common(self) -> dict[str, Any]:
        """Fields that every family has: vocabulary, tied embeddings, special tokens."""
        if "token_embd.weight" not in self.shapes:
            raise self.fail("the tensor 'token_embd.weight' is missing")
        fields: dict[str, Any] = {
            "vocab_size": self.shapes["token_embd.weight"][0],
            "tie_word_embeddings": not self.has("output.weight"),
        }
        for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
            found = self.metadata.get(f"tokenizer.ggml.{key}_token_id")
            if isinstance(found, int):
                fields[f"{name}_token_id"] = found
        return fields


def _scales_nothing(key: str, value: object) -> bool:
    return isinstance(value, bool | float) and value in _SCALES_NOTHING.get(key, ())
