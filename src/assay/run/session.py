"""What runs, as protocols: every runtime gives a `Session` or a `Generator`, and nothing above it knows the engine.

A `Session` gives logits and leaves the loop to Assay; a `Generator` owns its loop and gives tokens with their times.
Arrays at this seam are numpy, so that runtimes of different engines can be held against each other. It refuses nothing.
Shape suffixes: B batch, T prompt tokens, K new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from assay.core.records import Absent, Measured, Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import TypeIs

    TokenArray = NDArray[np.int64]
    LogitArray = NDArray[np.float32]


class Session(Protocol):
    """One loaded artifact with one KV cache. Logits are float32 whatever the engine computes in."""

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What happened: threads, effective dtype, kernels, device, cache state, fallbacks. Never what was asked."""

    @property
    def length(self) -> int:
        """Tokens in the KV cache."""

    @property
    def kv_cache_bytes(self) -> int:
        """Bytes allocated for the KV cache; 0 without one."""

    def prefill(self, tokens_BT: TokenArray) -> LogitArray:
        """Forget the cache, read a prompt, and return the logits of its last token, `[B, V]`."""

    def decode(self, tokens_BK: TokenArray) -> LogitArray:
        """Append K tokens to the cache and return the logits after each, `[B, K, V]`."""

    def logits(self, tokens_BT: TokenArray) -> LogitArray:
        """Logits at every position of an independent window, `[B, T, V]`; the cache is not touched."""

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens of the cache. Raises ContractError where that cannot be done."""

    def sync(self) -> None:
        """Wait until the device has finished everything asked of it; a no-op on a CPU."""

    def close(self) -> None:
        """Free the weights and the cache; a second call does nothing."""


@runtime_checkable
class Encoder(Protocol):
    """One loaded artifact that reads texts whole and writes none: an embedding or a classification model."""

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What happened, as in a `Session`."""

    def encode(self, tokens_BT: TokenArray, lengths_B: TokenArray) -> LogitArray:
        """A unit vector `[B, D]` of each row, or the logits of its labels `[B, L]`; float32.

        Args:
            tokens_BT: rows of any number, filled up with anything on their right.
            lengths_B: tokens of each row that are read.
        """

    def sync(self) -> None:
        """Wait until the device has finished everything asked of it; a no-op on a CPU."""

    def close(self) -> None:
        """Free the weights; a second call does nothing."""


@runtime_checkable
class BatchSession(Session, Protocol):
    """A session that can read prompts of unequal lengths side by side."""

    def prefill_prompts(self, prompts: Sequence[Sequence[int]]) -> LogitArray:
        """Forget the cache, read one prompt for each sequence, and return the logits of their last tokens, `[B, V]`.

        Each gets what it would get alone. The cache's length is that of the longest: the others are filled up on
        their left, and what is decoded behind them follows their own last token.
        """


@runtime_checkable
class Layered(Protocol):
    """What a session of a runtime that shows its layers has beside the rest."""

    def layer_outputs(self, tokens_BT: TokenArray) -> list[tuple[str, LogitArray]]:
        """Name and output `[B, T, D]` of each layer, in order, of an independent window; the cache is not touched."""


class Trainer(Protocol):
    """A model in training on one batch. One call each of `forward`, `backward` and `step` is a training step."""

    def forward(self) -> None:
        """Compute the loss, and keep what the backward pass needs."""

    def backward(self) -> None:
        """Compute the gradients."""

    def step(self) -> None:
        """Change the weights, and free the gradients."""


@runtime_checkable
class Trainable(Protocol):
    """What a session of a runtime that can train has beside the rest."""

    def trainer(self, tokens_BT: TokenArray) -> Trainer:
        """Prepare to train on a batch. Raises UnsupportedError where the weights have no gradients."""

    @property
    def training_bytes(self) -> Mapping[str, int]:
        """`gradient_bytes`, `optimizer_state_bytes` and `activation_bytes` of a step; empty before there was one."""


@dataclass(frozen=True)
class Generation:
    """What a `Generator` answered to one request."""

    tokens: tuple[int, ...] | Absent
    """The new tokens; Absent where the engine gives text alone."""
    times_ns: tuple[int, ...]
    """When each new token was there, in nanoseconds since the request; never decreasing."""
    prompt_tokens: int | Absent
    """Tokens of the prompt as the engine counted them."""
    cached_tokens: int | Absent
    """Tokens of the prompt that were not computed but taken from a cache."""


class Generator(Protocol):
    """An engine that owns its loop, one sequence at a time: a server, a runner, a library without logits."""

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What happened, as in `Session.facts`; `prefix_cache` says what the engine keeps of a prompt."""

    @property
    def elsewhere(self) -> str:
        """Why memory and CPU time of this process say nothing of the engine; empty where the engine is in it."""

    @property
    def loaded_here(self) -> bool:
        """Whether opening it loaded the weights; False for what was running already."""

    @property
    def kv_cache_bytes(self) -> Measured:
        """Bytes allocated for the KV cache, or why that is not known."""

    def generate(self, tokens: Sequence[int], new_tokens: int) -> Generation:
        """Read a prompt from an empty cache and continue it greedily by exactly `new_tokens` tokens.

        Raises:
            EngineError: the engine died, hung, or answered what cannot be true.
            UnsupportedError: the engine cannot carry the request.
        """

    def close(self) -> None:
        """End what was started; a second call does nothing."""


Engine = Session | Generator | Encoder
"""What a runtime opens."""


def gives_logits(engine: Engine) -> TypeIs[Session]:
    """Whether the loop is left to Assay."""
    return hasattr(engine, "prefill")


def runs_here(engine: Engine) -> TypeIs[Session | Encoder]:
    """Whether it computes when this process asks, and can be waited for."""
    return gives_logits(engine) or isinstance(engine, Encoder)
