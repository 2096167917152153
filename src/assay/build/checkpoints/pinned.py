"""A checkpoint that came from the hub: the same weights, with the commit in their source. It refuses nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from assay.build.checkpoints.base import Checkpoint

if TYPE_CHECKING:
    import torch

    from assay.build.tokenizers import Tokenizer
    from assay.core.records import ModelSource


class PinnedCheckpoint:
    """An opened checkpoint of a fetched file; see `base.Checkpoint`.

    Args:
        inner: what was opened.
        location: the hub id with its commit.
        revision: the commit.
    """

    def __init__(self, inner: Checkpoint, location: str, revision: str) -> None:
        self._inner = inner
        self._location = location
        self._revision = revision

    @cached_property
    def source(self) -> ModelSource:
        """The files' own digest, the hub id and the commit."""
        pinned = {"location": self._location, "revision": self._revision}
        return self._inner.source.model_copy(update=pinned)

    @property
    def config(self) -> Mapping[str, Any]:
        """Content of config.json."""
        return self._inner.config

    def tensor_names(self) -> tuple[str, ...]:
        """Names of all tensors."""
        return self._inner.tensor_names()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._inner.shape(name)

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor."""
        return self._inner.tensor(name)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that came with the weights."""
        return self._inner.tokenizer()

    def close(self) -> None:
        """Let go of the files."""
        self._inner.close()
