"""The Qwen2 family (Qwen 1.5 to 2.5), a Llama with biases; it refuses a config.json that asks for other mathematics.

Shape suffixes: B batch, T tokens, V vocabulary, N query heads, G key-value heads, H head dim, D model dim, F MLP dim.
Field and tensor names are those of Hugging Face transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assay.build.config_fields import ConfigFields
from assay.build.nn.attention import causal_attention
from assay.build.nn.kv_cache import Kind, KVCache
from assay.build.nn.kv_cache_layers import new_mixed_kv_cache
from assay.build.nn.local_layers import chosen_windows
from assay.build.nn.norm import RMSNorm
from assay.build.nn.padding import padding_mask
from assay.build.nn.rope import RopeScaling, RotaryTable, read_rope, rotate
from assay.core.errors import CheckpointError
from assay.core.records import Absent, Contract

BASE_PREFIX = "model."
"""Prefix that checkpoints of the bare model leave out."""
IGNORED_TENSORS = ("*.rotary_emb.inv_freq",)
"""Tensors of old checkpoints that are computed and not learned."""


@dataclass(frozen=True)
class Config:
    """Fields of config.json that shape the computation."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling
    windows: tuple[int | None, ...]
    """By layer: keys that a query sees, itself included; None for the whole context."""
    tie_word_embeddings: bool

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json as transformers 4 and 5 write it. Raises CheckpointError."""
        fields = ConfigFields("qwen2", config)
        fields.choice("hidden_act", ("silu", "swish"), "silu")
        fields.only("quantization_config", None, "quantised weights")
        fields.only("is_encoder_decoder", False, "an encoder")
        fields.only("add_cross_attention", False, "cross attention")
        positions = fields.integer("max_position_embeddings", 32768)
        theta, scaling = read_rope(fields, positions)
        layers = fields.integer("num_hidden_layers", 32)
        hidden_size = fields.integer("hidden_size", 4096)
        heads = fields.integer("num_attention_heads", 32)
        read = cls(
            vocab_size=fields.integer("vocab_size", 151936),
            hidden_size=hidden_size,
            intermediate_size=fields.integer("intermediate_size", 22016),
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=fields.integer("num_key_value_heads", heads),
            head_dim=fields.integer("head_dim", max(hidden_size // heads, 1)),
            max_position_embeddings=positions,
            rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
            rope_theta=theta,
            rope_scaling=scaling,
            windows=chosen_windows(fields, layers),
            tie_word_embeddings=fields.flag("tie_word_embeddings", False),
        )
        fields.finish()
        if heads % read.num_key_value_heads or read.head_dim % 2:
            raise CheckpointError(
                "read a qwen2 config.json",
                f"{heads} heads over {read.num_key_value_heads} key-value heads of width {read.head_dim}",
                "The key-value heads must divide the heads, and the width must be even: correct config.json",
            )
        return read


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on."""
    return Contract(
        architecture="qwen2",
        context_length=config.rope_scaling.context_length(config.max_position_embeddings),
        sliding_window=next(filter(None, config.windows), Absent(reason="config.json sets no window")),
        num_sliding_layers=sum(window is not None for window in config.windows),
        vocab_size=config.vocab_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        gated_mlp=True,
        tie_word_embeddings=config.tie_word_embeddings,
        dtype=dtype,
    )


def transposed_tensors(config: Config) -> frozenset[str]:
    """Tensors that a checkpoint stores as `[in, out]`: none."""
    return frozenset()


class Attention(nn.Module):
    """Causal attention with rotary positions and shared key-value heads; biases on all but the output."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        self.window = config.windows[layer]
        D, H = config.hidden_size, config.head_dim
        self.q_proj = nn.Linear(D, self.num_heads * H)
        self.k_proj = nn.Linear(D, self.num_kv_heads * H)
        self.v_proj = nn.Linear(D, self.num_kv_heads * H)
        self.o_proj = nn.Linear(self.num_heads * H, D, bias=False)

    def forward(
        self, x_BTD: Tensor, cos_TH: Tensor, sin_TH: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None
    ) -> Tensor:
        """Attend from `[B, T, D]` to the cache and itself."""
        B, T, _ = x_BTD.shape
        q_BNTH = self.q_proj(x_BTD).view(B, T, self.num_heads, self.head_dim).transpose(1, 2)
        k_BGTH = self.k_proj(x_BTD).view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)
        v_BGTH = self.v_proj(x_BTD).view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)
        q_BNTH = rotate(q_BNTH, cos_TH, sin_TH)
        k_BGTH = rotate(k_BGTH, cos_TH, sin_TH)
        if cache is not None:
            k_BGTH, v_BGTH = cache.update(self.layer, k_BGTH, v_BGTH)
        seen_BTD = causal_attention(q_BNTH, k_BGTH, v_BGTH, window=self.window, mask_B1TS=mask_B1TS)
        out: Tensor = self.o_proj(seen_BTD)
        return out


class MLP(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        D, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(D, inner, bias=False)
        self.up_proj = nn.Linear(D, inner, bias=False)
        self.down_proj = nn.Linear(inner, D, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))
        return out


class Layer(nn.Module):
    """Attention and MLP, each behind a norm and added to the stream."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(
        self, x_BTD: Tensor, cos_TH: Tensor, sin_TH: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None
    ) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), cos_TH, sin_TH, cache, mask_B1TS)
        out: Tensor = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return out


class Decoder(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = RotaryTable(config.head_dim, config.rope_theta, config.rope_scaling)

    def forward(self, tokens_BT: Tensor, cache: KVCache | None, padding_B: Tensor | None) -> Tensor:
        """Tokens to normalised hidden states, `[B, T, D]`; the cache grows by T."""
        T = tokens_BT.shape[1]
        start = cache.length if cache is not None else 0
        x_BTD: Tensor = self.embed_tokens(tokens_BT)
        cos_TH, sin_TH = self.rotary.slice(start, T, x_BTD, padding_B)
        mask_B1TS = None if padding_B is None else padding_mask(padding_B, start, T)
        for layer in self.layers:
            x_BTD = layer(x_BTD, cos_TH, sin_TH, cache, mask_B1TS)
        if cache is not None:
            cache.advance(T)
        out: Tensor = self.norm(x_BTD)
        return out


class Model(nn.Module):
    """A decoder with its head, which shares the embedding's weight where the config ties them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self,
        tokens_BT: Tensor,
        cache: KVCache | None = None,
        last_only: bool = False,
        padding_B: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, T, V]`, or `[B, 1, V]` of the last token; positions start at the cache's length."""
        x_BTD = self.model(tokens_BT, cache, padding_B)
        logits: Tensor = self.lm_head(x_BTD[:, -1:] if last_only else x_BTD)
        return logits

    def new_cache(
        self, batch: int, capacity: int, dtype: torch.dtype, device: torch.device | str, kind: Kind = "static"
    ) -> KVCache:
        """An empty cache that fits this model: layers with a window keep that, the others all tokens."""
        config = self.config
        return new_mixed_kv_cache(
            kind, config.windows, batch, capacity, config.num_key_value_heads, config.head_dim, dtype, device
        )
