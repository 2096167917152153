"""Tiny configs of every decoder family: one entry makes a family part of all comparisons with transformers.

A case is a configuration class of transformers and its arguments. Each option that a family's `Config` reads has two
values among its cases; a test counts them.
"""

import json

from transformers import (
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

WINDOW = 8
"""Of the families that have one: sequences of the tests are several times as long."""

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.5, 2.0, 3.0, 4.0],
    "original_max_position_embeddings": 24,
}
LLAMA_SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}
LLAMA_OTHERS = {
    "vocab_size": 101,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 10,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-3,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
}
NEOX_SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "max_position_embeddings": 128,
}
NEOX_OTHERS = {
    "vocab_size": 101,
    "hidden_size": 40,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 5,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-3,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
}
GPT2 = {"vocab_size": 97, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64}
OPT = {
    "vocab_size": 97,
    "hidden_size": 48,
    "word_embed_proj_dim": 48,
    "ffn_dim": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def case(kind, sizes, **options):
    return kind(**{**sizes, **options})


def yarn(**more):
    return {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32, **more}


CASES = {
    "gpt2": case(GPT2Config, GPT2),
    "gpt2, own head": case(GPT2Config, GPT2, tie_word_embeddings=False),
    "gpt2, exact gelu": case(GPT2Config, GPT2, activation_function="gelu"),
    "gpt2, other sizes": GPT2Config(
        vocab_size=101, n_embd=40, n_layer=2, n_head=5, n_positions=48, n_inner=100, layer_norm_epsilon=1e-3
    ),
    "gpt_neox": case(GPTNeoXConfig, NEOX_SIZES),
    "gpt_neox, one after another": case(GPTNeoXConfig, NEOX_SIZES, use_parallel_residual=False),
    "gpt_neox, tied head": case(GPTNeoXConfig, NEOX_SIZES, tie_word_embeddings=True),
    "gpt_neox, no biases": case(GPTNeoXConfig, NEOX_SIZES, attention_bias=False),
    "gpt_neox, tanh gelu": case(GPTNeoXConfig, NEOX_SIZES, hidden_act="gelu_new"),
    "gpt_neox, linear positions": case(
        GPTNeoXConfig, NEOX_SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    ),
    "gpt_neox, other sizes": case(GPTNeoXConfig, NEOX_OTHERS),
    "llama": case(LlamaConfig, LLAMA_SIZES),
    "llama, tied head": case(LlamaConfig, LLAMA_SIZES, tie_word_embeddings=True),
    "llama, one head per key": case(LlamaConfig, LLAMA_SIZES, num_key_value_heads=6),
    "llama, one key for all heads": case(LlamaConfig, LLAMA_SIZES, num_key_value_heads=1),
    "llama, biases": case(LlamaConfig, LLAMA_SIZES, attention_bias=True, mlp_bias=True),
    "llama, llama3 positions": case(LlamaConfig, LLAMA_SIZES, rope_parameters=LLAMA3),
    "llama, linear positions": case(
        LlamaConfig, LLAMA_SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    ),
    "llama, dynamic positions": case(
        LlamaConfig,
        LLAMA_SIZES,
        max_position_embeddings=24,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
    ),
    "llama, yarn positions": case(LlamaConfig, LLAMA_SIZES, rope_parameters=yarn()),
    "llama, yarn with all keys": case(
        LlamaConfig, LLAMA_SIZES, rope_parameters=yarn(beta_fast=8.0, beta_slow=2.0, mscale=0.7, mscale_all_dim=0.9)
    ),
    "llama, longrope positions": case(LlamaConfig, LLAMA_SIZES, rope_parameters=LONGROPE),
    "llama, other sizes": case(LlamaConfig, LLAMA_OTHERS),
    "mistral": case(MistralConfig, LLAMA_SIZES, sliding_window=WINDOW),
    "mistral, whole context": case(MistralConfig, LLAMA_SIZES, sliding_window=None),
    "mistral, window of one": case(MistralConfig, LLAMA_SIZES, sliding_window=1),
    "mistral, tied head": case(MistralConfig, LLAMA_SIZES, sliding_window=WINDOW, tie_word_embeddings=True),
    "mistral, yarn positions": case(MistralConfig, LLAMA_SIZES, sliding_window=WINDOW, rope_parameters=yarn()),
    "mistral, other sizes": case(MistralConfig, LLAMA_OTHERS, sliding_window=11),
    "opt": case(OPTConfig, OPT),
    "opt, own head": case(OPTConfig, OPT, tie_word_embeddings=False),
    "opt, norms after": case(OPTConfig, OPT, do_layer_norm_before=False),
    "opt, no last norm": case(OPTConfig, OPT, _remove_final_layer_norm=True),
    "opt, no biases": case(OPTConfig, OPT, enable_bias=False),
    "opt, norms without weights": case(OPTConfig, OPT, layer_norm_elementwise_affine=False),
    "opt, gelu": case(OPTConfig, OPT, activation_function="gelu"),
    "opt, other sizes": OPTConfig(
        vocab_size=101,
        hidden_size=40,
        ffn_dim=72,
        num_hidden_layers=2,
        num_attention_heads=5,
        max_position_embeddings=48,
        word_embed_proj_dim=40,
    ),
    "phi": case(PhiConfig, NEOX_SIZES),
    "phi, normed queries and keys": case(PhiConfig, NEOX_SIZES, qk_layernorm=True),
    "phi, grouped heads": case(PhiConfig, NEOX_SIZES, num_key_value_heads=1),
    "phi, tied head": case(PhiConfig, NEOX_SIZES, tie_word_embeddings=True),
    "phi, relu": case(PhiConfig, NEOX_SIZES, hidden_act="relu"),
    "phi, linear positions": case(
        PhiConfig, NEOX_SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    ),
    "phi, other sizes": case(PhiConfig, NEOX_OTHERS),
    "qwen2": case(Qwen2Config, LLAMA_SIZES),
    "qwen2, tied head": case(Qwen2Config, LLAMA_SIZES, tie_word_embeddings=True),
    "qwen2, windows from layer 1": case(
        Qwen2Config, LLAMA_SIZES, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
    ),
    "qwen2, windows by layer": case(
        Qwen2Config,
        LLAMA_SIZES,
        use_sliding_window=True,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "qwen2, yarn positions": case(Qwen2Config, LLAMA_SIZES, rope_parameters=yarn()),
    "qwen2, other sizes": case(Qwen2Config, LLAMA_OTHERS),
    "qwen3": case(Qwen3Config, LLAMA_SIZES, head_dim=16),
    "qwen3, tied head": case(Qwen3Config, LLAMA_SIZES, head_dim=16, tie_word_embeddings=True),
    "qwen3, biases": case(Qwen3Config, LLAMA_SIZES, head_dim=16, attention_bias=True),
    "qwen3, windows from layer 1": case(
        Qwen3Config, LLAMA_SIZES, head_dim=16, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
    ),
    "qwen3, yarn positions": case(Qwen3Config, LLAMA_SIZES, head_dim=16, rope_parameters=yarn()),
    "qwen3, other sizes": case(Qwen3Config, LLAMA_OTHERS),
}

LEFT_OUT = {("gpt2", "bias")}
"""Options of `Config` that transformers does not have; nanoGPT's checkpoints are compared with its own code."""


def as_json(config):
    """What transformers writes into config.json, all keys of it."""
    return json.loads(config.to_json_string(use_diff=False))


def plain():
    """The first case of each family, by `model_type`."""
    first = {}
    for config in CASES.values():
        first.setdefault(config.model_type, config)
    return first
