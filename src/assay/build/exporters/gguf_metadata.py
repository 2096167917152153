"""A family's config as GGUF metadata: the inverse of `checkpoints.gguf_families`. It refuses nothing by itself.

The exporter reads the file back and refuses it where the config does not return.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from gguf import GGUFWriter, RopeScalingType

ARCHITECTURES = MappingProxyType(
    {"gemma2": "gemma2", "gemma3_text": "gemma3", "gpt2": "gpt2", "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"},
)
"""`general.architecture` by `model_type`."""


def write_config(writer: GGUFWriter, architecture: str, config: Any) -> None:
    """Write what shapes the computation; `config` is the family's `Config`."""
    writer.add_vocab_size(config.vocab_size)
    if architecture == "gpt2":
        writer.add_context_length(config.n_positions)
        writer.add_embedding_length(config.n_embd)
        writer.add_block_count(config.n_layer)
        writer.add_feed_forward_length(config.n_inner)
        writer.add_head_count(config.n_head)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if architecture == "gemma3":
        _rope(writer, *config.rope_global)
        writer.add_float32("gemma3.rope.freq_base_swa", config.rope_local[0])
    else:
        _rope(writer, config.rope_theta, config.rope_scaling)
    if architecture == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    if architecture in ("gemma2", "gemma3"):
        windows = [window for window in config.windows if window is not None]
        if windows:
            writer.add_sliding_window(windows[0])
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping or 0.0)
        writer.add_final_logit_softcapping(config.final_logit_softcapping or 0.0)


def _rope(writer: GGUFWriter, theta: float, scaling: Any) -> None:
    writer.add_rope_freq_base(theta)
    if scaling.rope_type == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling.factor)
