"""The GPT-2 family, nanoGPT's models without biases included; it refuses configs that ask for other mathematics.

Shape suffixes: B batch, T tokens, V vocabulary, N heads, H head dim, D model dim.
Field and tensor names are those of Hugging Face transformers. Its checkpoints store the layers' matrices as
`[in, out]`; here they are ordinary linear layers, and `transposed_tensors` names them.
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
from assay.build.nn.kv_cache_layers import new_kv_cache
from assay.build.nn.padding import padded_positions, padding_mask
from assay.core.errors import CheckpointError, ContractError
from assay.core.records import Absent, Contract

BASE_PREFIX = "transformer."
"""Prefix that checkpoints of the bare model leave out."""
IGNORED_TENSORS = ("*.attn.bias", "*.attn.masked_bias")
"""Tensors of old checkpoints that are causal masks and not learned."""

_GELU = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}
_UNUSED_KEYS = (
    "n_ctx",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
)
"""Keys of classification heads and older versions, which no language model reads."""


@dataclass(frozen=True)
class Config:
    """Fields of config.json that shape the computation."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int
    activation_function: str
    layer_norm_epsilon: float
    tie_word_embeddings: bool
    bias: bool
    """False for nanoGPT's models that have no bias in any norm or linear layer."""

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json. Raises CheckpointError."""
        fields = ConfigFields("gpt2", config)
        fields.only("scale_attn_weights", True, "unscaled attention")
        fields.only("scale_attn_by_inverse_layer_idx", False, "attention scaled by layer")
        fields.only("add_cross_attention", False, "cross attention")
        fields.only("is_encoder_decoder", False, "an encoder")
        fields.only("quantization_config", None, "quantised weights")
        fields.only("reorder_and_upcast_attn", False, "attention in float32")
        fields.ignore(*_UNUSED_KEYS)
        n_embd = fields.integer("n_embd", 768)
        read = cls(
            vocab_size=fields.integer("vocab_size", 50257),
            n_positions=fields.integer("n_positions", 1024),
            n_embd=n_embd,
            n_layer=fields.integer("n_layer", 12),
            n_head=fields.integer("n_head", 12),
            n_inner=fields.integer("n_inner", 4 * n_embd),
            activation_function=fields.choice("activation_function", _GELU, "gelu_new"),
            layer_norm_epsilon=fields.number("layer_norm_epsilon", 1e-5),
            tie_word_embeddings=fields.flag("tie_word_embeddings", True),
            bias=fields.flag("bias", True),
        )
        fields.finish()
        if n_embd % read.n_head:
            raise CheckpointError(
                "read a gpt2 config.json",
                f"n_embd = {n_embd} over n_head = {read.n_head}",
                "The heads must divide the width: correct config.json",
            )
        return read


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on."""
    return Contract(
        architecture="gpt2",
        context_length=config.n_positions,
        sliding_window=Absent(reason="gpt2 attends to the whole context"),
        vocab_size=config.vocab_size,
        num_hidden_layers=config.n_layer,
        num_attention_heads=config.n_head,
        num_key_value_heads=config.n_head,
        head_dim=config.n_embd // config.n_head,
        hidden_size=config.n_embd,
        intermediate_size=config.n_inner,
        gated_mlp=False,
        tie_word_embeddings=config.tie_word_embeddings,
        dtype=dtype,
    )


def transposed_tensors(config: Config) -> frozenset[str]:
    """Tensors that a checkpoint stores as `[in, out]`."""
    matrices = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    return frozenset(f"transformer.h.{layer}.{name}.weight" for layer in range(config.n_layer) for name in matrices)


class Attention(nn.Module):
    """Causal attention with fused queries, keys and values."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x_BTD: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None) -> Tensor:
        """Attend from `[B, T, D]` to the cache and itself."""
        B, T, D = x_BTD.shape
        qkv = self.c_attn(x_BTD).view(B, T, 3, self.num_heads, D // self.num_heads)
        q_BNTH, k_BNTH, v_BNTH = qkv.permute(2, 0, 3, 1, 4).unbind()
        if cache is not None:
            k_BNTH, v_BNTH = cache.update(self.layer, k_BNTH, v_BNTH)
        out: Tensor = self.c_proj(causal_attention(q_BNTH, k_BNTH, v_BNTH, mask_B1TS=mask_B1TS))
        return out


class MLP(nn.Module):
    """c_proj(gelu(c_fc(x)))."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, config.n_inner, bias=config.bias)
        self.c_proj = nn.Linear(config.n_inner, config.n_embd, bias=config.bias)
        self.approximate = _GELU[config.activation_function]

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.c_proj(F.gelu(self.c_fc(x_BTD), approximate=self.approximate))
        return out


class Layer(nn.Module):
    """Attention and MLP, each behind a norm and added to the stream."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon, bias=config.bias)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x_BTD: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        x_BTD = x_BTD + self.attn(self.ln_1(x_BTD), cache, mask_B1TS)
        out: Tensor = x_BTD + self.mlp(self.ln_2(x_BTD))
        return out


class Decoder(nn.Module):
    """Embeddings of tokens and positions, layers and last norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.h = nn.ModuleList(Layer(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon, bias=config.bias)

    def forward(self, tokens_BT: Tensor, cache: KVCache | None, padding_B: Tensor | None) -> Tensor:
        """Tokens to normalised hidden states, `[B, T, D]`; the cache grows by T.

        Raises:
            ContractError: a position is beyond the learned ones.
        """
        T = tokens_BT.shape[1]
        start = cache.length if cache is not None else 0
        if start + T > self.wpe.num_embeddings:
            raise ContractError(
                f"read token {start + T} of a sequence",
                f"the model has {self.wpe.num_embeddings} learned positions",
                "Ask for fewer tokens",
            )
        mask_B1TS = None
        positions: Tensor = self.wpe.weight[start : start + T]
        if padding_B is not None:
            positions = self.wpe(padded_positions(padding_B, start, T))
            mask_B1TS = padding_mask(padding_B, start, T)
        x_BTD: Tensor = self.wte(tokens_BT) + positions
        for layer in self.h:
            x_BTD = layer(x_BTD, cache, mask_B1TS)
        if cache is not None:
            cache.advance(T)
        out: Tensor = self.ln_f(x_BTD)
        return out


class Model(nn.Module):
    """A decoder with its head, which shares the embedding's weight where the config ties them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = Decoder(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight

    def forward(
        self,
        tokens_BT: Tensor,
        cache: KVCache | None = None,
        last_only: bool = False,
        padding_B: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, T, V]`, or `[B, 1, V]` of the last token; positions start at the cache's length."""
        x_BTD = self.transformer(tokens_BT, cache, padding_B)
        logits: Tensor = self.lm_head(x_BTD[:, -1:] if last_only else x_BTD)
        return logits

    def new_cache(
        self, batch: int, capacity: int, dtype: torch.dtype, device: torch.device | str, kind: Kind = "static"
    ) -> KVCache:
        """An empty cache that fits this model."""
        config = self.config
        return new_kv_cache(
            kind, config.n_layer, batch, capacity, config.n_head, config.n_embd // config.n_head, dtype, device
        )
