"""What sessions of engines with a graph share: checks of tokens and lengths; they refuse what does not fit.

Shape suffixes: B batch, T prompt tokens, K new tokens, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.core.errors import ContractError, UnsupportedError
from assay.core.records import Artifact, Decoding, Target

if TYPE_CHECKING:
    from assay.run.session import TokenArray


def require_target(runtime: str, format_name: str, target: Target, devices: tuple[str, ...]) -> None:
    """Raise UnsupportedError where a target asks for another format, device or compute unit."""
    asked = f"open a session of {runtime} on {target.device}"
    if target.format != format_name:
        raise UnsupportedError(
            asked, f"this runtime reads the format {format_name}, not {target.format}", f"Build for {format_name}"
        )
    if target.device not in devices:
        raise UnsupportedError(asked, f"{runtime} finds {', '.join(devices)} here", "Use one of these")
    if target.compute_units != "all":
        raise UnsupportedError(
            asked, f"{runtime} cannot choose the compute units {target.compute_units!r}", "Use compute_units = 'all'"
        )


def require_decoding(runtime: str, decoding: Decoding, capacity: int, batch: int, artifact: Artifact) -> None:
    """Raise UnsupportedError or ContractError where a graph with a KV cache for one sequence cannot carry it."""
    asked = f"open a session of {runtime}"
    if decoding.kv_cache == "none":
        raise UnsupportedError(asked, "its graph has a KV cache; 'none' was asked for", "Use the runtime torch")
    if batch != 1:
        raise UnsupportedError(
            asked, f"its graph reads one sequence; a batch of {batch} was asked for", "Use batch = 1, or torch"
        )
    if not 1 <= capacity <= artifact.contract.context_length:
        raise ContractError(
            f"open a session for {capacity} tokens",
            f"the model's context is {artifact.contract.context_length} tokens",
            "Ask for fewer tokens; nothing is clamped",
        )


def checked_tokens(tokens_BT: TokenArray, vocab_size: int) -> TokenArray:
    """The tokens as contiguous int64 `[1, T]`. Raises ContractError."""
    array = np.asarray(tokens_BT)
    if array.ndim != 2 or array.shape[0] != 1 or array.shape[1] < 1:
        raise ContractError(
            f"read tokens of shape {array.shape}",
            "the session has a batch of 1",
            "Give int64 tokens of shape [1, tokens], at least one token",
        )
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= vocab_size:
        raise ContractError(
            f"read tokens of type {array.dtype} up to {array.max()}",
            f"the vocabulary has {vocab_size}",
            "Use the tokenizer that belongs to this model",
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def require_length(length: int, capacity: int) -> None:
    """Raise ContractError where a sequence would be longer than the session was opened for."""
    if length > capacity:
        raise ContractError(
            f"hold {length} tokens",
            f"the session was opened for {capacity}",
            "Open it with a larger capacity, or ask for fewer tokens; nothing is dropped",
        )


def require_window(length: int, context_length: int) -> None:
    """Raise ContractError where a window is longer than the model's context."""
    if length > context_length:
        raise ContractError(
            f"read a window of {length} tokens",
            f"the model's context is {context_length} tokens",
            "Use a shorter window; nothing is truncated",
        )


def require_rewind(length: int, held: int) -> None:
    """Raise ContractError where a rewind would lengthen the sequence."""
    if not 0 <= length <= held:
        raise ContractError(f"rewind to {length} tokens", f"the session holds {held}", f"Rewind to 0..{held}")
