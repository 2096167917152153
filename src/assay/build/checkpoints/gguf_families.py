"""How llama.cpp writes each family: names, stored layout and metadata, turned back into Hugging Face's.

It refuses tensors that it cannot name and metadata that would change the numbers and that no family here computes.
The layouts follow llama.cpp's converter (`conversion/`): rows of llama's q and k are permuted for its rotary
embedding, gpt2's Conv1D weights are transposed, and the norms of gemma2 and gemma3 are stored plus one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from assay.core.errors import CheckpointError, CorruptFileError

Floats = NDArray[np.float32]
Stored = Literal["as is", "transposed", "rows permuted", "plus one"]

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


class Fields:
    """Metadata of one file under its architecture's prefix, with errors that name the key."""

    def __init__(self, metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], location: str) -> None:
        self.metadata = metadata
        self.shapes = shapes
        self.location = location
        self.architecture = str(metadata["general.architecture"])

    def fail(self, found: str) -> CorruptFileError:
        """The error for metadata that cannot be true."""
        return CorruptFileError(
            f"The config of the GGUF file {self.location} was to be read", found, "Convert the model again"
        )

    def _find(self, key: str, default: Any) -> Any:
        found = self.metadata.get(f"{self.architecture}.{key}", default)
        if found is None:
            raise self.fail(f"the key '{self.architecture}.{key}' is missing")
        return found

    def whole(self, key: str, default: int | None = None) -> int:
        """A positive whole number."""
        found = self._find(key, default)
        if not isinstance(found, int) or isinstance(found, bool) or found <= 0:
            raise self.fail(f"'{self.architecture}.{key}' is {found!r}, no positive whole number")
        return found

    def real(self, key: str, default: float | None = None) -> float:
        """A positive number, as the shortest decimal that gives the stored float32."""
        found = self._find(key, default)
        if not isinstance(found, float) or not 0 < found < float("inf"):
            raise self.fail(f"'{self.architecture}.{key}' is {found!r}, no positive number")
        return float(str(np.float32(found)))

    def has(self, tensor: str) -> bool:
        """Whether the file holds a tensor of this GGUF name."""
        return tensor in self.shapes

    def rope_scaling(self) -> dict[str, Any] | None:
        """`rope_scaling` of config.json; None where positions are not scaled."""
        kind = self.metadata.get(f"{self.architecture}.rope.scaling.type", "none")
        if kind == "none":
            return None
        if kind != "linear":
            raise CheckpointError(
                f"The config of the GGUF file {self.location} was to be read",
                f"its positions are scaled by {kind!r}",
                "Assay reads GGUF files whose positions are not scaled, or scaled linearly",
            )
        return {"rope_type": "linear", "factor": self.real("rope.scaling.factor")}

    def common(self) -> dict[str, Any]:
        """Fields that every family has: vocabulary, tied embeddings, special tokens."""
        if "token_embd.weight" not in self.shapes:
            raise self.fail("the tensor 'token_embd.weight' is missing")
        fields: dict[str, Any] = {
            "vocab_size": self.shapes["token_embd.weight"][0],
            "tie_word_embeddings": not self.has("output.weight"),
        }
        for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
            found = self.metadata.get(f"tokenizer.ggml.{key}_token_id")
            if isinstance(found, int):
                fields[f"{name}_token_id"] = found
        return fields


def restore(values: Floats, stored: Stored, heads: int) -> Floats:
    """Undo the converter's layout; `heads` is the number of heads of a tensor whose rows were permuted."""
    match stored:
        case "transposed":
            return np.ascontiguousarray(values.T) if values.ndim == 2 else values
        case "rows permuted":
            split = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
            return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(values.shape)
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
