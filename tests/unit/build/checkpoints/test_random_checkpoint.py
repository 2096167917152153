"""Random weights: names and shapes of transformers' models, the distribution of their initialisation, determinism."""

import json

import pytest
import torch

from assay.build.checkpoints import random as random_checkpoint
from assay.core.errors import CheckpointError, CorruptFileError, TokenizerError, UnknownArchitectureError

LLAMA = {
    "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "vocab_size": 512, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32}


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_names_shapes_and_spread_are_those_of_transformers(tmp_path, config):
    from transformers import AutoConfig, AutoModelForCausalLM

    (tmp_path / "config.json").write_text(json.dumps(config))
    assert random_checkpoint.recognises(tmp_path)
    checkpoint = random_checkpoint.open_checkpoint(tmp_path)
    fields = {key: value for key, value in config.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **fields))
    expected = dict(model.named_parameters())
    assert set(checkpoint.tensor_names()) == set(expected)
    for name, parameter in expected.items():
        found = checkpoint.tensor(name)
        assert found.shape == parameter.shape == checkpoint.shape(name)
        assert found.dtype == torch.float32
        if parameter.ndim == 1:
            assert torch.equal(found, parameter), name
        else:  # standard error of a standard deviation of 2,048 or more values: 1.6 %
            assert found.std().item() == pytest.approx(parameter.std().item(), rel=0.1), name


def test_values_depend_on_seed_and_name_alone(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    q, k = (f"model.layers.0.self_attn.{letter}_proj.weight" for letter in "qk")
    one, same, other = (random_checkpoint.open_checkpoint(path, seed=seed) for seed in (1, 1, 2))
    one.tensor(k)
    assert torch.equal(one.tensor(q), same.tensor(q))
    assert not torch.equal(one.tensor(q), other.tensor(q))
    assert not torch.equal(one.tensor(q)[:8], one.tensor(k)[:8])
    assert one.source.digest == same.source.digest != other.source.digest
    # a fixed value: a change of the numbers would silently change every study of random weights
    assert one.tensor(q)[0, 0].item() == pytest.approx(FIRST_VALUE, rel=1e-6)


FIRST_VALUE = -0.024195920675992966


def test_a_directory_with_weights_of_any_kind_is_never_taken_for_random(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert not random_checkpoint.recognises(tmp_path)


def test_what_cannot_be_made_is_refused(tmp_path):
    path = tmp_path / "config.json"
    for text, error in (
        ("{", CorruptFileError),
        ('{"model_type": "mamba"}', UnknownArchitectureError),
        ("{}", UnknownArchitectureError),
        (json.dumps(LLAMA | {"hidden_size": "wide"}), CheckpointError),
        (json.dumps(LLAMA | {"initializer_range": 0}), CheckpointError),
    ):
        path.write_text(text)
        with pytest.raises(error):
            random_checkpoint.open_checkpoint(path)
    path.write_text(json.dumps(LLAMA))
    with pytest.raises(TokenizerError, match="without one"):
        random_checkpoint.open_checkpoint(path).tokenizer()
    with pytest.raises(CheckpointError, match="lm_head"):
        random_checkpoint.open_checkpoint(path).tensor("lm_head.weight")
