"""LoRA adapters against sums computed here from the files, in float64; configs that ask for more are refused."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from assay import catalog
from assay.build.adapters import AdaptedCheckpoint
from assay.build.families import build_model
from assay.core.errors import CheckpointError

ADAPTER = {
    "peft_type": "LORA", "r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj"], "bias": "none",
    "task_type": "CAUSAL_LM", "lora_dropout": 0.1, "fan_in_fan_out": False, "modules_to_save": None,
    "base_model_name_or_path": "somewhere", "init_lora_weights": True, "use_dora": False, "use_rslora": False,
    "rank_pattern": {}, "alpha_pattern": {}, "inference_mode": True, "layers_to_transform": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    path = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(LlamaConfig(vocab_size=40, num_key_value_heads=2, **sizes)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("gpt2")
    GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32)).save_pretrained(path)
    return path


def written(tmp_path, tensors, **changes):
    directory = tmp_path / "adapter"
    directory.mkdir(exist_ok=True)
    (directory / "adapter_config.json").write_text(json.dumps(ADAPTER | changes))
    save_file(tensors, directory / "adapter_model.safetensors")
    return directory


def pair(module, out_features, in_features, rank=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    name = f"base_model.model.{module}"
    return {
        f"{name}.lora_A.weight": torch.randn(rank, in_features, generator=generator),
        f"{name}.lora_B.weight": torch.randn(out_features, rank, generator=generator),
    }


def opened(base, directory):
    return catalog.open_checkpoint(str(base), str(directory))


Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.1.mlp.down_proj"


@pytest.mark.parametrize("rslora", [False, True])
def test_the_sum_is_the_base_and_the_scaled_product(llama, tmp_path, rslora):
    tensors = pair(Q, 16, 16) | pair(DOWN, 16, 24, rank=2, seed=2)
    directory = written(tmp_path, tensors, use_rslora=rslora, rank_pattern={"down_proj": 2}, alpha_pattern={DOWN: 7})
    base, model = load_file(llama / "model.safetensors"), build_model(opened(llama, directory))
    for module, rank, alpha in ((Q, 3, 5), (DOWN, 2, 7)):
        a, b = (tensors[f"base_model.model.{module}.lora_{x}.weight"].double() for x in "AB")
        scale = alpha / math.sqrt(rank) if rslora else alpha / rank
        expected = base[f"{module}.weight"].double() + scale * torch.einsum("or,ri->oi", b, a)
        # float32 products and one addition.
        assert (model.get_parameter(f"{module}.weight") - expected).abs().max() < 1e-5 * expected.abs().max()
    untouched = [name for name in base if name.removesuffix(".weight") not in (Q, DOWN)]
    assert untouched
    assert all(torch.equal(model.get_parameter(name), base[name]) for name in untouched)


def test_weights_stored_the_other_way_round_get_the_transposed_product(gpt2, tmp_path):
    fc, proj = "transformer.h.1.mlp.c_fc", "transformer.h.0.attn.c_proj"
    tensors = pair(fc, 64, 16) | pair(proj, 16, 16, seed=2)
    directory = written(tmp_path, tensors, fan_in_fan_out=True)
    base, model = load_file(gpt2 / "model.safetensors"), build_model(opened(gpt2, directory))
    for module in (fc, proj):
        a, b = (tensors[f"base_model.model.{module}.lora_{x}.weight"] for x in "AB")
        expected = base[f"{module}.weight"].t() + 5 / 3 * (b @ a)
        assert torch.allclose(model.get_parameter(f"{module}.weight"), expected, atol=1e-5)


def test_saved_modules_biases_and_embeddings_take_their_places(llama, tmp_path):
    head = torch.randn(40, 16)
    a, b = torch.randn(3, 40), torch.randn(16, 3)
    embedding = "base_model.model.model.embed_tokens.lora_embedding_"
    tensors = {"base_model.model.lm_head.weight": head, f"{embedding}A": a, f"{embedding}B": b}
    model = build_model(opened(llama, written(tmp_path, tensors, modules_to_save=["lm_head"])))
    base = load_file(llama / "model.safetensors")
    assert torch.equal(model.lm_head.weight, head)
    expected = base["model.embed_tokens.weight"] + 5 / 3 * (b @ a).t()
    assert torch.allclose(model.model.embed_tokens.weight, expected, atol=1e-5)


def test_the_digest_follows_the_adapter(llama, tmp_path):
    base = catalog.open_checkpoint(str(llama)).source
    source = opened(llama, written(tmp_path, pair(Q, 16, 16))).source
    other = opened(llama, written(tmp_path, pair(Q, 16, 16, seed=9))).source
    louder = opened(llama, written(tmp_path, pair(Q, 16, 16, seed=9), lora_alpha=6)).source
    assert len({base.digest, source.digest, other.digest, louder.digest}) == 4
    assert source.adapter == str(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"lora_bias": True}, "lora_bias"),
        ({"r": 4}, "rank of 4"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"rank_pattern": {"(": 3}}, "no pattern"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_is_not_implemented_is_refused(llama, tmp_path, change, said):
    directory = written(tmp_path, pair(Q, 16, 16), **change)
    with pytest.raises(CheckpointError, match=said.replace("(", r"\(")):
        build_model(opened(llama, directory))


def test_a_key_that_nobody_knows_is_warned_of(llama, tmp_path):
    directory = written(tmp_path, pair(Q, 16, 16), new_thing=1)
    with pytest.warns(UserWarning, match=r"adapter_config\.json.*new_thing"):
        opened(llama, directory)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (pair("model.layers.7.self_attn.q_proj", 16, 16), r"layers\.7.*no counterpart"),
        (pair(Q, 16, 8), "shape"),
        (dict(list(pair(Q, 16, 16).items())[:1]), "no lora_B"),
        ({**pair(Q, 16, 16), f"base_model.model.{Q}.lora_magnitude_vector": torch.ones(16)}, "magnitude"),
        ({"base_model.model.model.norm.weight": torch.ones(16)}, "neither of low rank"),
        ({"base_model.model.lm_head.weight": torch.ones(41, 16)}, "enlarged vocabulary"),
        ({}, "no tensor"),
    ],
    ids=["layer", "shape", "half", "magnitude", "unannounced", "vocabulary", "empty"],
)
def test_tensors_without_a_place_are_named(llama, tmp_path, tensors, said):
    directory = written(tmp_path, tensors)
    with pytest.raises(CheckpointError, match=said):
        build_model(opened(llama, directory))


def test_a_tied_embedding_is_not_guessed_about(gpt2, tmp_path):
    tensors = {"base_model.model.transformer.wte.weight": torch.ones(40, 16)}
    with pytest.raises(CheckpointError, match="embedding and head"):
        opened(gpt2, written(tmp_path, tensors, modules_to_save=["wte"]))


def test_pickled_and_missing_adapters_are_refused(llama, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps(ADAPTER))
    with pytest.raises(CheckpointError, match="no such file"):
        opened(llama, tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="pickled"):
        opened(llama, tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        opened(llama, tmp_path / "nowhere")


def test_an_adapted_checkpoint_is_a_checkpoint(llama, tmp_path):
    checkpoint = opened(llama, written(tmp_path, pair(Q, 16, 16)))
    assert isinstance(checkpoint, AdaptedCheckpoint)
    plain = catalog.open_checkpoint(str(llama))
    assert checkpoint.tensor_names() == plain.tensor_names()
    assert checkpoint.shape(f"{Q}.weight") == plain.shape(f"{Q}.weight")
    checkpoint.close()
    with pytest.raises(CheckpointError, match="closed"):
        checkpoint.tensor("model.norm.weight")
