"""An Encoder over a torch artifact; it refuses tokens outside of the vocabulary and texts beyond the model's context.

Shape suffixes: B batch, T tokens, D size of an embedding or number of labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from assay.core.errors import ContractError
from assay.core.records import Artifact, Decoding, Scalar
from assay.run import torch_devices
from assay.run.torch_facts import matrix_operations, static_facts

if TYPE_CHECKING:
    from assay.run.session import LogitArray, TokenArray


class TorchEncoder:
    """One model that reads texts whole. A batch of unequal lengths is masked; one without padding needs no mask."""

    def __init__(
        self, model: nn.Module, artifact: Artifact, decoding: Decoding, device: torch.device, threads: int
    ) -> None:
        # Families share this call and no base class: tokens [B, T] and lengths [B] to [B, D].
        self._model: Any = model
        self._vocab_size = artifact.contract.vocab_size
        self._context_length = artifact.contract.context_length
        self._device = device
        self._ran = False
        self._facts: dict[str, Scalar] = {
            **static_facts(model, artifact, decoding, None, device, threads),
            "head": artifact.contract.head,
        }

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What happened. `kernels` is there once something has run, so that reading it first costs no call."""
        if self._ran and "kernels" not in self._facts and self._model is not None:
            token = torch.zeros((1, 1), dtype=torch.int64, device=self._device)
            self._facts |= matrix_operations(self._model, token)
        return self._facts

    def encode(self, tokens_BT: TokenArray, lengths_B: TokenArray) -> LogitArray:
        """A unit vector of each row, or the logits of its labels, `[B, D]` in float32. Raises ContractError."""
        tokens, lengths = np.asarray(tokens_BT), np.asarray(lengths_B)
        self._check(tokens, lengths)
        given = torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64)).to(self._device)
        padded = bool((lengths < tokens.shape[1]).any())
        read = torch.from_numpy(np.ascontiguousarray(lengths, dtype=np.int64)).to(self._device) if padded else None
        with torch.inference_mode():
            self._ran = True
            found: LogitArray = self._model(given, read).to("cpu", torch.float32).numpy()
            return found

    def sync(self) -> None:
        """Wait until the device has finished everything asked of it; a no-op on a CPU."""
        torch_devices.synchronize(self._device)

    def close(self) -> None:
        """Free the weights; a second call does nothing."""
        _ = self.facts
        self._model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _check(self, tokens: Any, lengths: Any) -> None:
        rows = tokens.shape[0] if tokens.ndim == 2 else 0
        if not rows or tokens.shape[1] < 1 or lengths.shape != (rows,):
            raise ContractError(
                f"encode tokens of shape {tokens.shape} with lengths of shape {lengths.shape}",
                "they are no batch",
                "Give int64 tokens [batch, tokens] and lengths [batch]",
            )
        if tokens.shape[1] > self._context_length:
            raise ContractError(
                f"encode a text of {tokens.shape[1]} tokens",
                f"the model's context is {self._context_length} tokens",
                "Split the text; nothing is truncated",
            )
        if lengths.min() < 1 or lengths.max() > tokens.shape[1]:
            raise ContractError(
                f"encode rows of {lengths.min()} to {lengths.max()} tokens",
                f"the batch has {tokens.shape[1]} columns",
                "Give lengths from 1 to the number of columns",
            )
        if tokens.dtype.kind not in "iu" or tokens.min() < 0 or tokens.max() >= self._vocab_size:
            raise ContractError(
                f"encode tokens of type {tokens.dtype} up to {tokens.max()}",
                f"the vocabulary has {self._vocab_size}",
                "Use the tokenizer that belongs to this model",
            )
