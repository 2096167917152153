"""Gemma 3n, text: parallel streams, embeddings of each layer, keys that layers share; it refuses other masks.

The streams follow AltUp: a layer computes one and corrects all. Beside its attention is a residual of low rank, Laurel.

Shape suffixes: B batch, T tokens, V vocabulary, N query heads, G key-value heads, H head dim, D model dim, A streams,
P width of a layer's own embedding. Field and tensor names are those of Hugging Face transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assay.build.config_fields import ConfigFields
from assay.build.nn.attention import causal_attention
from assay.build.nn.embedding import ScaledEmbedding
from assay.build.nn.kv_cache import Kind, PassKVCache
from assay.build.nn.kv_cache_layers import SharedKVCache, new_mixed_kv_cache
from assay.build.nn.local_layers import kv_owners, layer_rope, local_windows
from assay.build.nn.norm import WideRMSNorm
from assay.build.nn.padding import padding_mask
from assay.build.nn.rope import RopeScaling, RotaryTable, rotate
from assay.core.errors import CheckpointError
from assay.core.records import Absent, Contract

BASE_PREFIX = "model."
"""Prefix that checkpoints of the bare model leave out."""
IGNORED_TENSORS = ("*.rotary_emb.*", "*.self_attn.[kv]_proj.weight", "*.self_attn.k_norm.weight")
"""Stored for layers that see the keys of others, where nothing reads them."""


@dataclass(frozen=True)
class Config:
    """Fields of config.json that shape the computation."""

    vocab_size: int
    vocab_size_per_layer_input: int
    hidden_size: int
    hidden_size_per_layer_input: int
    intermediate_size: tuple[int, ...]
    """By layer."""
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
    windows: tuple[int | None, ...]
    kv_owners: tuple[int, ...]
    """For each layer the one whose keys and values it sees."""
    altup_num_inputs: int
    altup_active_idx: int
    altup_correct_scale: bool
    laurel_rank: int
    activation_sparsity_pattern: tuple[float, ...]
    """By layer the share of the MLP's gates that is cut to zero, on the assumption that they are normal."""
    final_logit_softcapping: float | None
    tie_word_embeddings: bool

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json as transformers 4 and 5 write it. Raises CheckpointError."""
        fields = ConfigFields("gemma3n_text", config)
        fields.choice("hidden_activation", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
        fields.ignore("hidden_act", "cache_implementation")
        # Coefficients are clipped in training alone.
        fields.ignore("altup_coef_clip", "altup_lr_multiplier")
        fields.only("quantization_config", None, "quantised weights")
        fields.only("is_encoder_decoder", False, "an encoder")
        fields.only("add_cross_attention", False, "cross attention")
        fields.only("use_bidirectional_attention", False, "attention to what comes after")
        positions = fields.integer("max_position_embeddings", 32768)
        layers = fields.integer("num_hidden_layers", 35)
        windows = local_windows(fields, layers, 512, 5)
        sparse = [0.95] * 10 + [0.0] * (layers - 10) if layers > 10 else [0.0] * layers
        read = cls(
            vocab_size=fields.integer("vocab_size", 262400),
            vocab_size_per_layer_input=fields.integer("vocab_size_per_layer_input", 262144),
            hidden_size=fields.integer("hidden_size", 2048),
            hidden_size_per_layer_input=fields.integer("hidden_size_per_layer_input", 256),
            intermediate_size=tuple(int(size) for size in fields.each("intermediate_size", layers, 16384)),
            num_hidden_layers=layers,
            num_attention_heads=fields.integer("num_attention_heads", 8),
            num_key_value_heads=fields.integer("num_key_value_heads", 2),
            head_dim=fields.integer("head_dim", 256),
            max_position_embeddings=positions,
            rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
            rope_global=layer_rope(fields, "full_attention", "rope_theta", 1000000.0, positions),
            rope_local=layer_rope(fields, "sliding_attention", "rope_local_base_freq", 10000.0, positions),
            attention_bias=fields.flag("attention_bias", False),
            windows=windows,
            kv_owners=kv_owners(fields, windows, 15),
            altup_num_inputs=fields.integer("altup_num_inputs", 4),
            altup_active_idx=fields.count("altup_active_idx", 0),
            altup_correct_scale=fields.flag("altup_correct_scale", True),
            laurel_rank=fields.integer("laurel_rank", 64),
            activation_sparsity_pattern=fields.each("activation_sparsity_pattern", layers, sparse),
            final_logit_softcapping=fields.number_or_null("final_logit_softcapping", 30.0),
            tie_word_embeddings=fields.flag("tie_word_embeddings", True),
        )
        fields.finish()
        heads, kv_heads, width = read.num_attention_heads, read.num_key_value_heads, read.head_dim
        sparsity = max(read.activation_sparsity_pattern)
        if heads % kv_heads or width % 2 or read.altup_active_idx >= read.altup_num_inputs or sparsity >= 1:
            raise CheckpointError(
                "read a gemma3n_text config.json",
                f"{heads} heads over {kv_heads} key-value heads of width {width}, stream {read.altup_active_idx} of "
                f"{read.altup_num_inputs}, sparsity up to {sparsity}",
                "The key-value heads must divide the heads, the width must be even, the stream one of them, and no "
                "gates may be cut altogether: correct config.json",
            )
        return read


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on."""
    D, A, P, layers = (
        config.hidden_size,
        config.altup_num_inputs,
        config.hidden_size_per_layer_input,
        config.num_hidden_layers,
    )
    shared = sum(owner != layer for layer, owner in enumerate(config.kv_owners))
    widest = max(config.intermediate_size)
    # Of each layer: AltUp's router, used twice, and its coefficients; Laurel; the gate and projection of its embedding.
    own = 2 * D * A + A * A + A**3 + 2 * D * config.laurel_rank + 2 * D * P
    return Contract(
        architecture="gemma3n_text",
        context_length=config.max_position_embeddings,
        sliding_window=next(filter(None, config.windows), Absent(reason="no layer has a window")),
        num_sliding_layers=sum(window is not None for window in config.windows),
        num_kv_shared_layers=shared,
        extra_matmul_parameters=(
            layers * own
            + layers * D * P
            + 2 * (A - 1) * D * D
            - shared * 2 * D * config.num_key_value_heads * config.head_dim
            - 3 * D * sum(widest - size for size in config.intermediate_size)
        ),
        vocab_size=config.vocab_size,
        num_hidden_layers=layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        hidden_size=D,
        intermediate_size=widest,
        gated_mlp=True,
        tie_word_embeddings=config.tie_word_embeddings,
        dtype=dtype,
    )


def transposed_tensors(config: Config) -> frozenset[str]:
    """Tensors that a checkpoint stores as `[in, out]`: none."""
    return frozenset()


class Attention(nn.Module):
    """Causal attention with normed queries, keys and values; the last layers see the keys of earlier ones."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        self.window = config.windows[layer]
        self.owns_kv = config.kv_owners[layer] == layer
        D, H, eps, bias = config.hidden_size, config.head_dim, config.rms_norm_eps, config.attention_bias
        self.q_proj = nn.Linear(D, self.num_heads * H, bias=bias)
        self.q_norm = WideRMSNorm(H, eps)
        if self.owns_kv:
            self.k_proj = nn.Linear(D, self.num_kv_heads * H, bias=bias)
            self.v_proj = nn.Linear(D, self.num_kv_heads * H, bias=bias)
            self.k_norm = WideRMSNorm(H, eps)
            self.v_norm = WideRMSNorm(H, eps, scaled=False)
        self.o_proj = nn.Linear(self.num_heads * H, D, bias=bias)

    def forward(
        self, x_BTD: Tensor, cos_TH: Tensor, sin_TH: Tensor, cache: SharedKVCache, mask_B1TS: Tensor | None
    ) -> Tensor:
        """Attend from `[B, T, D]` to the cache and itself."""
        B, T, _ = x_BTD.shape
        q_BNTH = self.q_proj(x_BTD).view(B, T, self.num_heads, self.head_dim).transpose(1, 2)
        q_BNTH = rotate(self.q_norm(q_BNTH), cos_TH, sin_TH)
        if self.owns_kv:
            k_BGTH = self.k_proj(x_BTD).view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)
            v_BGTH = self.v_proj(x_BTD).view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)
            k_BGTH = rotate(self.k_norm(k_BGTH), cos_TH, sin_TH)
            k_BGSH, v_BGSH = cache.update(self.layer, k_BGTH, self.v_norm(v_BGTH))
        else:
            k_BGSH, v_BGSH = cache.reuse(self.layer)
        out_BTD: Tensor = self.o_proj(
            causal_attention(q_BNTH, k_BGSH, v_BGSH, scale=1.0, window=self.window, mask_B1TS=mask_B1TS)
        )
        return out_BTD


class MLP(nn.Module):
    """down(gelu(gate(x)) * up(x)); in sparse layers only the gates far above their mean are open."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        D, inner = config.hidden_size, config.intermediate_size[layer]
        self.gate_proj = nn.Linear(D, inner, bias=False)
        self.up_proj = nn.Linear(D, inner, bias=False)
        self.down_proj = nn.Linear(inner, D, bias=False)
        sparsity = config.activation_sparsity_pattern[layer]
        self.deviations = NormalDist().inv_cdf(sparsity) if sparsity else None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        gate = self.gate_proj(x_BTD)
        if self.deviations is not None:
            deviation, mean = torch.std_mean(gate, dim=-1, keepdim=True, unbiased=False)
            gate = F.relu(gate - (mean + deviation * self.deviations))
        out: Tensor = self.down_proj(F.gelu(gate, approximate="tanh") * self.up_proj(x_BTD))
        return out


class Laurel(nn.Module):
    """x + norm(right(left(x))): a residual of low rank (Menghani et al. 2024)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.linear_left = nn.Linear(config.hidden_size, config.laurel_rank, bias=False)
        self.linear_right = nn.Linear(config.laurel_rank, config.hidden_size, bias=False)
        self.post_laurel_norm = WideRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = x_BTD + self.post_laurel_norm(self.linear_right(self.linear_left(x_BTD)))
        return out


class Coefficients(nn.Module):
    """x W^T with a side as short as the number of streams: no linear layer, which a transform would quantise."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))

    def forward(self, x_BTA: Tensor) -> Tensor:
        """`[..., inputs]` to `[..., outputs]`."""
        return F.linear(x_BTA, self.weight)


class AltUp(nn.Module):
    """Predicts all streams before a layer, and corrects them by what the layer made of one (Baykal et al. 2023)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        D, A = config.hidden_size, config.altup_num_inputs
        self.active = config.altup_active_idx
        self.correct_output_scale = nn.Parameter(torch.zeros(D))
        self.correction_coefs = Coefficients(A, A)
        self.prediction_coefs = Coefficients(A, A * A)
        self.modality_router = Coefficients(D, A)
        self.router_norm = WideRMSNorm(D, config.rms_norm_eps)

    def _modalities(self, x_BTD: Tensor) -> Tensor:
        """How much of each stream's mixture a token takes, `[B, T, A]`."""
        routed_BTA = self.modality_router(self.router_norm(x_BTD) * (1.0 / x_BTD.shape[-1]))
        return torch.tanh(routed_BTA.float()).to(x_BTD.dtype)

    def predict(self, x_ABTD: Tensor) -> Tensor:
        """The streams, each plus a mixture of all, `[A, B, T, D]`."""
        A = len(x_ABTD)
        mixture_BTAA = self.prediction_coefs(self._modalities(x_ABTD[self.active])).unflatten(-1, (A, A))
        mixed_BTDA: Tensor = x_ABTD.permute(1, 2, 3, 0) @ mixture_BTAA.transpose(2, 3)
        return mixed_BTDA.permute(3, 0, 1, 2) + x_ABTD

    def correct(self, predicted_ABTD: Tensor, activated_BTD: Tensor) -> Tensor:
        """The predictions, each plus its share of what was wrong with the active one, `[A, B, T, D]`."""
        shares_BTA: Tensor = self.correction_coefs(self._modalities(activated_BTD)) + 1.0
        error_BTD = activated_BTD - predicted_ABTD[self.active]
        return predicted_ABTD + error_BTD * shares_BTA.permute(2, 0, 1)[..., None]


class Layer(nn.Module):
    """Attention beside Laurel, then the MLP, on one stream; the correction of all; and the layer's own embedding."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        D, P, eps = config.hidden_size, config.hidden_size_per_layer_input, config.rms_norm_eps
        self.active = config.altup_active_idx
        self.scales_output = config.altup_correct_scale
        self.altup = AltUp(config)
        self.input_layernorm = WideRMSNorm(D, eps)
        self.laurel = Laurel(config)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = WideRMSNorm(D, eps)
        self.pre_feedforward_layernorm = WideRMSNorm(D, eps)
        self.mlp = MLP(config, layer)
        self.post_feedforward_layernorm = WideRMSNorm(D, eps)
        self.per_layer_input_gate = nn.Linear(D, P, bias=False)
        self.per_layer_projection = nn.Linear(P, D, bias=False)
        self.post_per_layer_input_norm = WideRMSNorm(D, eps)

    def forward(
        self,
        x_ABTD: Tensor,
        own_BTP: Tensor,
        cos_TH: Tensor,
        sin_TH: Tensor,
        cache: SharedKVCache,
        mask_B1TS: Tensor | None,
    ) -> Tensor:
        """Streams `[A, B, T, D]` and this layer's embedding of the tokens to streams."""
        predicted_ABTD = self.altup.predict(x_ABTD)
        x_BTD = predicted_ABTD[self.active]
        normed_BTD = self.input_layernorm(x_BTD)
        attended_BTD = self.self_attn(normed_BTD, cos_TH, sin_TH, cache, mask_B1TS)
        x_BTD = x_BTD + self.post_attention_layernorm(attended_BTD)
        x_BTD = (x_BTD + self.laurel(normed_BTD)) / math.sqrt(2)
        x_BTD = x_BTD + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x_BTD)))
        corrected_ABTD = self.altup.correct(predicted_ABTD, x_BTD)
        first_BTD = corrected_ABTD[self.active]
        if self.scales_output:
            first_BTD = first_BTD * self.altup.correct_output_scale
        gated_BTP = F.gelu(self.per_layer_input_gate(first_BTD), approximate="tanh") * own_BTP
        added_BTD = self.post_per_layer_input_norm(self.per_layer_projection(gated_BTP))
        # Whichever stream is active, the first one is left as it is.
        return torch.cat((corrected_ABTD[:1], corrected_ABTD[1:] + added_BTD))


class Decoder(nn.Module):
    """Embeddings, the streams made of them, layers, the streams made one again, norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        D, P, layers = config.hidden_size, config.hidden_size_per_layer_input, config.num_hidden_layers
        others = config.altup_num_inputs - 1
        self.windows = config.windows
        self.kv_owners = config.kv_owners
        self.embed_tokens = ScaledEmbedding(config.vocab_size, D, D**0.5)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(layers))
        self.norm = WideRMSNorm(D, config.rms_norm_eps)
        self.embed_tokens_per_layer = ScaledEmbedding(config.vocab_size_per_layer_input, layers * P, P**0.5)
        self.per_layer_model_projection = nn.Linear(D, layers * P, bias=False)
        self.per_layer_projection_norm = WideRMSNorm(P, config.rms_norm_eps)
        self.altup_projections = nn.ModuleList(nn.Linear(D, D, bias=False) for _ in range(others))
        self.altup_unembed_projections = nn.ModuleList(nn.Linear(D, D, bias=False) for _ in range(others))
        self.rotary_global = RotaryTable(config.head_dim, *config.rope_global)
        self.rotary_local = RotaryTable(config.head_dim, *config.rope_local)

    def forward(self, tokens_BT: Tensor, cache: SharedKVCache | None, padding_B: Tensor | None) -> Tensor:
        """Tokens to normalised hidden states, `[B, T, D]`; the cache grows by T."""
        T = tokens_BT.shape[1]
        cache = SharedKVCache(PassKVCache(), self.kv_owners) if cache is None else cache
        start = cache.length
        x_BTD: Tensor = self.embed_tokens(tokens_BT)
        own_LBTP = self._own_embeddings(tokens_BT, x_BTD)
        far = self.rotary_global.slice(start, T, x_BTD, padding_B)
        near = self.rotary_local.slice(start, T, x_BTD, padding_B)
        mask_B1TS = None if padding_B is None else padding_mask(padding_B, start, T)
        others = [_as_long_as(x_BTD, project(x_BTD)) for project in self.altup_projections]
        x_ABTD = torch.stack([x_BTD, *others])
        for layer, own_BTP, window in zip(self.layers, own_LBTP, self.windows, strict=True):
            cos_TH, sin_TH = far if window is None else near
            x_ABTD = layer(x_ABTD, own_BTP, cos_TH, sin_TH, cache, mask_B1TS)
        cache.advance(T)
        projected = zip(self.altup_unembed_projections, x_ABTD[1:], strict=True)
        others = [_as_long_as(x_ABTD[0], project(stream_BTD)) for project, stream_BTD in projected]
        out: Tensor = self.norm(torch.stack([x_ABTD[0], *others]).mean(dim=0))
        return out

    def _own_embeddings(self, tokens_BT: Tensor, x_BTD: Tensor) -> Tensor:
        """What each layer is told of the tokens apart from the stream, `[L, B, T, P]`."""
        table = self.embed_tokens_per_layer
        known_BT = torch.where(tokens_BT < table.num_embeddings, tokens_BT, 0)
        shape = (len(self.layers), -1)
        looked_up_BTLP = table(known_BT).unflatten(-1, shape)
        projected_BTLP = (self.per_layer_model_projection(x_BTD) * x_BTD.shape[-1] ** -0.5).unflatten(-1, shape)
        both_BTLP: Tensor = (self.per_layer_projection_norm(projected_BTLP) + looked_up_BTLP) * math.sqrt(0.5)
        return both_BTLP.permute(2, 0, 1, 3)


def _as_long_as(like_BTD: Tensor, x_BTD: Tensor) -> Tensor:
    """x scaled to the root mean square of `like`, token by token."""
    wanted_BT1 = like_BTD.square().mean(dim=-1, keepdim=True).sqrt()
    found_BT1 = x_BTD.square().mean(dim=-1, keepdim=True).clamp(min=1e-5).sqrt()
    return x_BTD * wanted_BT1 / found_BT1


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
        cache: SharedKVCache | None = None,
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
    ) -> SharedKVCache:
        """An empty cache of the layers that have keys of their own; local ones keep their window."""
        config = self.config
        windows = [config.windows[layer] for layer in sorted(set(config.kv_owners))]
        kept = new_mixed_kv_cache(
            kind, windows, batch, capacity, config.num_key_value_heads, config.head_dim, dtype, device
        )
        return SharedKVCache(kept, config.kv_owners)
