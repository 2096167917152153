"""Random weights for a config.json, as Hugging Face would initialise them. It refuses families it has no model for.

The same config, seed and tensor name give the same values on every machine. Such a model is for measuring speed and
memory: what it writes is noise.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from assay.build import families
from assay.build.checkpoints import base
from assay.build.files import read_json
from assay.core.canonical import digest
from assay.core.errors import CheckpointError, TokenizerError
from assay.core.records import ModelSource

if TYPE_CHECKING:
    from assay.build.tokenizers import Tokenizer

_CONFIG = "config.json"
_STANDARD_DEVIATION = 0.02
_WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"})


class RandomCheckpoint:
    """A config with weights made on demand, in float32; see `base.Checkpoint`."""

    def __init__(self, path: Path, config: dict[str, Any], seed: int) -> None:
        self.path = path
        self.seed = seed
        self.config: Mapping[str, Any] = MappingProxyType(config)
        self._shapes = families.tensor_shapes(config)
        self._deviation = _deviation(path, config)

    @cached_property
    def source(self) -> ModelSource:
        """The config and the seed are all that decides the weights, and all that the digest covers."""
        return ModelSource(
            kind="random",
            location=str(self.path),
            digest=digest({"config": dict(self.config), "seed": self.seed}),
        )

    def tensor_names(self) -> tuple[str, ...]:
        """Names of the family, in the order of the model."""
        return tuple(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor as a checkpoint of the family stores it."""
        if name not in self._shapes:
            raise base.no_such_tensor(name, self.path, self.tensor_names())
        return self._shapes[name]

    def tensor(self, name: str) -> torch.Tensor:
        """Normal with the config's `initializer_range`; norms one, biases zero.

        As GPT-2's own initialisation, projections into the residual stream are divided by the root of their number.
        """
        shape = self.shape(name)
        if name.endswith(".bias"):
            return torch.zeros(shape)
        gpt2 = self.config.get("model_type") == "gpt2"
        if len(shape) == 1:
            # These two multiply by one plus the weight.
            added = self.config.get("model_type") in ("gemma2", "gemma3_text")
            return torch.zeros(shape) if added else torch.ones(shape)
        deviation = self._deviation
        if gpt2 and name.endswith("c_proj.weight"):
            deviation /= math.sqrt(2 * self.config.get("n_layer", 12))
        key = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()
        values = np.random.Generator(np.random.PCG64(int.from_bytes(key, "little"))).standard_normal(shape, np.float32)
        values *= np.float32(deviation)
        return torch.from_numpy(values)

    def tokenizer(self) -> Tokenizer:
        """There is none: always raises TokenizerError."""
        raise TokenizerError(
            f"The tokenizer of {self.path} was asked for",
            "random weights come without one",
            "Measure with ids, or name a checkpoint that has a tokenizer",
        )

    def close(self) -> None:
        """Nothing is held open."""


def recognises(path: Path) -> bool:
    """Whether `path` is a JSON file, or a directory with a config.json and no weights of any kind."""
    if not path.is_dir():
        return path.suffix.lower() == ".json"
    return (path / _CONFIG).is_file() and not any(entry.suffix in _WEIGHT_SUFFIXES for entry in path.iterdir())


def open_checkpoint(path: Path, seed: int = 0) -> RandomCheckpoint:
    """Make a checkpoint of a config.json or of a directory that holds one.

    Raises:
        CheckpointError: the config is missing or wrong.
        UnknownArchitectureError: Assay has no model for its `model_type`.
    """
    file = path / _CONFIG if path.is_dir() else path
    return RandomCheckpoint(file, read_json(file, "The model's config"), seed)


def _deviation(path: Path, config: Mapping[str, Any]) -> float:
    found = config.get("initializer_range", _STANDARD_DEVIATION)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise CheckpointError(
            f"Random weights for {path} were asked for",
            f"initializer_range is {found!r}, no positive number",
            "Correct config.json",
        )
    return float(found)
