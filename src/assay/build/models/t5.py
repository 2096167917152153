"""T5 (1.0, 1.1 and Flan): an encoder that reads the source, a decoder that writes; it refuses other mathematics.

The prompt is the source. The first pass into an empty cache encodes it and gives the decoder its start token; what is
appended behind it goes to the decoder. Without a cache the decoder is given the source itself, every position seeing
those before it: a window is scored so, with the logits of position t for token t + 1.

Shape suffixes: B batch, S tokens of the source, T tokens of the decoder or of either, K keys, V vocabulary, N heads,
H head dim, D model dim. Field and tensor names are those of Hugging Face transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assay.build.config_fields import ConfigFields
from assay.build.nn.activations import ACTIVATIONS
from assay.build.nn.kv_cache import Kind
from assay.build.nn.kv_cache_cross import EncoderDecoderKVCache
from assay.build.nn.norm import RMSNorm
from assay.core.errors import CheckpointError
from assay.core.records import Absent, Contract

BASE_PREFIX = ""
"""Prefix that checkpoints of the bare model leave out: none."""
IGNORED_TENSORS = (
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "*.EncDecAttention.relative_attention*",
)
"""Copies of the shared embedding, and a table of old checkpoints that nothing reads."""

_FEED_FORWARD = {
    "relu": ("relu", False),
    "gelu": ("gelu", False),
    "gelu_new": ("gelu_new", False),
    "gated-gelu": ("gelu_new", True),
    "gated-relu": ("relu", True),
    "gated-silu": ("silu", True),
}
"""Activation and gate by `feed_forward_proj`; `gated-gelu` means the tanh form."""


@dataclass(frozen=True)
class Config:
    """Fields of config.json that shape the computation."""

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_decoder_layers: int
    num_heads: int
    n_positions: int
    """Longest sequence that is asked of it; positions are relative and set no limit of their own."""
    relative_attention_num_buckets: int
    relative_attention_max_distance: int
    layer_norm_epsilon: float
    activation: str
    gated: bool
    tie_word_embeddings: bool
    scale_decoder_outputs: bool
    decoder_start_token_id: int

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json. Raises CheckpointError."""
        fields = ConfigFields("t5", config)
        fields.only("is_encoder_decoder", True, "one half alone")
        fields.ignore(
            "classifier_dropout", "decoder_start_token_id", "dense_act_fn", "dropout_rate", "initializer_factor",
            "is_gated_act", "output_past", "pad_token_id",
        )  # fmt: skip
        activation, gated = _FEED_FORWARD[fields.choice("feed_forward_proj", _FEED_FORWARD, "relu")]
        layers = fields.integer("num_layers", 6)
        tied = fields.flag("tie_word_embeddings", True)
        start = config.get("decoder_start_token_id", config.get("pad_token_id", 0))
        read = cls(
            vocab_size=fields.integer("vocab_size", 32128),
            d_model=fields.integer("d_model", 512),
            d_kv=fields.integer("d_kv", 64),
            d_ff=fields.integer("d_ff", 2048),
            num_layers=layers,
            num_decoder_layers=fields.integer("num_decoder_layers", layers),
            num_heads=fields.integer("num_heads", 8),
            n_positions=fields.integer("n_positions", 512),
            relative_attention_num_buckets=fields.integer("relative_attention_num_buckets", 32),
            relative_attention_max_distance=fields.integer("relative_attention_max_distance", 128),
            layer_norm_epsilon=fields.number("layer_norm_epsilon", 1e-6),
            activation=activation,
            gated=gated,
            tie_word_embeddings=tied,
            scale_decoder_outputs=fields.flag("scale_decoder_outputs", tied),
            decoder_start_token_id=0 if start is None else start,
        )
        fields.finish()
        token = read.decoder_start_token_id
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < read.vocab_size:
            raise CheckpointError(
                "read a t5 config.json",
                f"the decoder starts with {token!r}, no id of a vocabulary of {read.vocab_size}",
                "Correct decoder_start_token_id",
            )
        buckets, distance = read.relative_attention_num_buckets, read.relative_attention_max_distance
        if buckets < 4 or buckets % 4 or distance <= buckets // 2:
            raise CheckpointError(
                "read a t5 config.json",
                f"{buckets} buckets of relative positions up to {distance}",
                "The buckets must be a multiple of 4, and the distance more than half of them: correct config.json",
            )
        return read


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on; layers are the decoder's."""
    return Contract(
        architecture="t5",
        context_length=config.n_positions,
        sliding_window=Absent(reason="t5 attends to the whole source and to all that it wrote"),
        vocab_size=config.vocab_size,
        num_hidden_layers=config.num_decoder_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_heads,
        head_dim=config.d_kv,
        hidden_size=config.d_model,
        intermediate_size=config.d_ff,
        gated_mlp=config.gated,
        tie_word_embeddings=config.tie_word_embeddings,
        dtype=dtype,
        head="encoder_decoder",
    )


def transposed_tensors(config: Config) -> frozenset[str]:
    """Tensors that a checkpoint stores as `[in, out]`: none."""
    return frozenset()


def buckets_of(distance_TK: Tensor, both_ways: bool, num_buckets: int, max_distance: int) -> Tensor:
    """The bucket of each distance key - query (Raffel et al. 2020): exact ones near by, then logarithmically wider.

    Args:
        distance_TK: position of the key minus that of the query.
        both_ways: half of the buckets for keys after the query; otherwise those count as distance 0.
        num_buckets: of all.
        max_distance: from here on all fall into the last one.
    """
    if both_ways:
        num_buckets //= 2
        offset_TK = (distance_TK > 0) * num_buckets
        distance_TK = distance_TK.abs()
    else:
        offset_TK = torch.zeros_like(distance_TK)
        distance_TK = (-distance_TK).clamp_min(0)
    exact = num_buckets // 2
    # The quotient of logarithms is taken in float32, as the models were trained with it: its rounding decides buckets.
    ratio_TK = torch.log(distance_TK.clamp_min(1).float() / exact) / math.log(max_distance / exact)
    far_TK = (exact + (ratio_TK * (num_buckets - exact)).long()).clamp_max(num_buckets - 1)
    return offset_TK + torch.where(distance_TK < exact, distance_TK, far_TK)


class Attention(nn.Module):
    """Attention without a scale, with a bias that its caller adds; the first of a stack holds the table of biases."""

    def __init__(self, config: Config, has_table: bool = False) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.config = config
        inner = config.num_heads * config.d_kv
        self.q = nn.Linear(config.d_model, inner, bias=False)
        self.k = nn.Linear(config.d_model, inner, bias=False)
        self.v = nn.Linear(config.d_model, inner, bias=False)
        self.o = nn.Linear(inner, config.d_model, bias=False)
        if has_table:
            self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)

    def bias(self, first: int, queries: int, keys: int, both_ways: bool) -> Tensor:
        """Biases of `queries` positions from `first` on against keys from 0 on, `[1, N, T, K]`."""
        weight = self.relative_attention_bias.weight
        at_T1 = torch.arange(first, first + queries, device=weight.device)[:, None]
        distance_TK = torch.arange(keys, device=weight.device) - at_T1
        config = self.config
        buckets_TK = buckets_of(
            distance_TK, both_ways, config.relative_attention_num_buckets, config.relative_attention_max_distance
        )
        out_TKN: Tensor = self.relative_attention_bias(buckets_TK)
        return out_TKN.permute(2, 0, 1)[None]

    def keys_and_values(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, N, T, H]` each."""
        return self._heads(self.k(x_BTD)), self._heads(self.v(x_BTD))

    def forward(self, x_BTD: Tensor, k_BNKH: Tensor, v_BNKH: Tensor, bias: Tensor | None) -> Tensor:
        """Attend from `[B, T, D]` to some keys."""
        q_BNTH = self._heads(self.q(x_BTD))
        out_BNTH = F.scaled_dot_product_attention(q_BNTH, k_BNKH, v_BNKH, attn_mask=bias, scale=1.0)
        out: Tensor = self.o(out_BNTH.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.view(*x_BTD.shape[:2], self.num_heads, -1).transpose(1, 2)


class MLP(nn.Module):
    """wo(act(wi(x))), or wo(act(wi_0(x)) * wi_1(x)), under HF's name `DenseReluDense`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gated = config.gated
        if config.gated:
            self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
            self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        else:
            self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        inner = self.activation(self.wi_0(x_BTD)) * self.wi_1(x_BTD) if self.gated else self.activation(self.wi(x_BTD))
        out: Tensor = self.wo(inner)
        return out


class SelfLayer(nn.Module):
    """Self attention behind its norm; adding it to the stream is left to the block."""

    def __init__(self, config: Config, first: bool) -> None:
        super().__init__()
        self.SelfAttention = Attention(config, has_table=first)
        self.layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)


class CrossLayer(nn.Module):
    """Attention to the source behind its norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.EncDecAttention = Attention(config)
        self.layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)


class FeedForward(nn.Module):
    """The MLP behind its norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.DenseReluDense = MLP(config)
        self.layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The stream with the MLP's part added."""
        out: Tensor = x_BTD + self.DenseReluDense(self.layer_norm(x_BTD))
        return out


class EncoderBlock(nn.Module):
    """Self attention in both directions, and the MLP."""

    def __init__(self, config: Config, first: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([SelfLayer(config, first), FeedForward(config)])

    def forward(self, x_BSD: Tensor, bias: Tensor) -> Tensor:
        """`[B, S, D]` to `[B, S, D]`."""
        part: Any = self.layer[0]
        normed = part.layer_norm(x_BSD)
        x_BSD = x_BSD + part.SelfAttention(normed, *part.SelfAttention.keys_and_values(normed), bias)
        out: Tensor = self.layer[1](x_BSD)
        return out


class DecoderBlock(nn.Module):
    """Causal self attention, attention to the source, and the MLP."""

    def __init__(self, config: Config, index: int) -> None:
        super().__init__()
        self.index = index
        self.layer = nn.ModuleList([SelfLayer(config, index == 0), CrossLayer(config), FeedForward(config)])

    def forward(
        self, x_BTD: Tensor, bias: Tensor, source: tuple[Tensor, Tensor], source_bias: Tensor | None,
        cache: EncoderDecoderKVCache | None,
    ) -> Tensor:  # fmt: skip
        """`[B, T, D]` to `[B, T, D]`; `source` are the keys and values that this block reads of it."""
        layers: Any = self.layer
        own, cross, feed_forward = layers
        normed = own.layer_norm(x_BTD)
        k_BNTH, v_BNTH = own.SelfAttention.keys_and_values(normed)
        if cache is not None:
            k_BNTH, v_BNTH = cache.update(self.index, k_BNTH, v_BNTH)
        x_BTD = x_BTD + own.SelfAttention(normed, k_BNTH, v_BNTH, bias)
        x_BTD = x_BTD + cross.EncDecAttention(cross.layer_norm(x_BTD), *source, source_bias)
        out: Tensor = feed_forward(x_BTD)
        return out


class Encoder(nn.Module):
    """The stack that reads the source."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.block = nn.ModuleList(EncoderBlock(config, layer == 0) for layer in range(config.num_layers))
        self.final_layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)

    @property
    def _blocks(self) -> Any:
        """`block`, whose items are known to be blocks."""
        return self.block

    def forward(self, x_BSD: Tensor, source_bias: Tensor | None) -> Tensor:
        """Embedded source to hidden states `[B, S, D]`; those of padding mean nothing."""
        S, blocks = x_BSD.shape[1], self._blocks
        bias = blocks[0].layer[0].SelfAttention.bias(0, S, S, both_ways=True)
        bias = bias if source_bias is None else bias + source_bias
        for block in blocks:
            x_BSD = block(x_BSD, bias)
        out: Tensor = self.final_layer_norm(x_BSD)
        return out


class Decoder(nn.Module):
    """The stack that writes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.block = nn.ModuleList(DecoderBlock(config, layer) for layer in range(config.num_decoder_layers))
        self.final_layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)

    @property
    def _blocks(self) -> Any:
        """`block`, whose items are known to be blocks."""
        return self.block

    def forward(
        self, x_BTD: Tensor, cache: EncoderDecoderKVCache | None, states_BSD: Tensor | None, source_bias: Tensor | None
    ) -> Tensor:
        """Embedded tokens to hidden states `[B, T, D]`.

        Args:
            x_BTD: of the new tokens.
            cache: grows by T; without one the tokens are all that there are.
            states_BSD: of the encoder; where the cache holds what the blocks need of them, None.
            source_bias: hides the padding of the source.
        """
        T = x_BTD.shape[1]
        first = 0 if cache is None else cache.decoded
        bias = self._blocks[0].layer[0].SelfAttention.bias(first, T, first + T, both_ways=False)
        if T > 1:
            hidden_TK = torch.ones(T, first + T, dtype=torch.bool, device=x_BTD.device).triu_(first + 1)
            bias = bias.masked_fill(hidden_TK, -math.inf)
        for block in self._blocks:
            if states_BSD is not None:
                source = block.layer[1].EncDecAttention.keys_and_values(states_BSD)
                if cache is not None:
                    cache.write_source(block.index, *source)
            else:
                assert cache is not None
                source = cache.source(block.index)
            x_BTD = block(x_BTD, bias, source, source_bias, cache)
        if cache is not None:
            if states_BSD is not None:
                cache.keep_source(states_BSD.shape[1], source_bias)
            cache.advance(T)
        out: Tensor = self.final_layer_norm(x_BTD)
        return out


class Model(nn.Module):
    """Encoder, decoder and the head, which shares the embedding's weight where the config ties them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.shared.weight

    def forward(
        self,
        tokens_BT: Tensor,
        cache: EncoderDecoderKVCache | None = None,
        last_only: bool = False,
        padding_B: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, T, V]`: of the start token where the cache was empty, else of each token, or of the last.

        Args:
            tokens_BT: the source where the cache is empty or there is none, what follows it otherwise.
            cache: grows by the source, or by T tokens of the decoder.
            last_only: of the last token alone.
            padding_B: filling left of each source; read with the source, and kept by the cache.
        """
        if cache is not None and cache.length:
            x_BTD = self.decoder(self.shared(tokens_BT), cache, None, cache.source_bias)
        else:
            source_bias = self._source_bias(tokens_BT, padding_B)
            states_BSD = self.encoder(self.shared(tokens_BT), source_bias)
            given_BT = tokens_BT
            if cache is not None:
                given_BT = torch.full_like(tokens_BT[:, :1], self.config.decoder_start_token_id)
            x_BTD = self.decoder(self.shared(given_BT), cache, states_BSD, source_bias)
        if last_only:
            x_BTD = x_BTD[:, -1:]
        if self.config.scale_decoder_outputs:
            x_BTD = x_BTD * self.config.d_model**-0.5
        logits_BTV: Tensor = self.lm_head(x_BTD)
        return logits_BTV

    def new_cache(
        self, batch: int, capacity: int, dtype: torch.dtype, device: torch.device | str, kind: Kind = "static"
    ) -> EncoderDecoderKVCache:
        """An empty cache that fits this model."""
        config = self.config
        return EncoderDecoderKVCache(
            config.num_decoder_layers, batch, capacity, config.num_heads, config.d_kv, dtype, device, kind
        )

    def _source_bias(self, tokens_BS: Tensor, padding_B: Tensor | None) -> Tensor | None:
        if padding_B is None:
            return None
        hidden_BS = torch.arange(tokens_BS.shape[1], device=tokens_BS.device) < padding_B[:, None]
        zeros_BS = torch.zeros(hidden_BS.shape, dtype=self.shared.weight.dtype, device=tokens_BS.device)
        return zeros_BS.masked_fill_(hidden_BS, -math.inf)[:, None, None, :]
