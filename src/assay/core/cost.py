"""What a model costs before it runs: FLOPs, bytes, bounds. It refuses types whose size it does not know.

The formulas, from the shapes alone, with B batch, T tokens, L layers, H heads, H_kv key and value heads,
d_h head size, d hidden size, d_ff intermediate size, V vocabulary, c tokens in the cache:

    N_mm    = L (2 d H d_h + 2 d H_kv d_h + g d d_ff) + d V        g = 2, or 3 for a gated MLP
    forward = B T (2 N_mm + 4 L T H d_h)                           a layer with a window of W: min(T, W) for T
    decode  = 2 N_mm + 4 L c H d_h                                 per token; the same for c
    KV      = 2 L H_kv d_h b                                       bytes per token at b bytes a number
    t       = max(FLOPs / peak, bytes / bandwidth) + dispatches x floor
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from assay.core.errors import InputError
from assay.core.records import Contract, Decoding, Workload

DTYPE_BYTES = {
    "float64": 8,
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "int8": 1,
}
"""Bytes of one number of each type of activations and KV cache."""

Bound = Literal["compute", "bandwidth"]


class Sized(Protocol):
    """What costs are computed from: an artifact, or one that is only planned."""

    @property
    def contract(self) -> Contract:
        """The shapes."""

    @property
    def weight_bytes(self) -> int:
        """On disk."""

    @property
    def resident_weight_bytes(self) -> int:
        """Once loaded."""

    @property
    def decode_weight_bytes(self) -> int:
        """Streamed by one decode step."""


@dataclass(frozen=True)
class Work:
    """What one call of a workload takes."""

    flops: float
    bytes_moved: float
    tokens: int
    """That the call reads or gives."""
    passes: int
    """Forward passes, one after another."""


@dataclass(frozen=True)
class Prediction:
    """Time of one call by the roofline, and what bounds it."""

    seconds: float
    bound: Bound
    compute_s: float
    transfer_s: float
    dispatch_s: float

    @property
    def overhead_bound(self) -> bool:
        """True where dispatch costs more than the larger of computing and transferring."""
        return self.dispatch_s > max(self.compute_s, self.transfer_s)


def matmul_parameters(contract: Contract) -> int:
    """N_mm: parameters that take part in matrix products for every token, the head included.

    The embedding is looked up and does not count; a tied one counts once, as the head.
    """
    per_layer = contract.hidden_size * (
        2 * contract.num_attention_heads * contract.head_dim
        + 2 * contract.num_key_value_heads * contract.head_dim
        + (3 if contract.gated_mlp else 2) * contract.intermediate_size
    )
    return contract.num_hidden_layers * per_layer + head_parameters(contract) + contract.extra_matmul_parameters


def head_parameters(contract: Contract) -> int:
    """d V: parameters of the head. An encoder has none for every token; its own, for one position, is left out."""
    return 0 if contract.is_encoder else contract.hidden_size * contract.vocab_size


def attended(contract: Contract, tokens: int) -> int:
    """Tokens that one query sees at most, of `tokens`, summed over the layers: fewer where they have a window."""
    return _in_layers(contract, contract.num_hidden_layers, contract.num_sliding_layers, tokens)


def forward_flops(contract: Contract, batch: int, tokens: int, causal_useful: bool = False) -> int:
    """FLOPs of one forward over `[batch, tokens]`, logits at every position.

    Args:
        contract: the shapes.
        batch: sequences.
        tokens: tokens of each.
        causal_useful: count half of the attention product, which is what a causal mask leaves in.
    """
    attention = 4 * attended(contract, tokens) * _query_width(contract)
    if causal_useful:
        attention //= 2
    return batch * tokens * (2 * matmul_parameters(contract) + attention)


def prefill_flops(contract: Contract, batch: int, tokens: int, causal_useful: bool = False) -> int:
    """FLOPs of a prefill: like `forward_flops`, with the head applied to the last position alone."""
    saved = 2 * batch * (tokens - 1) * head_parameters(contract)
    return forward_flops(contract, batch, tokens, causal_useful) - saved


def decode_flops(contract: Contract, context: int) -> int:
    """FLOPs of one decode step of one sequence with `context` tokens in the cache."""
    attention = 4 * attended(contract, context) * _query_width(contract)
    return 2 * matmul_parameters(contract) + attention


def training_flops(contract: Contract, batch: int, tokens: int, checkpointed: bool = False) -> int:
    """FLOPs of forward and backward: 3 forwards, or 4 where activations are computed a second time."""
    return (4 if checkpointed else 3) * forward_flops(contract, batch, tokens)


def kv_bytes_per_token(contract: Contract) -> int:
    """Bytes of KV cache that one token of one sequence takes: keys and values of all layers that keep their own.

    Raises:
        InputError: the contract's dtype has no known size.
    """
    return kv_bytes(contract, 1)


def kv_bytes(contract: Contract, tokens: int) -> int:
    """Bytes of the KV cache of one sequence of `tokens` tokens, of which layers with a window keep no more than that.

    An encoder has none.

    Raises:
        InputError: the contract's dtype has no known size.
    """
    if contract.is_encoder:
        return 0
    keeping = contract.num_hidden_layers - contract.num_kv_shared_layers
    # Which of the layers that keep none have a window, the contract does not say: as many as of all.
    sliding = contract.num_sliding_layers * keeping // contract.num_hidden_layers
    held = _in_layers(contract, keeping, sliding, tokens)
    if contract.head == "encoder_decoder":
        held *= 2  # the source's and the decoder's own, each for the whole capacity
    return 2 * held * contract.num_key_value_heads * contract.head_dim * _bytes_of(contract.dtype)


def decode_bytes(artifact: Sized, context: int, batch: int = 1) -> int:
    """Bytes that one decode step reads: all weights once, and each sequence's cache of `context` tokens."""
    contract = artifact.contract
    return artifact.decode_weight_bytes + batch * kv_bytes(contract, context)


def prefill_bytes(artifact: Sized, tokens: int, batch: int = 1) -> int:
    """Bytes that one prefill moves at least: all weights read once, and the cache written once.

    Activations are left out: they are expected to stay in the processor's caches.
    """
    return artifact.decode_weight_bytes + batch * tokens * kv_bytes_per_token(artifact.contract)


def resident_bytes(artifact: Sized, capacity: int, batch: int = 1) -> int:
    """Bytes that an open session keeps: the weights once loaded, and a cache for `capacity` tokens of each sequence."""
    return artifact.resident_weight_bytes + batch * kv_bytes(artifact.contract, capacity)


def activation_bytes(contract: Contract, batch: int, tokens: int) -> int:
    """Bytes of activations that are alive at once in the widest place of a forward, at least.

    B T (2 d + 2 d_ff) numbers of the contract's type: the residual and its norm, and two sides of the MLP; and the
    logits of one position in that type and in float32.
    """
    width = _bytes_of(contract.dtype)
    mlp = batch * tokens * 2 * (contract.hidden_size + contract.intermediate_size) * width
    return mlp + (0 if contract.is_encoder else batch * contract.vocab_size * (width + 4))


def session_bytes(artifact: Sized, workload: Workload, capacity: int, batch: int) -> int:
    """Bytes that a session holds while it carries out a workload: weights, cache and activations.

    Args:
        artifact: the weights.
        workload: what is asked.
        capacity: tokens of the cache, of each sequence.
        batch: sequences that the session was opened for.
    """
    tokens = 0 if workload.kind == "load" else workload.prompt_tokens
    held = resident_bytes(artifact, capacity, batch) + activation_bytes(artifact.contract, workload.batch, tokens)
    return held + (training_bytes(artifact, workload) if workload.kind == "train_step" else 0)


def training_bytes(artifact: Sized, workload: Workload) -> int:
    """Bytes that a training step holds beside weights and cache, at least.

    A gradient and AdamW's two moments for each weight, and what the forward pass keeps for the backward pass: in every
    layer B T (2 d + 2 d_ff) numbers, and the logits of all positions in the contract's type and in float32.
    """
    contract = artifact.contract
    width = _bytes_of(contract.dtype)
    kept = contract.num_hidden_layers * 2 * (contract.hidden_size + contract.intermediate_size) * width
    logits = contract.vocab_size * (width + 4)
    return 3 * artifact.resident_weight_bytes + workload.batch * workload.prompt_tokens * (kept + logits)


def work(artifact: Sized, workload: Workload, decoding: Decoding | None = None) -> Work:
    """What one timed call of a workload takes; a decode step is taken half-way through its new tokens.

    Args:
        artifact: the weights.
        workload: a prefill, a decode, a generation or a training step. Of a step, the weights are taken to move ten
            times: read twice by the passes and once by AdamW, which writes them, reads gradients that were written,
            and reads and writes two moments.
        decoding: how it is run: a prompt in chunks reads the weights once for each.

    Raises:
        InputError: no tokens go through the workload, or every step of it computes the whole sequence again.
    """
    how = Decoding() if decoding is None else decoding
    batch, prompt, new = workload.batch, workload.prompt_tokens, workload.new_tokens
    if artifact.contract.is_encoder != (workload.kind == "encode") and workload.kind not in ("load", "call"):
        raise InputError(
            f"the cost of {workload.name!r}",
            f"a model of head {artifact.contract.head!r} does not carry it out",
            "Ask for encode of an encoder, for prefill, decode or generate of a model that writes",
        )
    if artifact.contract.head == "encoder_decoder":
        raise InputError(
            f"the cost of {workload.name!r}", "that of an encoder-decoder is not modelled", "Measure it instead"
        )
    if workload.kind == "encode":
        flops = forward_flops(artifact.contract, batch, prompt)
        return Work(flops, artifact.decode_weight_bytes, batch * prompt, passes=1)
    if workload.kind not in ("prefill", "decode", "generate", "train_step"):
        raise InputError(f"the cost of {workload.name!r}", "no tokens go through it", "Ask for a prefill or a decode")
    if workload.kind == "train_step":
        flops = training_flops(artifact.contract, batch, prompt)
        return Work(flops, 10 * artifact.resident_weight_bytes, batch * prompt, passes=3)
    if how.kv_cache == "none" and workload.kind != "prefill":
        raise InputError(
            f"the cost of {workload.name!r}",
            "without a KV cache every step computes the whole sequence again",
            "Ask for a prefill, or for a variant with a cache",
        )
    contract = artifact.contract
    middle = prompt + new // 2
    step = Work(batch * decode_flops(contract, middle), decode_bytes(artifact, middle, batch), batch, 1)
    if workload.kind == "decode":
        return step
    chunks = -(-prompt // how.prefill_chunk) if how.prefill_chunk else 1
    prefill = Work(
        flops=prefill_flops(contract, batch, prompt) + 2 * (chunks - 1) * batch * head_parameters(contract),
        bytes_moved=prefill_bytes(artifact, prompt, batch) + (chunks - 1) * artifact.decode_weight_bytes,
        tokens=batch * prompt,
        passes=chunks,
    )
    if workload.kind == "prefill":
        return prefill
    # The first new token comes from the prefill's logits.
    steps = new - 1
    return Work(
        flops=prefill.flops + steps * step.flops,
        bytes_moved=prefill.bytes_moved + steps * step.bytes_moved,
        tokens=batch * new,
        passes=chunks + steps,
    )


def quantised_bits(bits: int, group_size: int, scale_bits: int = 16, zero_point_bits: int = 0) -> float:
    """Bits per weight with one scale (and zero point) per group: int4 in groups of 32 with an fp16 scale is 4.5."""
    return bits + (scale_bits + zero_point_bits) / group_size


def predicted_seconds(
    flops: float,
    bytes_moved: float,
    peak_flops: float,
    bandwidth: float,
    dispatches: int = 0,
    floor_s: float = 0.0,
) -> Prediction:
    """Time of one call by the roofline.

    Args:
        flops: work of the call.
        bytes_moved: from and to memory.
        peak_flops: FLOP/s of the device at that type.
        bandwidth: bytes/s of its memory.
        dispatches: operations that are launched one after another.
        floor_s: time that the smallest operation takes.

    Raises:
        InputError: a ceiling is not positive.
    """
    if peak_flops <= 0 or bandwidth <= 0:
        raise InputError(
            "a predicted time",
            f"peak = {peak_flops} FLOP/s, bandwidth = {bandwidth} bytes/s",
            "Measure the machine's ceilings first",
        )
    compute_s, transfer_s = flops / peak_flops, bytes_moved / bandwidth
    dispatch_s = dispatches * floor_s
    return Prediction(
        seconds=max(compute_s, transfer_s) + dispatch_s,
        bound="compute" if compute_s >= transfer_s else "bandwidth",
        compute_s=compute_s,
        transfer_s=transfer_s,
        dispatch_s=dispatch_s,
    )


def mfu(flops: float, seconds: float, peak_flops: float) -> float:
    """Model FLOPs utilisation: FLOPs / (t x peak), a fraction."""
    return flops / (seconds * peak_flops)


def mbu(bytes_read: float, seconds: float, bandwidth: float) -> float:
    """Model bandwidth utilisation: (weights + KV cache) / (t x bandwidth), a fraction."""
    return bytes_read / (seconds * bandwidth)


def _in_layers(contract: Contract, layers: int, sliding: int, tokens: int) -> int:
    """Tokens summed over layers, of which `sliding` have the contract's window."""
    window = contract.sliding_window
    return (layers - sliding) * tokens + sliding * (min(tokens, window) if isinstance(window, int) else tokens)


def _query_width(contract: Contract) -> int:
    return contract.num_attention_heads * contract.head_dim


def _bytes_of(dtype: str) -> int:
    if dtype not in DTYPE_BYTES:
        raise InputError(
            f"bytes of a number of type {dtype!r}", "the type is not known", f"Use {', '.join(DTYPE_BYTES)}"
        )
    return DTYPE_BYTES[dtype]
