"""The runtime `transformers`: as its users run it, AutoModelForCausalLM with its own growing cache.

It refuses layers that are not plain, batches of prompts of unequal lengths, and devices that are not there. With the
format `transformers` it runs a directory of any architecture that the package knows, as it is.
Shape suffixes: B batch, T prompt tokens, K new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel  # loads what the package would load at first use

from assay.build.artifact_files import check_files, read_artifact
from assay.core.errors import ContractError, UnsupportedError
from assay.core.records import Artifact, Decoding, Scalar, Target
from assay.run import torch_devices
from assay.run.engine_session import require_length, require_rewind, require_window
from assay.run.probe import Probe

if TYPE_CHECKING:
    from assay.run.session import LogitArray, Session, TokenArray

RUNTIME = "transformers"
FORMATS = ("torch", "transformers")
_PLAIN_CHANGES = frozenset({"cast"})


def probe() -> Probe:
    """Which transformers this is, and which devices torch finds."""
    return Probe(
        usable=True,
        version=transformers.__version__,
        devices=torch_devices.available(),
        facts={"torch": torch.__version__, **torch_devices.cpu_facts()},
    )


def open_session(directory: Path, target: Target, decoding: Decoding, capacity: int, batch: int = 1) -> Session:
    """Load an artifact of the format `torch` or `transformers`; see `torch_eager.open_session`.

    Raises:
        UnsupportedError: another format or device, or weights that transformers has no layers for.
        ContractError: the capacity exceeds the model's context.
        CorruptFileError: the artifact is damaged.
    """
    asked = f"open {directory} in transformers"
    if target.format not in FORMATS:
        raise UnsupportedError(asked, f"this runtime reads {' and '.join(FORMATS)}, not {target.format}", "Build those")
    if target.compute_units != "all":
        raise UnsupportedError(asked, f"it cannot choose {target.compute_units!r}", "Use compute_units = 'all'")
    artifact = read_artifact(directory)
    if artifact.contract.head != "causal":
        raise UnsupportedError(
            asked, f"it opens causal language models, and this one's head is {artifact.contract.head!r}", "Use torch"
        )
    check_files(directory, artifact, verify=False)
    strange = [spec.kind for spec in artifact.transforms if spec.kind not in _PLAIN_CHANGES]
    if strange:
        raise UnsupportedError(
            asked, f"transformers has no layer for what {strange[0]} stores", "Use torch, or a variant of plain floats"
        )
    if decoding.prefill_chunk:
        raise UnsupportedError(
            asked, "its forward reads a prompt at once", "Use prefill_chunk = 0, or the runtime torch"
        )
    if decoding.kv_cache == "static":
        # The default of a study; what runs is transformers' own default, and the facts say so.
        decoding = decoding.model_copy(update={"kv_cache": "growing"})
    if not 1 <= capacity <= artifact.contract.context_length:
        raise ContractError(
            f"open a session for {capacity} tokens",
            f"the model's context is {artifact.contract.context_length} tokens",
            "Ask for fewer tokens; nothing is clamped",
        )
    device = torch_devices.require(target.device)
    threads = torch_devices.use_threads(target.threads)
    speech: Any = transformers.utils.logging
    speech.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(
        directory, dtype=getattr(torch, artifact.contract.dtype), local_files_only=True, trust_remote_code=False
    )
    return TransformersSession(model.eval().to(device), artifact, decoding, capacity, batch, device, threads)


class TransformersSession:
    """One model with transformers' DynamicCache, or with none."""

    def __init__(
        self,
        model: PreTrainedModel,
        artifact: Artifact,
        decoding: Decoding,
        capacity: int,
        batch: int,
        device: torch.device,
        threads: int,
    ) -> None:
        self._model: Any = model
        self._vocab_size = artifact.contract.vocab_size
        self._context_length = artifact.contract.context_length
        self._capacity, self._batch, self._device = capacity, batch, device
        self._cached = decoding.kv_cache != "none"
        self._cache: Any = None
        self._history_BT = torch.empty((batch, 0), dtype=torch.int64, device=device)
        parameters = list(model.parameters())
        self._facts: dict[str, Scalar] = {
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "model_class": type(model).__name__,
            "attention": str(model.config._attn_implementation),
            "device": str(device),
            "threads": threads,
            "activations_dtype": str(model.dtype).removeprefix("torch."),
            "weights_dtype": tuple(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in parameters})),
            "resident_weight_bytes": sum(parameter.nbytes for parameter in parameters),
            "kv_cache": "transformers' DynamicCache" if self._cached else "none",
            "prefill_chunk": 0,
        }

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What happened: the class that computes, its attention, its cache, its types."""
        return self._facts

    @property
    def length(self) -> int:
        """Tokens in the sequence."""
        return self._history_BT.shape[1]

    @property
    def kv_cache_bytes(self) -> int:
        """Bytes of the cache's tensors as they are now; 0 without one."""
        layers = self._cache.layers if self._cache is not None else ()
        held = (getattr(layer, name, None) for layer in layers for name in ("keys", "values"))
        return sum(tensor.nbytes for tensor in held if tensor is not None)

    def prefill(self, tokens_BT: TokenArray) -> LogitArray:
        """Forget the sequence, read a prompt, and return the logits of its last token, `[B, V]`."""
        tokens = self._tokens(tokens_BT)
        require_length(tokens.shape[1], self._capacity)
        self._cache = None
        self._history_BT = self._history_BT[:, :0]
        return _to_numpy(self._append(tokens, last=1)[:, -1])

    def decode(self, tokens_BK: TokenArray) -> LogitArray:
        """Append K tokens and return the logits after each, `[B, K, V]`."""
        tokens = self._tokens(tokens_BK)
        require_length(self.length + tokens.shape[1], self._capacity)
        return _to_numpy(self._append(tokens, last=tokens.shape[1]))

    def logits(self, tokens_BT: TokenArray) -> LogitArray:
        """Logits at every position of an independent window, `[B, T, V]`; the sequence is not touched."""
        tokens = self._tokens(tokens_BT, any_batch=True)
        require_window(tokens.shape[1], self._context_length)
        with torch.inference_mode():
            return _to_numpy(self._model(input_ids=tokens, use_cache=False).logits)

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens. Raises ContractError."""
        require_rewind(length, self.length)
        if length == 0:
            self._cache = None
        elif self._cache is not None and length < self.length:
            try:
                self._cache.crop(length - self.length)
            except ValueError as error:  # a sliding layer has let go of what would be needed
                raise ContractError(f"rewind to {length} tokens", str(error), "Read the prompt again") from None
        self._history_BT = self._history_BT[:, :length]

    def sync(self) -> None:
        """Wait until the device has finished everything asked of it; a no-op on a CPU."""
        torch_devices.synchronize(self._device)

    def close(self) -> None:
        """Free the weights and the cache; a second call does nothing."""
        self._model = self._cache = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _append(self, tokens_BK: Tensor, last: int) -> Tensor:
        """Logits of the last 1 or all K tokens after appending K, `[B, last, V]`."""
        self._history_BT = torch.cat((self._history_BT, tokens_BK), dim=1)
        read = tokens_BK if self._cached else self._history_BT
        with torch.inference_mode():
            told = self._model(input_ids=read, past_key_values=self._cache, use_cache=self._cached, logits_to_keep=last)
        self._cache = told.past_key_values if self._cached else None
        logits_BKV: Tensor = told.logits
        return logits_BKV

    def _tokens(self, tokens_BT: TokenArray, any_batch: bool = False) -> Tensor:
        """Tokens on the device. Raises ContractError where they do not fit the session."""
        array = np.asarray(tokens_BT)
        if array.ndim != 2 or array.shape[1] < 1 or (array.shape[0] != self._batch and not any_batch):
            raise ContractError(
                f"read tokens of shape {array.shape}",
                f"the session has a batch of {self._batch}",
                "Give int64 tokens of shape [batch, tokens], at least one token each",
            )
        if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= self._vocab_size:
            raise ContractError(
                f"read tokens of type {array.dtype} up to {array.max()}",
                f"the vocabulary has {self._vocab_size}",
                "Use the tokenizer that belongs to this model",
            )
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(self._device)


def _to_numpy(logits: Tensor) -> LogitArray:
    array: LogitArray = logits.to("cpu", torch.float32).numpy()
    return array
