"""The Phi family (Phi-1 to Phi-2); it refuses a config.json that asks for other mathematics.

Shape suffixes: B batch, T tokens, V vocabulary, N query heads, G key-value heads, H head dim, R rotated dims
of a head, D model dim.
Field and tensor names are those of Hugging Face transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from assay.build.config_fields import ConfigFields
from assay.build.nn.activations import ACTIVATIONS
from assay.build.nn.attention import causal_attention
from assay.build.nn.kv_cache import Kind, KVCache
from assay.build.nn.kv_cache_layers import new_kv_cache
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
    max_position_embeddings: int
    layer_norm_eps: float
    hidden_act: str
    rope_theta: float
    rope_scaling: RopeScaling
    qk_layernorm: bool
    tie_word_embeddings: bool

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json as transformers 4 and 5 write it. Raises CheckpointError."""
        fields = ConfigFields("phi", config)
        fields.only("quantization_config", None, "quantised weights")
        fields.only("is_encoder_decoder", False, "an encoder")
        fields.only("add_cross_attention", False, "cross attention")
        hidden_size = fields.integer("hidden_size", 2048)
        heads = fields.integer("num_attention_heads", 32)
        positions = fields.integer("max_position_embeddings", 2048)
        theta, scaling = read_rope(fields, positions, partial=0.5)
        read = cls(
            vocab_size=fields.integer("vocab_size", 51200),
            hidden_size=hidden_size,
            intermediate_size=fields.integer("intermediate_size", 8192),
            num_hidden_layers=fields.integer("num_hidden_layers", 24),
            num_attention_heads=heads,
            num_key_value_heads=fields.integer("num_key_value_heads", heads),
            max_position_embeddings=positions,
            layer_norm_eps=fields.number("layer_norm_eps", 1e-5),
            hidden_act=fields.choice("hidden_act", ACTIVATIONS, "gelu_new"),
            rope_theta=theta,
            rope_scaling=scaling,
            qk_layernorm=fields.flag("qk_layernorm", False),
            tie_word_embeddings=fields.flag("tie_word_embeddings", False),
        )
        fields.finish()
        rotated = int(hidden_size // heads * scaling.partial_rotary_factor)
        if hidden_size % heads or heads % read.num_key_value_heads or rotated % 2 or rotated < 2:
            raise CheckpointError(
                "read a phi config.json",
                f"hidden_size = {hidden_size} over {heads} heads, {read.num_key_value_heads} of them with keys, "
                f"{rotated} dimensions of each rotated",
                "The heads must divide the width, the key-value heads the heads, and the rotated dimensions be even",
            )
        return read


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on."""
    return Contract(
        architecture="phi",
        context_length=config.rope_scaling.context_length(config.max_position_embeddings),
        sliding_window=Absent(reason="phi attends to the whole context"),
        vocab_size=config.vocab_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        gated_mlp=False,
        tie_word_embeddings=config.tie_word_embeddings,
        dtype=dtype,
    )


def transposed_tensors(config: Config) -> frozenset[str]:
    """Tensors that a checkpoint stores as `[in, out]`: none."""
    return frozenset()


class Attention(nn.Module):
    """Causal attention with rotary positions in a part of each head, biases everywhere, and norms where asked for."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        D, H = config.hidden_size, config.hidden_size // config.num_attention_heads
        self.q_proj = nn.Linear(D, self.num_heads * H)
        self.k_proj = nn.Linear(D, self.num_kv_heads * H)
        self.v_proj = nn.Linear(D, self.num_kv_heads * H)
        self.dense = nn.Linear(self.num_heads * H, D)
        self.normed = config.qk_layernorm
        if self.normed:
            self.q_layernorm = nn.LayerNorm(H, config.layer_norm_eps)
            self.k_layernorm = nn.LayerNorm(H, config.layer_norm_eps)

    def forward(
        self, x_BTD: Tensor, cos_TR: Tensor, sin_TR: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None
    ) -> Tensor:
        """Attend from `[B, T, D]` to the cache and itself."""
        B, T, D = x_BTD.shape
        q_BNTH = self.q_proj(x_BTD).view(B, T, self.num_heads, D // self.num_heads).transpose(1, 2)
        k_BGTH = self.k_proj(x_BTD).view(B, T, self.num_kv_heads, D // self.num_heads).transpose(1, 2)
        v_BGTH = self.v_proj(x_BTD).view(B, T, self.num_kv_heads, D // self.num_heads).transpose(1, 2)
        if self.normed:
            q_BNTH, k_BGTH = self.q_layernorm(q_BNTH), self.k_layernorm(k_BGTH)
        q_BNTH = rotate(q_BNTH, cos_TR, sin_TR)
        k_BGTH = rotate(k_BGTH, cos_TR, sin_TR)
        if cache is not None:
            k_BGTH, v_BGTH = cache.update(self.layer, k_BGTH, v_BGTH)
        out: Tensor = self.dense(causal_attention(q_BNTH, k_BGTH, v_BGTH, mask_B1TS=mask_B1TS))
        return out


class MLP(nn.Module):
    """fc2(act(fc1(x)))."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = ACTIVATIONS[config.hidden_act]

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.fc2(self.act(self.fc1(x_BTD)))
        return out


class Layer(nn.Module):
    """Attention and MLP side by side behind one norm, both added to the stream."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config)

    def forward(
        self, x_BTD: Tensor, cos_TR: Tensor, sin_TR: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None
    ) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        normed_BTD = self.input_layernorm(x_BTD)
        out: Tensor = x_BTD + self.self_attn(normed_BTD, cos_TR, sin_TR, cache, mask_B1TS) + self.mlp(normed_BTD)
        return out


class Decoder(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_hidden_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        head_dim = config.hidden_size // config.num_attention_heads
        self.rotary = RotaryTable(head_dim, config.rope_theta, config.rope_scaling)

    def forward(self, tokens_BT: Tensor, cache: KVCache | None, padding_B: Tensor | None) -> Tensor:
        """Tokens to normalised hidden states, `[B, T, D]`; the cache grows by T."""
        T = tokens_BT.shape[1]
        start = cache.length if cache is not None else 0
        x_BTD: Tensor = self.embed_tokens(tokens_BT)
        cos_TR, sin_TR = self.rotary.slice(start, T, x_BTD, padding_B)
        mask_B1TS = None if padding_B is None else padding_mask(padding_B, start, T)
        for layer in self.layers:
            x_BTD = layer(x_BTD, cos_TR, sin_TR, cache, mask_B1TS)
        if cache is not None:
            cache.advance(T)
        out: Tensor = self.final_layernorm(x_BTD)
        return out


class Model(nn.Module):
    """A decoder with its head, which has a bias, and shares the embedding's weight where the config ties them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
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
        """An empty cache that fits this model."""
        config = self.config
        layers, heads = config.num_hidden_layers, config.num_key_value_heads
        head_dim = config.hidden_size // config.num_attention_heads
        return new_kv_cache(kind, layers, batch, capacity, heads, head_dim, dtype, device)
