"""The OPT family, but for the sizes that embed in a width of their own (350M); it refuses other mathematics by name.

Shape suffixes: B batch, T tokens, V vocabulary, N heads, H head dim, D model dim.
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
from assay.build.nn.padding import padded_positions, padding_mask
from assay.core.errors import CheckpointError, ContractError
from assay.core.records import Absent, Contract

BASE_PREFIX = "model."
"""Prefix that checkpoints of the bare model leave out."""
IGNORED_TENSORS = ()
"""Tensors of checkpoints that are computed and not learned: none."""

_OFFSET = 2
"""Rows of the table of positions before that of position 0: Fairseq kept them for padding."""


@dataclass(frozen=True)
class Config:
    """Fields of config.json that shape the computation."""

    vocab_size: int
    hidden_size: int
    ffn_dim: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    activation_function: str
    do_layer_norm_before: bool
    remove_final_layer_norm: bool
    enable_bias: bool
    layer_norm_elementwise_affine: bool
    tie_word_embeddings: bool

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json. Raises CheckpointError."""
        fields = ConfigFields("opt", config)
        fields.only("quantization_config", None, "quantised weights")
        fields.only("is_encoder_decoder", False, "an encoder")
        fields.ignore("dropout", "layerdrop", "init_std")
        hidden_size = fields.integer("hidden_size", 768)
        fields.only("word_embed_proj_dim", hidden_size, "embeddings of another width")
        read = cls(
            vocab_size=fields.integer("vocab_size", 50272),
            hidden_size=hidden_size,
            ffn_dim=fields.integer("ffn_dim", 3072),
            num_hidden_layers=fields.integer("num_hidden_layers", 12),
            num_attention_heads=fields.integer("num_attention_heads", 12),
            max_position_embeddings=fields.integer("max_position_embeddings", 2048),
            activation_function=fields.choice("activation_function", ACTIVATIONS, "relu"),
            do_layer_norm_before=fields.flag("do_layer_norm_before", True),
            remove_final_layer_norm=fields.flag("_remove_final_layer_norm", False),
            enable_bias=fields.flag("enable_bias", True),
            layer_norm_elementwise_affine=fields.flag("layer_norm_elementwise_affine", True),
            tie_word_embeddings=fields.flag("tie_word_embeddings", True),
        )
        fields.finish()
        if hidden_size % read.num_attention_heads:
            raise CheckpointError(
                "read an opt config.json",
                f"hidden_size = {hidden_size} over num_attention_heads = {read.num_attention_heads}",
                "The heads must divide the width: correct config.json",
            )
        return read


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on."""
    return Contract(
        architecture="opt",
        context_length=config.max_position_embeddings,
        sliding_window=Absent(reason="opt attends to the whole context"),
        vocab_size=config.vocab_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        hidden_size=config.hidden_size,
        intermediate_size=config.ffn_dim,
        gated_mlp=False,
        tie_word_embeddings=config.tie_word_embeddings,
        dtype=dtype,
    )


def transposed_tensors(config: Config) -> frozenset[str]:
    """Tensors that a checkpoint stores as `[in, out]`: none."""
    return frozenset()


class Attention(nn.Module):
    """Causal attention."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_attention_heads
        D, bias = config.hidden_size, config.enable_bias
        self.q_proj = nn.Linear(D, D, bias=bias)
        self.k_proj = nn.Linear(D, D, bias=bias)
        self.v_proj = nn.Linear(D, D, bias=bias)
        self.out_proj = nn.Linear(D, D, bias=bias)

    def forward(self, x_BTD: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None) -> Tensor:
        """Attend from `[B, T, D]` to the cache and itself."""
        B, T, D = x_BTD.shape
        q_BNTH = self.q_proj(x_BTD).view(B, T, self.num_heads, D // self.num_heads).transpose(1, 2)
        k_BNTH = self.k_proj(x_BTD).view(B, T, self.num_heads, D // self.num_heads).transpose(1, 2)
        v_BNTH = self.v_proj(x_BTD).view(B, T, self.num_heads, D // self.num_heads).transpose(1, 2)
        if cache is not None:
            k_BNTH, v_BNTH = cache.update(self.layer, k_BNTH, v_BNTH)
        out: Tensor = self.out_proj(causal_attention(q_BNTH, k_BNTH, v_BNTH, mask_B1TS=mask_B1TS))
        return out


class Layer(nn.Module):
    """Attention and MLP, each added to the stream, with a norm before it or after the sum."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        D, inner, affine = config.hidden_size, config.ffn_dim, config.layer_norm_elementwise_affine
        self.norm_before = config.do_layer_norm_before
        self.self_attn = Attention(config, layer)
        self.self_attn_layer_norm = nn.LayerNorm(D, elementwise_affine=affine)
        self.fc1 = nn.Linear(D, inner, bias=config.enable_bias)
        self.fc2 = nn.Linear(inner, D, bias=config.enable_bias)
        self.final_layer_norm = nn.LayerNorm(D, elementwise_affine=affine)
        self.act = ACTIVATIONS[config.activation_function]

    def forward(self, x_BTD: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        if self.norm_before:
            x_BTD = x_BTD + self.self_attn(self.self_attn_layer_norm(x_BTD), cache, mask_B1TS)
            inner: Tensor = x_BTD + self.fc2(self.act(self.fc1(self.final_layer_norm(x_BTD))))
            return inner
        x_BTD = self.self_attn_layer_norm(x_BTD + self.self_attn(x_BTD, cache, mask_B1TS))
        out: Tensor = self.final_layer_norm(x_BTD + self.fc2(self.act(self.fc1(x_BTD))))
        return out


class Decoder(nn.Module):
    """Embeddings of tokens and positions, layers and, where they do not end with one, a last norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        D = config.hidden_size
        self.embed_tokens = nn.Embedding(config.vocab_size, D)
        self.embed_positions = nn.Embedding(config.max_position_embeddings + _OFFSET, D)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_hidden_layers))
        self.normed = config.do_layer_norm_before and not config.remove_final_layer_norm
        if self.normed:
            self.final_layer_norm = nn.LayerNorm(D, elementwise_affine=config.layer_norm_elementwise_affine)

    def forward(self, tokens_BT: Tensor, cache: KVCache | None, padding_B: Tensor | None) -> Tensor:
        """Tokens to hidden states, `[B, T, D]`; the cache grows by T.

        Raises:
            ContractError: a position is beyond the learned ones.
        """
        T = tokens_BT.shape[1]
        start = cache.length if cache is not None else 0
        learned = self.embed_positions.num_embeddings - _OFFSET
        if start + T > learned:
            raise ContractError(
                f"read token {start + T} of a sequence",
                f"the model has {learned} learned positions",
                "Ask for fewer tokens",
            )
        mask_B1TS = None
        positions: Tensor = self.embed_positions.weight[start + _OFFSET : start + _OFFSET + T]
        if padding_B is not None:
            positions = self.embed_positions(padded_positions(padding_B, start, T) + _OFFSET)
            mask_B1TS = padding_mask(padding_B, start, T)
        x_BTD: Tensor = self.embed_tokens(tokens_BT) + positions
        for layer in self.layers:
            x_BTD = layer(x_BTD, cache, mask_B1TS)
        if cache is not None:
            cache.advance(T)
        return self.final_layer_norm(x_BTD) if self.normed else x_BTD


class Base(nn.Module):
    """What transformers calls the model of a decoder: a name in the names of its tensors."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.decoder = Decoder(config)


class Model(nn.Module):
    """A decoder with its head, which shares the embedding's weight where the config ties them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model = Base(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.decoder.embed_tokens.weight

    def forward(
        self,
        tokens_BT: Tensor,
        cache: KVCache | None = None,
        last_only: bool = False,
        padding_B: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, T, V]`, or `[B, 1, V]` of the last token; positions start at the cache's length."""
        x_BTD = self.model.decoder(tokens_BT, cache, padding_B)
        logits: Tensor = self.lm_head(x_BTD[:, -1:] if last_only else x_BTD)
        return logits

    def new_cache(
        self, batch: int, capacity: int, dtype: torch.dtype, device: torch.device | str, kind: Kind = "static"
    ) -> KVCache:
        """An empty cache that fits this model."""
        config = self.config
        layers, heads = config.num_hidden_layers, config.num_attention_heads
        return new_kv_cache(kind, layers, batch, capacity, heads, config.hidden_size // heads, dtype, device)
