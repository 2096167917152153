"""What every kind of checkpoint gives: a config, named tensors, a tokenizer. It refuses to guess a missing field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from assay.core.errors import CheckpointError

if TYPE_CHECKING:
    import torch

    from assay.build.tokenizers import Tokenizer
    from assay.core.records import ModelSource


class Checkpoint(Protocol):
    """Weights opened for reading, under the Hugging Face names of their family."""

    @property
    def source(self) -> ModelSource:
        """Where the weights come from. The first use reads the files whole, for their SHA-256."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Fields of config.json, `model_type` among them."""

    def tensor_names(self) -> tuple[str, ...]:
        """Names of all tensors, such as `model.layers.0.self_attn.q_proj.weight`."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor without reading it.

        Raises:
            CheckpointError: there is no tensor of that name.
        """

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor: as stored, or dequantised to float32 where it is stored in blocks. Not to be written to.

        Raises:
            CheckpointError: there is no tensor of that name, or the checkpoint was closed.
        """

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that came with the weights.

        Raises:
            TokenizerError: none came with them, or it cannot be read.
        """

    def close(self) -> None:
        """Let go of the file; tensors already given out stay valid. A second call does nothing."""


def no_such_tensor(name: str, location: Path, known: tuple[str, ...]) -> CheckpointError:
    """The error for a tensor name that a checkpoint does not hold."""
    return CheckpointError(
        f"The tensor {name!r} of {location} was asked for",
        f"there is none of that name among {len(known)}",
        f"The names begin with: {', '.join(known[:5])}",
    )


def closed(location: Path) -> CheckpointError:
    """The error for a read after `close`."""
    return CheckpointError(f"A tensor of {location} was asked for", "the checkpoint was closed", "Open it again")
