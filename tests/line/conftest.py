"""A model small enough that a whole study takes seconds."""

import json

import pytest

from assay import api

TINY_LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}


def write_tiny_model(folder):
    """Write the config of a random model; its path."""
    path = folder / "tiny" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(TINY_LLAMA))
    return path


def study_of(model):
    """A study of two variants that ends after two short rounds."""
    return {
        "name": "tiny",
        "model": str(model),
        "baseline": "fp32",
        "reference": "fp32",
        "variants": [
            {"name": "fp32"},
            {"name": "int8", "transforms": [{"kind": "cast", "dtype": "bf16"}, {"kind": "int8_weight_only"}]},
        ],
        "workloads": [
            {"kind": "load"},
            {"kind": "prefill", "prompt_tokens": 32, "new_tokens": 0},
            {"kind": "decode", "prompt_tokens": 8, "new_tokens": 8},
        ],
        "quality": {"tokens": 256, "context": 64, "sample_tokens": 0},
        "measure": {"budget_s": 120, "max_rounds": 2, "min_rounds": 2, "turns": 4, "warmup_cap_s": 0.5},
        "threads": 1,
    }


@pytest.fixture
def tiny_model(tmp_path):
    return write_tiny_model(tmp_path)


@pytest.fixture
def tiny_study(tiny_model):
    return study_of(tiny_model)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study and its store, run once for the tests that only look."""
    folder = tmp_path_factory.mktemp("finished")
    store = folder / "store"
    return api.run(study_of(write_tiny_model(folder)), store), store
