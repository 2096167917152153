"""Filling a model: every tensor that does not fit is named."""

import json

import pytest
import torch

from assay.build.checkpoints import random as random_checkpoint
from assay.build.families import build_model, family, family_names, tensor_shapes
from assay.core.errors import CheckpointError, ContractError, UnknownArchitectureError

LLAMA = {
    "model_type": "llama",
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "tie_word_embeddings": True,
}
GPT2 = {"model_type": "gpt2", "vocab_size": 32, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 8}


def test_the_catalog_knows_which_families_are_encoders():
    from assay import catalog

    assert set(catalog.FAMILIES) == set(family_names())
    minimal = {"architectures": []}
    heads = {name: family(name).contract(family(name).Config.from_dict(minimal), "float32") for name in family_names()}
    assert {name for name, contract in heads.items() if contract.is_encoder} == set(catalog.ENCODERS)


class Edited:
    """A random checkpoint with some tensors taken away, added or replaced."""

    def __init__(self, tmp_path, config, remove=(), add=None, rename=str):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config))
        inner = random_checkpoint.open_checkpoint(path)
        self.source, self.config = inner.source, config
        tensors = {name: inner.tensor(name) for name in inner.tensor_names() if name not in remove}
        self.tensors = {rename(name): tensor for name, tensor in {**tensors, **(add or {})}.items()}

    def tensor_names(self):
        return tuple(self.tensors)

    def tensor(self, name):
        return self.tensors[name]


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_a_model_owns_its_memory_and_shares_a_tied_head(tmp_path, config):
    checkpoint = Edited(tmp_path, config)
    model = build_model(checkpoint)
    assert not model.training
    parameters = dict(model.named_parameters())
    assert set(parameters) == set(tensor_shapes(config)) == set(checkpoint.tensors)
    embedding = next(iter(parameters.values()))
    assert model.lm_head.weight is embedding
    embedding.data.zero_()
    assert all(tensor.abs().max() > 0 for tensor in checkpoint.tensors.values() if tensor.ndim == 2)


def test_names_of_the_bare_model_and_computed_tensors_are_understood(tmp_path):
    masks = {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8), "transformer.h.0.attn.masked_bias": torch.tensor(0.0)}
    whole = build_model(Edited(tmp_path, GPT2))
    bare = build_model(Edited(tmp_path, GPT2, add=masks, rename=lambda name: name.removeprefix("transformer.")))
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, bare.get_parameter(name)), name


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"remove": ("model.norm.weight",)}, "lacks model.norm.weight"),
        ({"add": {"model.layers.1.mlp.up_proj.weight": torch.ones(2)}}, "also has model.layers.1.mlp.up_proj.weight"),
        ({"add": {"model.norm.weight": torch.ones(17)}}, r"'model.norm.weight' has shape \[17\].*implies \[16\]"),
        ({"add": {"model.norm.weight": torch.ones(1, 16)}}, r"has shape \[1, 16\]"),
        ({"add": {"lm_head.weight": torch.ones(32, 16)}}, "lm_head.weight differs"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(tmp_path, edit, said):
    with pytest.raises(CheckpointError, match=said):
        build_model(Edited(tmp_path, LLAMA, **edit))


def test_an_untied_head_that_is_missing_is_named(tmp_path):
    untied = {**LLAMA, "tie_word_embeddings": False}
    with pytest.raises(CheckpointError, match=r"lacks lm_head\.weight"):
        build_model(Edited(tmp_path, untied, remove=("lm_head.weight",)))


def test_a_repeated_tied_head_is_accepted(tmp_path):
    embedding = Edited(tmp_path, LLAMA).tensor("model.embed_tokens.weight")
    build_model(Edited(tmp_path, LLAMA, add={"lm_head.weight": embedding}))


def test_nanogpt_without_biases_has_none(tmp_path):
    names = tensor_shapes({**GPT2, "bias": False})
    assert names
    assert not [name for name in names if name.endswith("bias")]
    assert tensor_shapes(GPT2)["transformer.h.0.attn.c_attn.weight"] == (16, 48)


@pytest.mark.parametrize("model_type", ["mamba", "../llama", "", None, "__init__"])
def test_an_unknown_family_lists_the_known_ones(model_type):
    with pytest.raises(UnknownArchitectureError, match=r"gpt2, .*llama"):
        family(model_type)
    assert set(family_names()) >= {"gpt2", "llama"}


def test_positions_beyond_the_learned_ones_are_refused(tmp_path):
    model = build_model(Edited(tmp_path, GPT2))
    with pytest.raises(ContractError, match="8 learned positions"):
        model(torch.zeros(1, 9, dtype=torch.int64))
