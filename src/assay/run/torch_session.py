"""A Session over a torch artifact; it refuses tokens outside of the vocabulary and sequences beyond its capacity.

Shape suffixes: B batch, T prompt tokens, K new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from assay.build.exporters.torch import compute_dtype, load
from assay.build.families import LanguageModel
from assay.build.nn.kv_cache import KVCache
from assay.core.errors import ContractError, UnsupportedError
from assay.core.records import Artifact, Decoding, Scalar, Target
from assay.run import torch_devices
from assay.run.measure.probes import matmul_precision
from assay.run.torch_encoder import TorchEncoder
from assay.run.torch_facts import claimed_bits, matrix_operations, static_facts
from assay.run.torch_trainer import TorchTrainer

if TYPE_CHECKING:
    from assay.run.session import LogitArray, TokenArray


def open_torch_session(
    directory: Path, target: Target, decoding: Decoding, capacity: int, batch: int
) -> TorchSession | TorchEncoder:
    """Load an artifact onto the target's device; see `runtimes.torch_eager.open_session`."""
    device = torch_devices.require(target.device)
    threads = torch_devices.use_threads(target.threads)
    model, artifact = load(directory, cpu_kernels=device.type == "cpu")
    if not 1 <= capacity <= artifact.contract.context_length:
        raise ContractError(
            f"open a session for {capacity} tokens",
            f"the model's context is {artifact.contract.context_length} tokens",
            "Ask for fewer tokens; nothing is clamped",
        )
    if artifact.contract.head == "encoder_decoder" and (decoding.kv_cache == "none" or decoding.prefill_chunk):
        raise UnsupportedError(
            f"open a session with kv_cache = {decoding.kv_cache!r} and prefill_chunk = {decoding.prefill_chunk}",
            f"{artifact.contract.architecture} reads its prompt whole, with an encoder, and keeps it in the cache",
            "Use kv_cache = 'static' or 'growing' and prefill_chunk = 0",
        )
    if artifact.contract.is_encoder:
        return TorchEncoder(model.to(device), artifact, decoding, device, threads)
    return TorchSession(model.to(device), artifact, decoding, capacity, batch, device, threads)


class TorchSession:
    """One model with one KV cache, or with none, in which case every decode reads the whole sequence again."""

    def __init__(
        self,
        model: nn.Module,
        artifact: Artifact,
        decoding: Decoding,
        capacity: int,
        batch: int,
        device: torch.device,
        threads: int,
    ) -> None:
        # Families share this call and no base class; see build.families.LanguageModel.
        self._model: Any = model
        self._forward: Any = model
        self._forward_facts: Callable[[], Mapping[str, Scalar]] = dict
        self._vocab_size = artifact.contract.vocab_size
        self._context_length = artifact.contract.context_length
        self._chunk = decoding.prefill_chunk
        self._head = decoding.head
        self._capacity = capacity
        self._batch = batch
        self._device = device
        self._cache: KVCache | None = None
        self._history_BT = torch.empty((batch, 0), dtype=torch.int64, device=device)
        self._padding_B: Tensor | None = None
        if decoding.kv_cache != "none":
            made = cast(LanguageModel, model)
            self._cache = made.new_cache(batch, capacity, compute_dtype(model), device, decoding.kv_cache)
        self._ran = False
        self._trainer: TorchTrainer | None = None
        self._facts = {
            **static_facts(model, artifact, decoding, self._cache, device, threads),
            **claimed_bits(model, artifact),
        }

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What happened. `kernels` is there once something has run, so that reading it first costs no call."""
        if self._ran and "kernels" not in self._facts:
            token = torch.zeros((1, 1), dtype=torch.int64, device=self._device)
            self._facts = {**self._facts, **matrix_operations(self._model, token), **self._precision()}
        if self._cache is not None:
            self._facts = {**self._facts, "kv_cache_bytes": self._cache.nbytes}
        facts = {**self._facts, **self._forward_facts()}
        return facts if self._trainer is None else {**facts, **self._trainer.facts}

    def run_by(self, transformed: Callable[[nn.Module], Any], facts: Callable[[], Mapping[str, Scalar]]) -> None:
        """Run what `transformed` makes of the model in its place; `facts` tells what that did."""
        self._forward = transformed(self._model)
        self._forward_facts = facts

    def _precision(self) -> dict[str, Scalar]:
        """What a float32 product of this process really is: a switch of torch's may have made it less."""
        if compute_dtype(self._model) != torch.float32:
            return {}
        found = matmul_precision(torch, str(self._device)).found
        return {"matmul_precision": found} if isinstance(found, str) else {}

    @property
    def length(self) -> int:
        """Tokens in the sequence."""
        return self._cache.length if self._cache is not None else self._history_BT.shape[1]

    @property
    def kv_cache_bytes(self) -> int:
        """Bytes allocated for the KV cache; 0 without one."""
        return self._cache.nbytes if self._cache is not None else 0

    def prefill(self, tokens_BT: TokenArray) -> LogitArray:
        """Forget the sequence, read a prompt, and return the logits of its last token, `[B, V]`."""
        return self._prefill(self._tokens(tokens_BT), None)

    def prefill_prompts(self, prompts: Sequence[Sequence[int]]) -> LogitArray:
        """Forget the sequences, read one prompt for each, and return the logits of their last tokens, `[B, V]`.

        Shorter prompts are filled up on their left to the length of the longest; `rewind` counts that filling.
        """
        longest = max(map(len, prompts), default=0)
        if not prompts or min(map(len, prompts)) < 1:
            raise ContractError(
                f"read {len(prompts)} prompts", "one has no tokens" if prompts else "there is none", "Give each a token"
            )
        padding = [longest - len(prompt) for prompt in prompts]
        rows = [[0] * count + list(prompt) for count, prompt in zip(padding, prompts, strict=True)]
        tokens = self._tokens(np.asarray(rows, dtype=np.int64))
        return self._prefill(tokens, torch.tensor(padding, device=self._device) if any(padding) else None)

    def _prefill(self, tokens_BT: Tensor, padding_B: Tensor | None) -> LogitArray:
        self._check_length(tokens_BT.shape[1])
        self.rewind(0)
        self._padding_B = padding_B
        with torch.inference_mode():
            for chunk in torch.split(tokens_BT, self._chunk or tokens_BT.shape[1], dim=1):
                logits = self._append(chunk, last=1 if self._head == "last" else chunk.shape[1])
            return _to_numpy(logits[:, -1])

    def decode(self, tokens_BK: TokenArray) -> LogitArray:
        """Append K tokens and return the logits after each, `[B, K, V]`."""
        tokens = self._tokens(tokens_BK)
        self._check_length(self.length + tokens.shape[1])
        with torch.inference_mode():
            return _to_numpy(self._append(tokens, last=tokens.shape[1]))

    def logits(self, tokens_BT: TokenArray) -> LogitArray:
        """Logits at every position of an independent window, `[B, T, V]`; the sequence is not touched."""
        tokens = self._tokens(tokens_BT, any_batch=True)
        if tokens.shape[1] > self._context_length:
            raise ContractError(
                f"read a window of {tokens.shape[1]} tokens",
                f"the model's context is {self._context_length} tokens",
                "Use a shorter window; nothing is truncated",
            )
        with torch.inference_mode():
            self._ran = True
            return _to_numpy(self._forward(tokens))

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens. Raises ContractError."""
        if not 0 <= length <= self.length:
            raise ContractError(
                f"rewind to {length} tokens", f"the session holds {self.length}", f"Rewind to 0..{self.length}"
            )
        if self._padding_B is not None:
            longest = int(self._padding_B.max())
            if 0 < length <= longest:
                raise ContractError(
                    f"rewind to {length} tokens",
                    f"the shortest prompt is filled up by {longest}",
                    f"Rewind to 0, or to {longest + 1}..{self.length}",
                )
            self._padding_B = None if length == 0 else self._padding_B
        if self._cache is not None:
            self._cache.rewind(length)
        else:
            self._history_BT = self._history_BT[:, :length]

    def layer_outputs(self, tokens_BT: TokenArray) -> list[tuple[str, LogitArray]]:
        """Name and output of each layer of the longest stack of layers, `[B, T, D]`; the cache is not touched."""
        stacks = [(name, part) for name, part in self._model.named_modules() if isinstance(part, nn.ModuleList)]
        outputs: list[tuple[str, LogitArray]] = []
        if not stacks:
            return outputs
        stack, layers = max(stacks, key=lambda found: len(found[1]))

        def note(place: int) -> Callable[[nn.Module, Any, Any], None]:
            def hook(_layer: nn.Module, _given: Any, made: Any) -> None:
                hidden = made[0] if isinstance(made, tuple) else made
                outputs.append((f"{stack}.{place}", _to_numpy(hidden)))

            return hook

        hooks = [layer.register_forward_hook(note(place)) for place, layer in enumerate(layers)]
        try:
            self.logits(tokens_BT)
        finally:
            for hook in hooks:
                hook.remove()
        return outputs

    def trainer(self, tokens_BT: TokenArray) -> TorchTrainer:
        """Prepare to train on a batch: the weights of this session change. Raises UnsupportedError."""
        self._trainer = TorchTrainer(self._model, self._tokens(tokens_BT, any_batch=True))
        self._ran = True
        return self._trainer

    @property
    def training_bytes(self) -> Mapping[str, int]:
        """`gradient_bytes`, `optimizer_state_bytes` and `activation_bytes` of a step; empty before there was one."""
        return {} if self._trainer is None else self._trainer.state_bytes()

    def sync(self) -> None:
        """Wait until the device has finished everything asked of it; a no-op on a CPU."""
        torch_devices.synchronize(self._device)

    def close(self) -> None:
        """Free the weights and the cache; a second call does nothing."""
        _ = self.facts
        self._model = self._forward = self._cache = self._trainer = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _append(self, tokens_BK: Tensor, last: int) -> Tensor:
        """Logits of the last 1 or all K tokens after appending K, `[B, last, V]`."""
        self._ran = True
        if self._cache is not None:
            logits: Tensor = self._forward(tokens_BK, self._cache, last == 1, self._padding_B)
            return logits
        self._history_BT = torch.cat((self._history_BT, tokens_BK), dim=1)
        recomputed: Tensor = self._forward(self._history_BT, None, last == 1, self._padding_B)
        return recomputed[:, -last:]

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

    def _check_length(self, length: int) -> None:
        if length > self._capacity:
            raise ContractError(
                f"hold {length} tokens",
                f"the session was opened for {self._capacity}",
                "Open it with a larger capacity, or ask for fewer tokens; nothing is dropped",
            )


def _to_numpy(logits: Tensor) -> LogitArray:
    array: LogitArray = logits.to("cpu", torch.float32).numpy()
    return array
