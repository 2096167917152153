"""BERT as an encoder (MiniLM and its like): sentence embeddings or a classification head; it refuses to decode.

Shape suffixes: B batch, T tokens, N heads, H head dim, D model dim, L labels.
Field and tensor names are those of Hugging Face transformers. Which head there is follows from `architectures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from assay.build.config_fields import ConfigFields, classification_labels
from assay.build.nn.activations import ACTIVATIONS
from assay.build.nn.pooling import POOLINGS, key_mask, sentence_embedding
from assay.core.errors import CheckpointError
from assay.core.records import Absent, Contract

BASE_PREFIX = "bert."
"""Prefix that checkpoints of the bare model leave out."""
IGNORED_TENSORS = ("*position_ids", "*pooler.*", "cls.*")
"""Tensors that are computed, and heads that neither embeddings nor a classification need."""


@dataclass(frozen=True)
class Config:
    """Fields of config.json that shape the computation."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    pooling: str
    num_labels: int
    """Of a classification head; 0 for sentence embeddings."""

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json. Raises CheckpointError."""
        fields = ConfigFields("bert", config)
        fields.only("position_embedding_type", "absolute", "relative positions")
        fields.only("is_decoder", False, "a causal BERT")
        fields.only("add_cross_attention", False, "cross attention")
        fields.only("is_encoder_decoder", False, "a decoder beside the encoder")
        fields.ignore(
            "attention_probs_dropout_prob", "classifier_dropout", "hidden_dropout_prob", "tie_word_embeddings",
            "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head",
            "pooler_type", "directionality",
        )  # fmt: skip
        read = cls(
            vocab_size=fields.integer("vocab_size", 30522),
            hidden_size=fields.integer("hidden_size", 768),
            num_hidden_layers=fields.integer("num_hidden_layers", 12),
            num_attention_heads=fields.integer("num_attention_heads", 12),
            intermediate_size=fields.integer("intermediate_size", 3072),
            hidden_act=fields.choice("hidden_act", ACTIVATIONS, "gelu"),
            max_position_embeddings=fields.integer("max_position_embeddings", 512),
            type_vocab_size=fields.integer("type_vocab_size", 2),
            layer_norm_eps=fields.number("layer_norm_eps", 1e-12),
            pooling=fields.choice("sentence_pooling", POOLINGS, "mean"),
            num_labels=classification_labels(fields),
        )
        fields.finish()
        if read.hidden_size % read.num_attention_heads:
            raise CheckpointError(
                "read a bert config.json",
                f"hidden_size = {read.hidden_size} over num_attention_heads = {read.num_attention_heads}",
                "The heads must divide the width: correct config.json",
            )
        return read


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on."""
    return Contract(
        architecture="bert",
        context_length=config.max_position_embeddings,
        sliding_window=Absent(reason="bert attends to the whole text"),
        vocab_size=config.vocab_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        gated_mlp=False,
        tie_word_embeddings=False,
        dtype=dtype,
        head="classification" if config.num_labels else "embedding",
    )


def transposed_tensors(config: Config) -> frozenset[str]:
    """Tensors that a checkpoint stores as `[in, out]`: none."""
    return frozenset()


class Projection(nn.Module):
    """A linear layer added to the stream and normalised: HF's `attention.output` and `output`."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x_BTF: Tensor, stream_BTD: Tensor) -> Tensor:
        """norm(stream + dense(x)), `[B, T, D]`."""
        out: Tensor = self.LayerNorm(stream_BTD + self.dense(x_BTF))
        return out


class SelfAttention(nn.Module):
    """Attention of every token to every token of its own row."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x_BTD: Tensor, mask_B11T: Tensor | None) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        B, T, D = x_BTD.shape
        q_BNTH, k_BNTH, v_BNTH = (
            layer(x_BTD).view(B, T, self.num_heads, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        out_BNTH = F.scaled_dot_product_attention(q_BNTH, k_BNTH, v_BNTH, attn_mask=mask_B11T)
        return out_BNTH.transpose(1, 2).reshape(B, T, D)


class Attention(nn.Module):
    """Self attention and its projection, under HF's names."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Projection(config, config.hidden_size)

    def forward(self, x_BTD: Tensor, mask_B11T: Tensor | None) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.output(self.self(x_BTD, mask_B11T), x_BTD)
        return out


class Intermediate(nn.Module):
    """The wide side of the MLP."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, F]`."""
        return self.activation(self.dense(x_BTD))


class Layer(nn.Module):
    """Attention and MLP, each added to the stream and normalised behind."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Projection(config, config.intermediate_size)

    def forward(self, x_BTD: Tensor, mask_B11T: Tensor | None) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        x_BTD = self.attention(x_BTD, mask_B11T)
        out: Tensor = self.output(self.intermediate(x_BTD), x_BTD)
        return out


class Embeddings(nn.Module):
    """Tokens, positions and the type of the first segment, added and normalised."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Tokens to `[B, T, D]`; positions count from the first column."""
        positions_TD = self.position_embeddings.weight[: tokens_BT.shape[1]]
        x_BTD = self.word_embeddings(tokens_BT) + self.token_type_embeddings.weight[0] + positions_TD
        out: Tensor = self.LayerNorm(x_BTD)
        return out


class Layers(nn.Module):
    """The stack, under HF's name `encoder`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x_BTD: Tensor, mask_B11T: Tensor | None) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        for layer in self.layer:
            x_BTD = layer(x_BTD, mask_B11T)
        return x_BTD


class Pooler(nn.Module):
    """tanh(dense(first token)), which a classification head reads."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, D]`."""
        out: Tensor = self.dense(x_BTD[:, 0]).tanh()
        return out


class Encoder(nn.Module):
    """Embeddings and layers, with the pooler where a head reads it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Layers(config)
        if config.num_labels:
            self.pooler = Pooler(config)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None) -> Tensor:
        """Last hidden states `[B, T, D]`; those of padding mean nothing."""
        out: Tensor = self.encoder(self.embeddings(tokens_BT), key_mask(lengths_B, tokens_BT.shape[1]))
        return out


class Model(nn.Module):
    """An encoder with its classification head, or with pooled and normalised embeddings."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.bert = Encoder(config)
        if config.num_labels:
            self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Logits `[B, L]`, or unit vectors `[B, D]` in float32; padding stands right of `lengths_B` tokens."""
        x_BTD = self.bert(tokens_BT, lengths_B)
        if not self.config.num_labels:
            return sentence_embedding(x_BTD, lengths_B, self.config.pooling)
        logits_BL: Tensor = self.classifier(self.bert.pooler(x_BTD))
        return logits_BL
