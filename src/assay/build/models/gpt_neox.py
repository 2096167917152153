"""The GPT-NeoX family (Pythia and its like); it refuses a config.json that asks for other mathematics.

Shape suffixes: B batch, T tokens, V vocabulary, N heads, H head dim, R rotated dims of a head, D model dim.
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

BASE_PREFIX = "gpt_neox."
"""Prefix that checkpoints of the bare model leave out."""
IGNORED_TENSORS = ("*.attention.bias", "*.attention.masked_bias", "*.rotary_emb.inv_freq")
"""Tensors of old checkpoints that are computed and not learned."""


@dataclass(frozen=True)
class Config:
    """Fields of config.json that shape the computation."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    layer_norm_eps: float
    hidden_act: str
    rope_theta: float
    rope_scaling: RopeScaling
    attention_bias: bool
    use_parallel_residual: bool
    tie_word_embeddings: bool

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json as transformers 4 and 5 write it. Raises CheckpointError."""
        fields = ConfigFields("gpt_neox", config)
        fields.only("quantization_config", None, "quantised weights")
        fields.only("is_encoder_decoder", False, "an encoder")
        fields.only("add_cross_attention", False, "cross attention")
        # rope_theta and partial_rotary_factor of transformers 4 repeat rotary_emb_base and rotary_pct, which are read.
        fields.ignore("classifier_dropout", "hidden_dropout", "is_decoder", "rope_theta", "partial_rotary_factor")
        hidden_size = fields.integer("hidden_size", 6144)
        heads = fields.integer("num_attention_heads", 64)
        positions = fields.integer("max_position_embeddings", 2048)
        theta, scaling = read_rope(
            fields, positions, partial=0.25, theta_key="rotary_emb_base", partial_key="rotary_pct"
        )
        read = cls(
            vocab_size=fields.integer("vocab_size", 50432),
            hidden_size=hidden_size,
            intermediate_size=fields.integer("intermediate_size", 24576),
            num_hidden_layers=fields.integer("num_hidden_layers", 44),
            num_attention_heads=heads,
            max_position_embeddings=positions,
            layer_norm_eps=fields.number("layer_norm_eps", 1e-5),
            hidden_act=fields.choice("hidden_act", ACTIVATIONS, "gelu"),
            rope_theta=theta,
            rope_scaling=scaling,
            attention_bias=fields.flag("attention_bias", True),
            use_parallel_residual=fields.flag("use_parallel_residual", True),
            tie_word_embeddings=fields.flag("tie_word_embeddings", False),
        )
        fields.finish()
        rotated = int(hidden_size // heads * scaling.partial_rotary_factor)
        if hidden_size % heads or rotated % 2 or rotated < 2:
            raise CheckpointError(
                "read a gpt_neox config.json",
                f"hidden_size = {hidden_size} over {heads} heads, {rotated} dimensions of each rotated",
                "The heads must divide the width, and the rotated dimensions must be even: correct config.json",
            )
        return read


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on."""
    return Contract(
        architecture="gpt_neox",
        context_length=config.rope_scaling.context_length(config.max_position_embeddings),
        sliding_window=Absent(reason="gpt_neox attends to the whole context"),
        vocab_size=config.vocab_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_attention_heads,
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
    """Causal attention with fused queries, keys and values, and rotary positions in a part of each head."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_attention_heads
        D, bias = config.hidden_size, config.attention_bias
        self.query_key_value = nn.Linear(D, 3 * D, bias=bias)
        self.dense = nn.Linear(D, D, bias=bias)

    def forward(
        self, x_BTD: Tensor, cos_TR: Tensor, sin_TR: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None
    ) -> Tensor:
        """Attend from `[B, T, D]` to the cache and itself."""
        B, T, D = x_BTD.shape
        # Queries, keys and values of one head lie beside each other.
        qkv = self.query_key_value(x_BTD).view(B, T, self.num_heads, 3, D // self.num_heads)
        q_BNTH, k_BNTH, v_BNTH = qkv.permute(3, 0, 2, 1, 4).unbind()
        q_BNTH = rotate(q_BNTH, cos_TR, sin_TR)
        k_BNTH = rotate(k_BNTH, cos_TR, sin_TR)
        if cache is not None:
            k_BNTH, v_BNTH = cache.update(self.layer, k_BNTH, v_BNTH)
        out: Tensor = self.dense(causal_attention(q_BNTH, k_BNTH, v_BNTH, mask_B1TS=mask_B1TS))
        return out


class MLP(nn.Module):
    """dense_4h_to_h(act(dense_h_to_4h(x)))."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = ACTIVATIONS[config.hidden_act]

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.dense_4h_to_h(self.act(self.dense_h_to_4h(x_BTD)))
        return out


class Layer(nn.Module):
    """Attention and MLP, each behind a norm of its own and added to the stream: side by side, or one after another."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.parallel = config.use_parallel_residual
        self.input_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.attention = Attention(config, layer)
        self.mlp = MLP(config)

    def forward(
        self, x_BTD: Tensor, cos_TR: Tensor, sin_TR: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None
    ) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        seen_BTD = x_BTD + self.attention(self.input_layernorm(x_BTD), cos_TR, sin_TR, cache, mask_B1TS)
        out: Tensor = seen_BTD + self.mlp(self.post_attention_layernorm(x_BTD if self.parallel else seen_BTD))
        return out


class Decoder(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_in = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_hidden_layers))
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        head_dim = config.hidden_size // config.num_attention_heads
        self.rotary = RotaryTable(head_dim, config.rope_theta, config.rope_scaling)

    def forward(self, tokens_BT: Tensor, cache: KVCache | None, padding_B: Tensor | None) -> Tensor:
        """Tokens to normalised hidden states, `[B, T, D]`; the cache grows by T."""
        T = tokens_BT.shape[1]
        start = cache.length if cache is not None else 0
        x_BTD: Tensor = self.embed_in(tokens_BT)
        cos_TR, sin_TR = self.rotary.slice(start, T, x_BTD, padding_B)
        mask_B1TS = None if padding_B is None else padding_mask(padding_B, start, T)
        for layer in self.layers:
            x_BTD = layer(x_BTD, cos_TR, sin_TR, cache, mask_B1TS)
        if cache is not None:
            cache.advance(T)
        out: Tensor = self.final_layer_norm(x_BTD)
        return out


class Model(nn.Module):
    """A decoder with its head, which shares the embedding's weight where the config ties them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.gpt_neox = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.gpt_neox.embed_in.weight

    def forward(
        self,
        tokens_BT: Tensor,
        cache: KVCache | None = None,
        last_only: bool = False,
        padding_B: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, T, V]`, or `[B, 1, V]` of the last token; positions start at the cache's length."""
        x_BTD = self.gpt_neox(tokens_BT, cache, padding_B)
        logits: Tensor = self.lm_head(x_BTD[:, -1:] if last_only else x_BTD)
        return logits

    def new_cache(
        self, batch: int, capacity: int, dtype: torch.dtype, device: torch.device | str, kind: Kind = "static"
    ) -> KVCache:
        """An empty cache that fits this model."""
        config = self.config
        layers, heads = config.num_hidden_layers, config.num_attention_heads
        head_dim = config.hidden_size // config.num_attention_heads
        return new_kv_cache(kind, layers, batch, capacity, heads, head_dim, dtype, device)
