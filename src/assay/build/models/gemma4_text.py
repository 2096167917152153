"""Gemma 4, text: wider global layers, embeddings of each layer, shared keys, experts; it refuses other masks.

Shape suffixes: B batch, T tokens, V vocabulary, N query heads, G key-value heads, H head dim, D model dim, E experts,
K experts of a token, F inner width of an expert, P width of a layer's own embedding, X tokens of all sequences.
Field and tensor names are those of Hugging Face transformers.
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
from assay.build.nn.attention import causal_attention
from assay.build.nn.embedding import ScaledEmbedding
from assay.build.nn.kv_cache import Kind, KVCache, PassKVCache
from assay.build.nn.kv_cache_layers import MixedKVCache, SharedKVCache, new_kv_cache
from assay.build.nn.local_layers import kv_owners, local_windows
from assay.build.nn.norm import WideRMSNorm
from assay.build.nn.padding import padding_mask
from assay.build.nn.rope import RopeScaling, RotaryTable, rotate
from assay.core.errors import CheckpointError
from assay.core.records import Absent, Contract

BASE_PREFIX = "model."
"""Prefix that checkpoints of the bare model leave out."""
IGNORED_TENSORS = ("*.rotary_emb.*", "*.self_attn.[kv]_proj.weight", "*.self_attn.k_norm.weight")
"""Stored for layers that see the keys of others, where nothing reads them."""

_ROPE: Mapping[str, Mapping[str, Any]] = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0},
}


@dataclass(frozen=True)
class Experts:
    """Fields of config.json that shape the mixture of experts."""

    num_experts: int
    top_k_experts: int
    moe_intermediate_size: int


@dataclass(frozen=True)
class Config:
    """Fields of config.json that shape the computation."""

    vocab_size: int
    vocab_size_per_layer_input: int
    hidden_size: int
    hidden_size_per_layer_input: int
    """0 where layers have no embeddings of their own."""
    intermediate_size: tuple[int, ...]
    """By layer: those that see the keys of others may be twice as wide."""
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: tuple[int, ...]
    """By layer."""
    head_dim: tuple[int, ...]
    """By layer."""
    max_position_embeddings: int
    rms_norm_eps: float
    rope_global: tuple[float, RopeScaling]
    """`rope_theta` of the layers that see the whole context, and how their positions are scaled."""
    rope_local: tuple[float, RopeScaling]
    """The same of the layers with a window."""
    attention_bias: bool
    attention_k_eq_v: bool
    """In global layers the values are made of the keys' projection."""
    windows: tuple[int | None, ...]
    kv_owners: tuple[int, ...]
    """For each layer the one whose keys and values it sees."""
    experts: Experts | None
    final_logit_softcapping: float | None
    tie_word_embeddings: bool

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json as transformers 5 writes it. Raises CheckpointError."""
        fields = ConfigFields("gemma4_text", config)
        fields.choice("hidden_activation", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
        fields.only("quantization_config", None, "quantised weights")
        fields.only("is_encoder_decoder", False, "an encoder")
        fields.only("add_cross_attention", False, "cross attention")
        fields.only("use_bidirectional_attention", None, "attention to what comes after")
        positions = fields.integer("max_position_embeddings", 131072)
        layers = fields.integer("num_hidden_layers", 30)
        # The last layer is a global one, whatever its type is said to be.
        windows = (*local_windows(fields, layers, 512, 6)[:-1], None)
        owners = kv_owners(fields, windows, 0)
        wide = 2 if fields.flag("use_double_wide_mlp", False) else 1
        inner = fields.integer("intermediate_size", 9216)
        key_is_value = fields.flag("attention_k_eq_v", False)
        kv_heads, widths = _layer_shapes(fields, windows, key_is_value)
        read = cls(
            vocab_size=fields.integer("vocab_size", 262144),
            vocab_size_per_layer_input=fields.integer("vocab_size_per_layer_input", 262144),
            hidden_size=fields.integer("hidden_size", 2304),
            hidden_size_per_layer_input=fields.count("hidden_size_per_layer_input", 256),
            intermediate_size=tuple(inner if owner == layer else wide * inner for layer, owner in enumerate(owners)),
            num_hidden_layers=layers,
            num_attention_heads=fields.integer("num_attention_heads", 8),
            num_key_value_heads=kv_heads,
            head_dim=widths,
            max_position_embeddings=positions,
            rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
            rope_global=_rope(fields, "full_attention", positions),
            rope_local=_rope(fields, "sliding_attention", positions),
            attention_bias=fields.flag("attention_bias", False),
            attention_k_eq_v=key_is_value,
            windows=windows,
            kv_owners=owners,
            experts=_experts(fields),
            final_logit_softcapping=fields.number_or_null("final_logit_softcapping"),
            tie_word_embeddings=fields.flag("tie_word_embeddings", True),
        )
        fields.finish()
        _check(read)
        return read


def _layer_shapes(
    fields: ConfigFields, windows: tuple[int | None, ...], key_is_value: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Key-value heads and their width by layer: `per_layer_config` says where they differ, or keys of older files."""
    kv_heads, width = fields.integer("num_key_value_heads", 4), fields.integer("head_dim", 256)
    global_width = fields.integer("global_head_dim", 512)
    global_kv_heads = fields.integer("num_global_key_value_heads", kv_heads)
    usual: dict[int, Mapping[str, Any]] = {
        layer: {
            "head_dim": global_width,
            "num_key_value_heads": global_kv_heads if key_is_value else kv_heads,
        }
        for layer, window in enumerate(windows)
        if window is None
    }
    given = fields.mapping("per_layer_config")
    if not all(key.isdecimal() and int(key) < len(windows) for key in given):
        raise CheckpointError(
            "read per_layer_config of a gemma4_text config.json",
            f"its layers are {', '.join(given)}",
            f"They must be numbers below {len(windows)}: correct config.json",
        )
    tables = {int(key): table for key, table in given.items()} or usual
    shapes = []
    for layer in range(len(windows)):
        table = ConfigFields("gemma4_text", tables.get(layer, {}))
        shapes.append((table.integer("num_key_value_heads", kv_heads), table.integer("head_dim", width)))
        table.finish()
    return tuple(heads for heads, _ in shapes), tuple(size for _, size in shapes)


def _rope(fields: ConfigFields, kind: str, positions: int) -> tuple[float, RopeScaling]:
    table = (fields.mapping("rope_parameters") or _ROPE).get(kind) or {}
    theta = ConfigFields("gemma4_text", table).number("rope_theta", _ROPE[kind]["rope_theta"])
    return theta, RopeScaling.from_dict(table, positions)


def _experts(fields: ConfigFields) -> Experts | None:
    if not fields.flag("enable_moe_block", False):
        fields.ignore("num_experts", "top_k_experts", "moe_intermediate_size")
        return None
    return Experts(
        num_experts=fields.integer("num_experts"),
        top_k_experts=fields.integer("top_k_experts"),
        moe_intermediate_size=fields.integer("moe_intermediate_size"),
    )


def _check(config: Config) -> None:
    """Refuse shapes that do not fit each other. Raises CheckpointError."""
    for layer, (kv_heads, width) in enumerate(zip(config.num_key_value_heads, config.head_dim, strict=True)):
        owner = config.kv_owners[layer]
        alike = [other for other, window in enumerate(config.windows) if window == config.windows[layer]]
        if (
            config.num_attention_heads % kv_heads
            or width % 2
            or {config.head_dim[other] for other in (*alike, owner)} != {width}
            or config.num_key_value_heads[owner] != kv_heads
        ):
            raise CheckpointError(
                "read a gemma4_text config.json",
                f"layer {layer}: {config.num_attention_heads} heads over {kv_heads} key-value heads of width {width}",
                "The key-value heads must divide the heads, and the width must be even and that of all layers of a "
                "kind: correct config.json",
            )
    if config.hidden_size_per_layer_input and config.vocab_size_per_layer_input < config.vocab_size:
        raise CheckpointError(
            "read a gemma4_text config.json",
            f"{config.vocab_size_per_layer_input} tokens of {config.vocab_size} have an embedding for each layer",
            "All tokens must have one: correct vocab_size_per_layer_input",
        )


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on; widths are those of the first layer."""
    D, P, N, layers = (
        config.hidden_size,
        config.hidden_size_per_layer_input,
        config.num_attention_heads,
        config.num_hidden_layers,
    )
    G, H, widest = config.num_key_value_heads[0], config.head_dim[0], max(config.intermediate_size)
    products = layers * 3 * D * P
    for layer, width in enumerate(config.head_dim):
        values = 1 if config.attention_k_eq_v and config.windows[layer] is None else 2
        own = config.kv_owners[layer] == layer
        products += 2 * D * N * width + (values * D * config.num_key_value_heads[layer] * width if own else 0)
        products += 3 * D * config.intermediate_size[layer]
        if config.experts is not None:
            products += D * config.experts.num_experts
            products += 3 * D * config.experts.top_k_experts * config.experts.moe_intermediate_size
    return Contract(
        architecture="gemma4_text",
        context_length=config.max_position_embeddings,
        sliding_window=next(filter(None, config.windows), Absent(reason="no layer has a window")),
        num_sliding_layers=sum(window is not None for window in config.windows),
        num_kv_shared_layers=sum(owner != layer for layer, owner in enumerate(config.kv_owners)),
        extra_matmul_parameters=products - layers * D * (2 * N * H + 2 * G * H + 3 * widest),
        vocab_size=config.vocab_size,
        num_hidden_layers=layers,
        num_attention_heads=N,
        num_key_value_heads=G,
        head_dim=H,
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
    """Causal attention with normed queries, keys and values; some layers see the keys of earlier ones."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads[layer]
        self.head_dim = config.head_dim[layer]
        self.window = config.windows[layer]
        self.owns_kv = config.kv_owners[layer] == layer
        self.key_is_value = config.attention_k_eq_v and self.window is None
        D, H, eps, bias = config.hidden_size, self.head_dim, config.rms_norm_eps, config.attention_bias
        self.q_proj = nn.Linear(D, self.num_heads * H, bias=bias)
        self.q_norm = WideRMSNorm(H, eps)
        if self.owns_kv:
            self.k_proj = nn.Linear(D, self.num_kv_heads * H, bias=bias)
            self.k_norm = WideRMSNorm(H, eps)
            if not self.key_is_value:
                self.v_proj = nn.Linear(D, self.num_kv_heads * H, bias=bias)
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
            v_BGTH = k_BGTH
            if not self.key_is_value:
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
    """down(gelu(gate(x)) * up(x))."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        D, inner = config.hidden_size, config.intermediate_size[layer]
        self.gate_proj = nn.Linear(D, inner, bias=False)
        self.up_proj = nn.Linear(D, inner, bias=False)
        self.down_proj = nn.Linear(inner, D, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.down_proj(F.gelu(self.gate_proj(x_BTD), approximate="tanh") * self.up_proj(x_BTD))
        return out


class Router(nn.Module):
    """Which K experts a token goes to, and with what weights."""

    def __init__(self, config: Config, experts: Experts) -> None:
        super().__init__()
        self.top_k = experts.top_k_experts
        self.norm = WideRMSNorm(config.hidden_size, config.rms_norm_eps, scaled=False)
        self.proj = nn.Linear(config.hidden_size, experts.num_experts, bias=False)
        self.scale = nn.Parameter(torch.ones(config.hidden_size))
        self.per_expert_scale = nn.Parameter(torch.ones(experts.num_experts))

    def forward(self, x_XD: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and numbers of the experts of each token, both `[X, K]`; the weights add to 1 before their scales."""
        scores_XE = self.proj(self.norm(x_XD) * self.scale * x_XD.shape[-1] ** -0.5)
        best_XK, chosen_XK = scores_XE.softmax(dim=-1, dtype=torch.float32).topk(self.top_k, dim=-1)
        weights_XK = best_XK / best_XK.sum(dim=-1, keepdim=True)
        return weights_XK * self.per_expert_scale[chosen_XK], chosen_XK


class ExpertMLPs(nn.Module):
    """The experts, all of one shape, their weights in two tensors."""

    def __init__(self, config: Config, experts: Experts) -> None:
        super().__init__()
        E, inner, D = experts.num_experts, experts.moe_intermediate_size, config.hidden_size
        self.gate_up_proj = nn.Parameter(torch.zeros(E, 2 * inner, D))
        self.down_proj = nn.Parameter(torch.zeros(E, D, inner))

    def forward(self, x_XD: Tensor, weights_XK: Tensor, chosen_XK: Tensor) -> Tensor:
        """The weighted sum of what each token's experts make of it, `[X, D]`."""
        weights_XK = weights_XK.to(x_XD.dtype)
        if chosen_XK.numel() <= len(self.gate_up_proj):
            # Few tokens: the experts of each are gathered, at most as many as there are.
            gated_XKF = _gated(torch.einsum("xd,xkfd->xkf", x_XD, self.gate_up_proj[chosen_XK]))
            return torch.einsum("xkf,xkdf,xk->xd", gated_XKF, self.down_proj[chosen_XK], weights_XK)
        out_XD = torch.zeros_like(x_XD)
        for expert, (gate_up, down) in enumerate(zip(self.gate_up_proj, self.down_proj, strict=True)):
            token, place = torch.where(chosen_XK == expert)
            made = F.linear(_gated(F.linear(x_XD[token], gate_up)), down)
            out_XD = out_XD.index_add(0, token, made * weights_XK[token, place, None])
        return out_XD


def _gated(both: Tensor) -> Tensor:
    gate, up = both.chunk(2, dim=-1)
    return F.gelu(gate, approximate="tanh") * up


class Layer(nn.Module):
    """Attention and MLP, each between two norms; experts beside the MLP; the layer's own embedding; a scale."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        D, P, eps = config.hidden_size, config.hidden_size_per_layer_input, config.rms_norm_eps
        self.has_experts = config.experts is not None
        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config, layer)
        self.input_layernorm = WideRMSNorm(D, eps)
        self.post_attention_layernorm = WideRMSNorm(D, eps)
        self.pre_feedforward_layernorm = WideRMSNorm(D, eps)
        self.post_feedforward_layernorm = WideRMSNorm(D, eps)
        self.layer_scalar = nn.Parameter(torch.ones(1))
        if P:
            self.per_layer_input_gate = nn.Linear(D, P, bias=False)
            self.per_layer_projection = nn.Linear(P, D, bias=False)
            self.post_per_layer_input_norm = WideRMSNorm(D, eps)
        if config.experts is not None:
            self.router = Router(config, config.experts)
            self.experts = ExpertMLPs(config, config.experts)
            self.post_feedforward_layernorm_1 = WideRMSNorm(D, eps)
            self.post_feedforward_layernorm_2 = WideRMSNorm(D, eps)
            self.pre_feedforward_layernorm_2 = WideRMSNorm(D, eps)

    def forward(
        self,
        x_BTD: Tensor,
        own_BTP: Tensor | None,
        cos_TH: Tensor,
        sin_TH: Tensor,
        cache: SharedKVCache,
        mask_B1TS: Tensor | None,
    ) -> Tensor:
        """The stream and this layer's embedding of the tokens to the stream, `[B, T, D]`."""
        attended_BTD = self.self_attn(self.input_layernorm(x_BTD), cos_TH, sin_TH, cache, mask_B1TS)
        x_BTD = x_BTD + self.post_attention_layernorm(attended_BTD)
        made_BTD = self.mlp(self.pre_feedforward_layernorm(x_BTD))
        if self.has_experts:
            made_BTD = self.post_feedforward_layernorm_1(made_BTD) + self._of_experts(x_BTD)
        x_BTD = x_BTD + self.post_feedforward_layernorm(made_BTD)
        if own_BTP is not None:
            gated_BTP = F.gelu(self.per_layer_input_gate(x_BTD), approximate="tanh") * own_BTP
            x_BTD = x_BTD + self.post_per_layer_input_norm(self.per_layer_projection(gated_BTP))
        return x_BTD * self.layer_scalar

    def _of_experts(self, x_BTD: Tensor) -> Tensor:
        x_XD = x_BTD.flatten(0, 1)
        weights_XK, chosen_XK = self.router(x_XD)
        made_XD = self.experts(self.pre_feedforward_layernorm_2(x_XD), weights_XK, chosen_XK)
        out_BTD: Tensor = self.post_feedforward_layernorm_2(made_XD.view_as(x_BTD))
        return out_BTD


class Decoder(nn.Module):
    """Embeddings, layers, norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        D, P, layers = config.hidden_size, config.hidden_size_per_layer_input, config.num_hidden_layers
        self.windows = config.windows
        self.kv_owners = config.kv_owners
        self.embed_tokens = ScaledEmbedding(config.vocab_size, D, D**0.5)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(layers))
        self.norm = WideRMSNorm(D, config.rms_norm_eps)
        self.own_width = P
        if P:
            self.embed_tokens_per_layer = ScaledEmbedding(config.vocab_size_per_layer_input, layers * P, P**0.5)
            self.per_layer_model_projection = nn.Linear(D, layers * P, bias=False)
            self.per_layer_projection_norm = WideRMSNorm(P, config.rms_norm_eps)
        # All layers of a kind have heads of one width; the last layer is a global one.
        self.rotary_global = RotaryTable(config.head_dim[-1], *config.rope_global)
        local = next((layer for layer, window in enumerate(config.windows) if window is not None), -1)
        self.rotary_local = RotaryTable(config.head_dim[local], *config.rope_local)

    def forward(self, tokens_BT: Tensor, cache: SharedKVCache | None, padding_B: Tensor | None) -> Tensor:
        """Tokens to normalised hidden states, `[B, T, D]`; the cache grows by T."""
        T = tokens_BT.shape[1]
        cache = SharedKVCache(PassKVCache(), self.kv_owners) if cache is None else cache
        start = cache.length
        x_BTD: Tensor = self.embed_tokens(tokens_BT)
        own_LBTP = self._own_embeddings(tokens_BT, x_BTD) if self.own_width else [None] * len(self.layers)
        far = self.rotary_global.slice(start, T, x_BTD, padding_B)
        near = self.rotary_local.slice(start, T, x_BTD, padding_B)
        mask_B1TS = None if padding_B is None else padding_mask(padding_B, start, T)
        for layer, own_BTP, window in zip(self.layers, own_LBTP, self.windows, strict=True):
            cos_TH, sin_TH = far if window is None else near
            x_BTD = layer(x_BTD, own_BTP, cos_TH, sin_TH, cache, mask_B1TS)
        cache.advance(T)
        out: Tensor = self.norm(x_BTD)
        return out

    def _own_embeddings(self, tokens_BT: Tensor, x_BTD: Tensor) -> Tensor:
        """What each layer is told of the tokens apart from the stream, `[L, B, T, P]`."""
        shape = (len(self.layers), -1)
        looked_up_BTLP = self.embed_tokens_per_layer(tokens_BT).unflatten(-1, shape)
        projected_BTLP = (self.per_layer_model_projection(x_BTD) * x_BTD.shape[-1] ** -0.5).unflatten(-1, shape)
        both_BTLP: Tensor = (self.per_layer_projection_norm(projected_BTLP) + looked_up_BTLP) * math.sqrt(0.5)
        return both_BTLP.permute(2, 0, 1, 3)


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
        owners = sorted(set(config.kv_owners))
        parts: list[tuple[KVCache, list[int]]] = []
        for window in dict.fromkeys(config.windows[layer] for layer in owners):
            layers = [layer for layer in owners if config.windows[layer] == window]
            kv_heads, width = config.num_key_value_heads[layers[0]], config.head_dim[layers[0]]
            part = new_kv_cache(kind, len(layers), batch, capacity, kv_heads, width, dtype, device, window)
            parts.append((part, [owners.index(layer) for layer in layers]))
        return SharedKVCache(MixedKVCache(parts), config.kv_owners)
