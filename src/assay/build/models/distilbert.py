"""DistilBERT as an encoder: sentence embeddings or a classification head; it refuses to decode.

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

BASE_PREFIX = "distilbert."
"""Prefix that checkpoints of the bare model leave out."""
IGNORED_TENSORS = ("*position_ids", "vocab_transform.*", "vocab_layer_norm.*", "vocab_projector.*")
"""Tensors that are computed, and the head of a masked language model, which is not read."""

_EPS = 1e-12
"""Of every norm; config.json does not name it."""


@dataclass(frozen=True)
class Config:
    """Fields of config.json that shape the computation."""

    vocab_size: int
    dim: int
    n_layers: int
    n_heads: int
    hidden_dim: int
    activation: str
    max_position_embeddings: int
    pooling: str
    num_labels: int
    """Of a classification head; 0 for sentence embeddings."""

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Config:
        """Read config.json. Raises CheckpointError."""
        fields = ConfigFields("distilbert", config)
        fields.only("is_decoder", False, "a causal model")
        fields.only("is_encoder_decoder", False, "a decoder beside the encoder")
        # Positions are stored whether they were learned or not.
        fields.ignore(
            "attention_dropout", "dropout", "qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds",
            "tie_weights_", "tie_word_embeddings", "hidden_act",
        )  # fmt: skip
        read = cls(
            vocab_size=fields.integer("vocab_size", 30522),
            dim=fields.integer("dim", 768),
            n_layers=fields.integer("n_layers", 6),
            n_heads=fields.integer("n_heads", 12),
            hidden_dim=fields.integer("hidden_dim", 3072),
            activation=fields.choice("activation", ACTIVATIONS, "gelu"),
            max_position_embeddings=fields.integer("max_position_embeddings", 512),
            pooling=fields.choice("sentence_pooling", POOLINGS, "mean"),
            num_labels=classification_labels(fields),
        )
        fields.finish()
        if read.dim % read.n_heads:
            raise CheckpointError(
                "read a distilbert config.json",
                f"dim = {read.dim} over n_heads = {read.n_heads}",
                "The heads must divide the width: correct config.json",
            )
        return read


def contract(config: Config, dtype: str) -> Contract:
    """What every part of a bundle of this model must agree on."""
    return Contract(
        architecture="distilbert",
        context_length=config.max_position_embeddings,
        sliding_window=Absent(reason="distilbert attends to the whole text"),
        vocab_size=config.vocab_size,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_heads,
        head_dim=config.dim // config.n_heads,
        hidden_size=config.dim,
        intermediate_size=config.hidden_dim,
        gated_mlp=False,
        tie_word_embeddings=False,
        dtype=dtype,
        head="classification" if config.num_labels else "embedding",
    )


def transposed_tensors(config: Config) -> frozenset[str]:
    """Tensors that a checkpoint stores as `[in, out]`: none."""
    return frozenset()


class Attention(nn.Module):
    """Attention of every token to every token of its own row."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.num_heads = config.n_heads
        self.q_lin = nn.Linear(config.dim, config.dim)
        self.k_lin = nn.Linear(config.dim, config.dim)
        self.v_lin = nn.Linear(config.dim, config.dim)
        self.out_lin = nn.Linear(config.dim, config.dim)

    def forward(self, x_BTD: Tensor, mask_B11T: Tensor | None) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        B, T, D = x_BTD.shape
        q_BNTH, k_BNTH, v_BNTH = (
            layer(x_BTD).view(B, T, self.num_heads, -1).transpose(1, 2)
            for layer in (self.q_lin, self.k_lin, self.v_lin)
        )
        out_BNTH = F.scaled_dot_product_attention(q_BNTH, k_BNTH, v_BNTH, attn_mask=mask_B11T)
        out: Tensor = self.out_lin(out_BNTH.transpose(1, 2).reshape(B, T, D))
        return out


class MLP(nn.Module):
    """lin2(activation(lin1(x))), under HF's name `ffn`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.lin1 = nn.Linear(config.dim, config.hidden_dim)
        self.lin2 = nn.Linear(config.hidden_dim, config.dim)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x_BTD: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.lin2(self.activation(self.lin1(x_BTD)))
        return out


class Layer(nn.Module):
    """Attention and MLP, each added to the stream and normalised behind."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.sa_layer_norm = nn.LayerNorm(config.dim, _EPS)
        self.ffn = MLP(config)
        self.output_layer_norm = nn.LayerNorm(config.dim, _EPS)

    def forward(self, x_BTD: Tensor, mask_B11T: Tensor | None) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        x_BTD = self.sa_layer_norm(x_BTD + self.attention(x_BTD, mask_B11T))
        out: Tensor = self.output_layer_norm(x_BTD + self.ffn(x_BTD))
        return out


class Embeddings(nn.Module):
    """Tokens and positions, added and normalised."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.dim)
        self.LayerNorm = nn.LayerNorm(config.dim, _EPS)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Tokens to `[B, T, D]`; positions count from the first column."""
        positions_TD = self.position_embeddings.weight[: tokens_BT.shape[1]]
        out: Tensor = self.LayerNorm(self.word_embeddings(tokens_BT) + positions_TD)
        return out


class Layers(nn.Module):
    """The stack, under HF's name `transformer`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.n_layers))

    def forward(self, x_BTD: Tensor, mask_B11T: Tensor | None) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        for layer in self.layer:
            x_BTD = layer(x_BTD, mask_B11T)
        return x_BTD


class Encoder(nn.Module):
    """Embeddings and layers."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.transformer = Layers(config)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None) -> Tensor:
        """Last hidden states `[B, T, D]`; those of padding mean nothing."""
        out: Tensor = self.transformer(self.embeddings(tokens_BT), key_mask(lengths_B, tokens_BT.shape[1]))
        return out


class Model(nn.Module):
    """An encoder with its classification head, or with pooled and normalised embeddings."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.distilbert = Encoder(config)
        if config.num_labels:
            self.pre_classifier = nn.Linear(config.dim, config.dim)
            self.classifier = nn.Linear(config.dim, config.num_labels)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Logits `[B, L]`, or unit vectors `[B, D]` in float32; padding stands right of `lengths_B` tokens."""
        x_BTD = self.distilbert(tokens_BT, lengths_B)
        if not self.config.num_labels:
            return sentence_embedding(x_BTD, lengths_B, self.config.pooling)
        logits_BL: Tensor = self.classifier(F.relu(self.pre_classifier(x_BTD[:, 0])))
        return logits_BL
