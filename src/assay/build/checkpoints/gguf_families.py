"""How llama.cpp writes each family: names, stored layout and metadata, turned back into Hugging Face's.

It refuses tensors that it cannot name and metadata that would change the numbers and that no family here computes.
The layouts follow llama.cpp's converter (`conversion/`): rows of llama's q and k are permuted for its rotary
embedding, gpt2's Conv1D weights are transposed, gptneox's queries, keys and values lie apart and not head
by head, and the norms of gemma2 and gemma3 are stored plus one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from assay.build.checkpoints.gguf_fields import ROPE_FREQS, Fields, Floats

Stored = Literal["as is", "transposed", "rows permuted", "parts apart", "plus one"]

_BLOCK = re.compile(r"blk\.(0|[1-9]\d*)\.(.+)\.(weight|bias)")


@dataclass(frozen=True)
class Family:
    """One `general.architecture`: its names and its config. `{}` stands for the number of the layer."""

    outer: Mapping[str, str]
    """GGUF name without its ending to Hugging Face name without its ending, outside of the layers."""
    layer: Mapping[str, str]
    """The same inside a layer, behind `blk.N.`."""
    layer_prefix: str
    stored: Mapping[str, Stored]
    """Layout in the file by inner GGUF name (`attn_q`), where it is not Hugging Face's; `plus one` also outside."""
    config: Callable[[Fields], dict[str, Any]]
    constants: frozenset[str] = frozenset()
    """Tensors that `config` reads and that no model has."""

    def translate(self, name: str) -> tuple[str, Stored] | None:
        """Hugging Face's name of a tensor and its layout in the file; None where the family has no such tensor."""
        if match := _BLOCK.fullmatch(name):
            number, inner, ending = match.groups()
            if inner not in self.layer:
                return None
            return f"{self.layer_prefix}.{number}.{self.layer[inner]}.{ending}", self.stored.get(inner, "as is")
        inner, _, ending = name.rpartition(".")
        if inner not in self.outer or ending not in ("weight", "bias"):
            return None
        return f"{self.outer[inner]}.{ending}", self.stored.get(inner, "as is")


class StoredNames:
    """GGUF's names of one architecture's tensors, from Hugging Face's: the inverse of `Family.translate`."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._outer = {theirs: ours for ours, theirs in family.outer.items()}
        self._layer = {theirs: ours for ours, theirs in family.layer.items()}
        self._in_layer = re.compile(re.escape(family.layer_prefix) + r"\.(\d+)\.(.+)\.(weight|bias)")

    def translate(self, name: str) -> tuple[str, Stored] | None:
        """GGUF's name of a tensor and its layout in the file; None where the architecture has no such tensor."""
        if match := self._in_layer.fullmatch(name):
            number, theirs, ending = match.groups()
            inner = self._layer.get(theirs)
            ours = f"blk.{number}.{inner}.{ending}"
        else:
            theirs, _, ending = name.rpartition(".")
            inner = self._outer.get(theirs)
            ours = f"{inner}.{ending}"
        return None if inner is None else (ours, self._family.stored.get(inner, "as is"))


def stored_names(architecture: str) -> StoredNames:
    """The names of one `general.architecture` of `FAMILIES`."""
    return StoredNames(FAMILIES[architecture])


def restore(values: Floats, stored: Stored, heads: int) -> Floats:
    """Undo the converter's layout; `heads` is the number of heads of a tensor whose rows are in another order."""
    match stored:
        case "transposed":
            return np.ascontiguousarray(values.T) if values.ndim == 2 else values
        case "rows permuted":
            split = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
            return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(values.shape)
        case "parts apart":
            split = values.reshape(3, heads, values.shape[0] // heads // 3, *values.shape[1:])
            return np.ascontiguousarray(split.swapaxes(0, 1)).reshape(values.shape)
        case "plus one":
            return values - np.float32(1)
        case _:
            return values


def _llama_like(fields: Fields) -> dict[str, Any]:
    heads, hidden = fields.whole("attention.head_count"), fields.whole("embedding_length")
    return fields.common() | {
        "hidden_size": hidden,
        "intermediate_size": fields.whole("feed_forward_length"),
        "num_hidden_layers": fields.whole("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.whole("attention.head_count_kv", heads),
        "head_dim": fields.whole("attention.key_length", max(hidden // heads, 1)),
        "max_position_embeddings": fields.whole("context_length"),
        "rms_norm_eps": fields.real("attention.layer_norm_rms_epsilon"),
        "rope_scaling": fields.rope_scaling(),
        "attention_bias": fields.has("blk.0.attn_q.bias"),
    }


def _llama(fields: Fields) -> dict[str, Any]:
    config = _llama_like(fields)
    rotated = fields.whole("rope.dimension_count", config["head_dim"])
    if rotated != config["head_dim"]:
        raise fields.fail(f"{rotated} of {config['head_dim']} dimensions of a head are rotated: llama rotates all")
    return config | {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "mlp_bias": fields.has("blk.0.ffn_up.bias"),
        "rope_theta": fields.real("rope.freq_base", 10000.0),
    }


_GEMMA2_27B_LAYERS = 46


def _gemma2(fields: Fields) -> dict[str, Any]:
    config = _llama_like(fields)
    layers = config["num_hidden_layers"]
    # llama.cpp writes no query scale: the largest model alone divides by the model's width per head.
    per_head = config["hidden_size"] // config["num_attention_heads"]
    return config | {
        "model_type": "gemma2",
        "architectures": ["Gemma2ForCausalLM"],
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": per_head if layers == _GEMMA2_27B_LAYERS else config["head_dim"],
        "sliding_window": fields.whole("attention.sliding_window", 4096),
        "layer_types": ["full_attention" if layer % 2 else "sliding_attention" for layer in range(layers)],
        "rope_theta": fields.real("rope.freq_base", 10000.0),
        "attn_logit_softcapping": fields.real("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": fields.real("final_logit_softcapping", 30.0),
    }


def _qwen2(fields: Fields) -> dict[str, Any]:
    config = _llama_like(fields)
    del config["attention_bias"]
    return config | {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_act": "silu",
        "rope_theta": fields.real("rope.freq_base", 10000.0),
        "use_sliding_window": False,
    }


def _qwen3(fields: Fields) -> dict[str, Any]:
    return _llama_like(fields) | {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_act": "silu",
        "rope_theta": fields.real("rope.freq_base", 10000.0),
        "use_sliding_window": False,
    }


def _with_layer_norms(fields: Fields) -> dict[str, Any]:
    heads, hidden = fields.whole("attention.head_count"), fields.whole("embedding_length")
    return fields.common() | {
        "hidden_size": hidden,
        "intermediate_size": fields.whole("feed_forward_length"),
        "num_hidden_layers": fields.whole("block_count"),
        "num_attention_heads": heads,
        "max_position_embeddings": fields.whole("context_length"),
        "layer_norm_eps": fields.real("attention.layer_norm_epsilon"),
        "rope_scaling": fields.rope_scaling(),
    }


def _gptneox(fields: Fields) -> dict[str, Any]:
    config = _with_layer_norms(fields)
    return config | {
        "model_type": "gpt_neox",
        "architectures": ["GPTNeoXForCausalLM"],
        "hidden_act": "gelu",
        "use_parallel_residual": fields.flag("use_parallel_residual", True),
        "attention_bias": fields.has("blk.0.attn_qkv.bias"),
        "rotary_emb_base": fields.real("rope.freq_base", 10000.0),
        "rotary_pct": fields.rotated_share(max(config["hidden_size"] // config["num_attention_heads"], 1)),
    }


def _phi2(fields: Fields) -> dict[str, Any]:
    config = _with_layer_norms(fields)
    return config | {
        "model_type": "phi",
        "architectures": ["PhiForCausalLM"],
        "hidden_act": "gelu_new",
        "num_key_value_heads": fields.whole("attention.head_count_kv", config["num_attention_heads"]),
        "rope_theta": fields.real("rope.freq_base", 10000.0),
        "partial_rotary_factor": fields.rotated_share(max(config["hidden_size"] // config["num_attention_heads"], 1)),
    }


_GEMMA3_PATTERN = 6
_GEMMA3_27B_LAYERS = 62


def _gemma3(fields: Fields) -> dict[str, Any]:
    config = _llama_like(fields)
    layers = config["num_hidden_layers"]
    pattern = fields.whole("attention.sliding_window_pattern", _GEMMA3_PATTERN)
    # llama.cpp writes no query scale: the largest model alone divides by the model's width per head.
    per_head = config["hidden_size"] // config["num_attention_heads"]
    return config | {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": per_head if layers == _GEMMA3_27B_LAYERS else config["head_dim"],
        "sliding_window": fields.whole("attention.sliding_window"),
        "sliding_window_pattern": pattern,
        "layer_types": ["sliding_attention" if (layer + 1) % pattern else "full_attention" for layer in range(layers)],
        "rope_theta": fields.real("rope.freq_base", 1000000.0),
        "rope_local_base_freq": fields.real("rope.freq_base_swa", 10000.0),
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    }


def _gpt2(fields: Fields) -> dict[str, Any]:
    return fields.common() | {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": fields.whole("embedding_length"),
        "n_layer": fields.whole("block_count"),
        "n_head": fields.whole("attention.head_count"),
        "n_positions": fields.whole("context_length"),
        "n_inner": fields.whole("feed_forward_length"),
        "layer_norm_epsilon": fields.real("attention.layer_norm_epsilon"),
        "activation_function": "gelu_new",
    }


_LLAMA_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LLAMA_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_GEMMA2_LAYER = _LLAMA_LAYER | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_GEMMA3_LAYER = _GEMMA2_LAYER | {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_GEMMA3_NORMS = ("attn_norm", "attn_q_norm", "attn_k_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")

FAMILIES = MappingProxyType(
    {
        "llama": Family(
            _LLAMA_OUTER,
            _LLAMA_LAYER | {"ffn_norm": "post_attention_layernorm"},
            "model.layers",
            {"attn_q": "rows permuted", "attn_k": "rows permuted"},
            _llama,
            frozenset({ROPE_FREQS}),
        ),
        "qwen2": Family(
            _LLAMA_OUTER,
            _LLAMA_LAYER | {"ffn_norm": "post_attention_layernorm"},
            "model.layers",
            {},
            _qwen2,
            frozenset({ROPE_FREQS}),
        ),
        "qwen3": Family(
            _LLAMA_OUTER,
            _LLAMA_LAYER
            | {
                "ffn_norm": "post_attention_layernorm",
                "attn_q_norm": "self_attn.q_norm",
                "attn_k_norm": "self_attn.k_norm",
            },
            "model.layers",
            {},
            _qwen3,
            frozenset({ROPE_FREQS}),
        ),
        "gptneox": Family(
            {"token_embd": "gpt_neox.embed_in", "output_norm": "gpt_neox.final_layer_norm", "output": "embed_out"},
            {
                "attn_norm": "input_layernorm",
                "attn_qkv": "attention.query_key_value",
                "attn_output": "attention.dense",
                "ffn_norm": "post_attention_layernorm",
                "ffn_up": "mlp.dense_h_to_4h",
                "ffn_down": "mlp.dense_4h_to_h",
            },
            "gpt_neox.layers",
            {"attn_qkv": "parts apart"},
            _gptneox,
        ),
        "phi2": Family(
            {"token_embd": "model.embed_tokens", "output_norm": "model.final_layernorm", "output": "lm_head"},
            {
                "attn_norm": "input_layernorm",
                "attn_q": "self_attn.q_proj",
                "attn_k": "self_attn.k_proj",
                "attn_v": "self_attn.v_proj",
                "attn_output": "self_attn.dense",
                "ffn_up": "mlp.fc1",
                "ffn_down": "mlp.fc2",
            },
            "model.layers",
            {},
            _phi2,
        ),
        "gemma2": Family(
            _LLAMA_OUTER,
            _GEMMA2_LAYER,
            "model.layers",
            dict.fromkeys((*_GEMMA3_NORMS, "output_norm"), "plus one"),
            _gemma2,
        ),
        "gemma3": Family(
            _LLAMA_OUTER,
            _GEMMA3_LAYER,
            "model.layers",
            dict.fromkeys((*_GEMMA3_NORMS, "output_norm"), "plus one"),
            _gemma3,
        ),
        "gpt2": Family(
            {
                "token_embd": "transformer.wte",
                "position_embd": "transformer.wpe",
                "output_norm": "transformer.ln_f",
                "output": "lm_head",
            },
            {
                "attn_norm": "ln_1",
                "attn_qkv": "attn.c_attn",
                "attn_output": "attn.c_proj",
                "ffn_norm": "ln_2",
                "ffn_up": "mlp.c_fc",
                "ffn_down": "mlp.c_proj",
            },
            "transformer.h",
            dict.fromkeys(("attn_qkv", "attn_output", "ffn_up", "ffn_down"), "transposed"),
            _gpt2,
        ),
    }
)
"""By `general.architecture`."""
