"""Gemma 3, text: local and global layers with positions of their own, normed queries and keys; it refuses other masks.

Shape suffixes: B batch, T tokens, V vocabulary, N query heads, G key-value heads, H head dim, D model dim.
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
from assay.build.nn.embedding import ScaledEmbedding
from assay.build.nn.kv_cache import Kind, KVCache
from assay.build.nn.kv_cache_layers import new_mixed_kv_cache
from assay.build.nn.local_layers import layer_rope, local_windows
from assay.build.nn.norm import WideRMSNorm
from assay.build.nn.padding import padding_mask
from assay.build.nn.rope import RopeScaling, RotaryTable, rotate
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
    rope_global: tuple[float, RopeScaling]
    """`rope_theta` of the layers that see the whole context, and how their positions are scaled."""
    rope_local: tuple[float, RopeScaling]
    """The same of the layers with a window."""
    attention_bias: bool
    query_pre_attn_scalar: float
    windows: tuple[int | None, ...]
    final_logit_softcapping: float | None
    tie_word_embeddings: bool

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json as transformers 4 and 5 write it. Raises CheckpointError."""
        fields = ConfigFields("gemma3_text", config)
        fields.choice("hidden_activation", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
        # Old files say hidden_act too, which transformers does not read for this family.
        fields.ignore("hidden_act", "cache_implementation")
        fields.only("quantization_config", None, "quantised weights")
        fields.only("is_encoder_decoder", False, "an encoder")
        fields.only("add_cross_attention", False, "cross attention")
        fields.only("use_bidirectional_attention", False, "attention to what comes after")
        fields.only("attn_logit_softcapping", None, "capped scores")
        positions = fields.integer("max_position_embeddings", 131072)
        layers = fields.integer("num_hidden_layers", 26)
        read = cls(
            vocab_size=fields.integer("vocab_size", 262208),
            hidden_size=fields.integer("hidden_size", 2304),
            intermediate_size=fields.integer("intermediate_size", 9216),
            num_hidden_layers=layers,
            num_attention_heads=fields.integer("num_attention_heads", 8),
            num_key_value_heads=fields.integer("num_key_value_heads", 4),
            head_dim=fields.integer("head_dim", 256),
            max_position_embeddings=positions,
            rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
            rope_global=layer_rope(fields, "full_attention", "rope_theta", 1000000.0, positions),
            rope_local=layer_rope(fields, "sliding_attention", "rope_local_base_freq", 10000.0, positions),
            attention_bias=fields.flag("attention_bias", False),
            query_pre_attn_scalar=fields.number("query_pre_attn_scalar", 256),
            windows=local_windows(fields, layers, 4096, fields.integer("sliding_window_pattern", 6)),
            final_logit_softcapping=fields.number_or_null("final_logit_softcapping"),
            tie_word_embeddings=fields.flag("tie_word_embeddings", True),
        )
        fields.finish()
        if read.num_attention_heads % read.num_key_value_heads or read.head_dim % 2:
            raise CheckpointError(
                "read a gemma3_text config.json",
                f"{read.num_attention_heads} heads over {read.num_key_value_heads} key-value heads of width "
                f"{read.head_dim}",
                "The key-value heads must divide the heads, and the width must be even: correct config.json",
            )
        return read


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on."""
    return Contract(
        architecture="gemma3_text",
        context_length=config.max_position_embeddings,
        sliding_window=next(filter(None, config.windows), Absent(reason="no layer has a window")),
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
    """Causal attention with normed queries and keys, rotary positions and, in local layers, a window."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        self.scale = config.query_pre_attn_scalar**-0.5
        self.window = config.windows[layer]
        D, H, bias = config.hidden_size, config.head_dim, config.attention_bias
        self.q_proj = nn.Linear(D, self.num_heads * H, bias=bias)
        self.k_proj = nn.Linear(D, self.num_kv_heads * H, bias=bias)
        self.v_proj = nn.Linear(D, self.num_kv_heads * H, bias=bias)
        self.o_proj = nn.Linear(self.num_heads * H, D, bias=bias)
        self.q_norm = WideRMSNorm(H, config.rms_norm_eps, offset=1)
        self.k_norm = WideRMSNorm(H, config.rms_norm_eps, offset=1)

    def forward(
        self, x_BTD: Tensor, cos_TH: Tensor, sin_TH: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None
    ) -> Tensor:
        """Attend from `[B, T, D]` to the cache and itself."""
        B, T, _ = x_BTD.shape
        q_BNTH = self.q_proj(x_BTD).view(B, T, self.num_heads, self.head_dim).transpose(1, 2)
        k_BGTH = self.k_proj(x_BTD).view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)
        v_BGTH = self.v_proj(x_BTD).view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)
        q_BNTH = rotate(self.q_norm(q_BNTH), cos_TH, sin_TH)
        k_BGTH = rotate(self.k_norm(k_BGTH), cos_TH, sin_TH)
        if cache is not None:
            k_BGTH, v_BGTH = cache.update(self.layer, k_BGTH, v_BGTH)
        out_BTD: Tensor = self.o_proj(
            causal_attention(q_BNTH, k_BGTH, v_BGTH, scale=self.scale, window=self.window, mask_B1TS=mask_B1TS)
        )
        return out_BTD


class MLP(nn.Module):
    """down(gelu(gate(x)) * up(x))."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        D, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(D, inner, bias=False)
        self.up_proj = nn.Linear(D, inner, bias=False)
        self.down_proj = nn.Linear(inner, D, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.down_proj(F.gelu(self.gate_proj(x_BTD), approximate="tanh") * self.up_proj(x_BTD))
        return out


class Layer(nn.Module):
    """Attention and MLP, each between two norms and added to the stream."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        D, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = WideRMSNorm(D, eps, offset=1)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = WideRMSNorm(D, eps, offset=1)
        self.pre_feedforward_layernorm = WideRMSNorm(D, eps, offset=1)
        self.mlp = MLP(config)
        self.post_feedforward_layernorm = WideRMSNorm(D, eps, offset=1)

    def forward(
        self, x_BTD: Tensor, cos_TH: Tensor, sin_TH: Tensor, cache: KVCache | None, mask_B1TS: Tensor | None
    ) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        attended_BTD = self.self_attn(self.input_layernorm(x_BTD), cos_TH, sin_TH, cache, mask_B1TS)
        x_BTD = x_BTD + self.post_attention_layernorm(attended_BTD)
        out: Tensor = x_BTD + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x_BTD)))
        return out


class Decoder(nn.Module):
    """Scaled embedding, layers, norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = ScaledEmbedding(config.vocab_size, config.hidden_size, config.hidden_size**0.5)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = WideRMSNorm(config.hidden_size, config.rms_norm_eps, offset=1)
        self.windows = config.windows
        self.rotary_global = RotaryTable(config.head_dim, *config.rope_global)
        self.rotary_local = RotaryTable(config.head_dim, *config.rope_local)

    def forward(self, tokens_BT: Tensor, cache: KVCache | None, padding_B: Tensor | None) -> Tensor:
        """Tokens to normalised hidden states, `[B, T, D]`; the cache grows by T."""
        T = tokens_BT.shape[1]
        start = cache.length if cache is not None else 0
        x_BTD: Tensor = self.embed_tokens(tokens_BT)
        far = self.rotary_global.slice(start, T, x_BTD, padding_B)
        near = self.rotary_local.slice(start, T, x_BTD, padding_B)
        mask_B1TS = None if padding_B is None else padding_mask(padding_B, start, T)
        for layer, window in zip(self.layers, self.windows, strict=True):
            cos_TH, sin_TH = far if window is None else near
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
        cap = self.config.final_logit_softcapping
        return logits if cap is None else (logits / cap).tanh() * cap

    def new_cache(
        self, batch: int, capacity: int, dtype: torch.dtype, device: torch.device | str, kind: Kind = "static"
    ) -> KVCache:
        """An empty cache that fits this model: local layers keep their window, global ones all tokens."""
        config = self.config
        return new_mixed_kv_cache(
            kind, config.windows, batch, capacity, config.num_key_value_heads, config.head_dim, dtype, device
        )
