"""transformers computes what torch does from one artifact, and opens what Assay has no family for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import transformers

from assay.build.checkpoints import hf_directory
from assay.build.checkpoints import random as random_checkpoint
from assay.build.exporters import torch as torch_exporter
from assay.build.families import build_model
from assay.build.transform_modules import transform
from assay.core.errors import ContractError, UnsupportedError
from assay.core.records import Decoding, Target, TransformSpec
from assay.run.runtimes import transformers as runtime
from assay.run.torch_session import open_torch_session
from assay.worker import build_artifact

CONFIGS = {
    "llama": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "tie_word_embeddings": True,
    },
    "gpt2": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 128, "n_embd": 32, "n_layer": 2,
        "n_head": 4, "n_positions": 64,
    },
}  # fmt: skip
BF16 = TransformSpec(kind="cast", options={"dtype": "bf16"})
INT8 = TransformSpec(kind="int8_weight_only")
TARGET = Target(runtime="transformers", threads=1)
TOKENS = np.random.default_rng(5).integers(0, 128, (1, 24))


@pytest.fixture
def build(tmp_path):
    def make(name, specs=()):
        (tmp_path / "config.json").write_text(json.dumps(CONFIGS[name]))
        checkpoint = random_checkpoint.open_checkpoint(tmp_path / "config.json")
        model = build_model(checkpoint)
        changes = [transform(spec.kind).apply(model, transform(spec.kind).Options(**spec.options)) for spec in specs]
        directory = tmp_path / "artifact"
        torch_exporter.export(model, checkpoint.config, None, changes, checkpoint.source, specs, directory, {})
        return directory

    return make


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kv_cache", ["static", "none"])
def test_it_computes_what_torch_does(build, name, kv_cache):
    directory = build(name)
    ours = open_torch_session(directory, Target(threads=1), Decoding(), 64, 1)
    theirs = runtime.open_session(directory, TARGET, Decoding(kv_cache=kv_cache), 64)
    # float32 in another order of operations: relative error of some 1e-6.
    np.testing.assert_allclose(theirs.logits(TOKENS), ours.logits(TOKENS), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(theirs.prefill(TOKENS), ours.prefill(TOKENS), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(theirs.decode(TOKENS[:, :3]), ours.decode(TOKENS[:, :3]), rtol=1e-4, atol=1e-5)
    assert theirs.length == ours.length == 27
    theirs.rewind(24)
    ours.rewind(24)
    np.testing.assert_allclose(theirs.decode(TOKENS[:, 3:4]), ours.decode(TOKENS[:, 3:4]), rtol=1e-4, atol=1e-5)
    assert (theirs.kv_cache_bytes > 0) == (kv_cache == "static")
    theirs.close()
    theirs.close()


def test_facts_say_what_computes(build):
    session = runtime.open_session(build("llama", (BF16,)), TARGET, Decoding(), 64)
    assert session.facts["model_class"] == "LlamaForCausalLM"
    assert session.facts["activations_dtype"] == "bfloat16"
    assert session.facts["kv_cache"] == "transformers' DynamicCache"
    assert runtime.probe().usable


def test_what_it_cannot_carry_is_unsupported(build):
    directory = build("llama", (BF16, INT8))
    with pytest.raises(UnsupportedError, match="int8_weight_only"):
        runtime.open_session(directory, TARGET, Decoding(), 64)


def test_what_does_not_fit_is_refused(build):
    directory = build("llama")
    with pytest.raises(ContractError, match="context is 64"):
        runtime.open_session(directory, TARGET, Decoding(), 65)
    with pytest.raises(UnsupportedError, match="reads a prompt at once"):
        runtime.open_session(directory, TARGET, Decoding(prefill_chunk=8), 64)
    session = runtime.open_session(directory, TARGET, Decoding(), 16)
    with pytest.raises(ContractError, match="opened for 16"):
        session.prefill(TOKENS)
    with pytest.raises(ContractError, match="vocabulary has 128"):
        session.prefill(np.array([[128]]))


@pytest.fixture
def stranger(tmp_path):
    """A directory of an architecture that Assay has no family for."""
    config = transformers.OPTConfig(
        vocab_size=128, hidden_size=32, num_hidden_layers=2, ffn_dim=64, num_attention_heads=4,
        max_position_embeddings=64, word_embed_proj_dim=32,
    )  # fmt: skip
    model = transformers.OPTForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "opt")
    return tmp_path / "opt", model


def test_a_stranger_opens_as_it_is(stranger, tmp_path):
    import torch

    path, model = stranger
    checkpoint = hf_directory.open_checkpoint(path)
    build_artifact(checkpoint, (), "transformers", tmp_path / "as-it-is")
    target = Target(runtime="transformers-source", format="transformers", threads=1)
    session = runtime.open_session(tmp_path / "as-it-is", target, Decoding(), 48)
    with torch.inference_mode():
        expected = model(torch.from_numpy(TOKENS)).logits.numpy()
    np.testing.assert_allclose(session.logits(TOKENS), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(session.prefill(TOKENS)[0], expected[0, -1], rtol=1e-4, atol=1e-5)
    assert session.facts["model_class"] == "OPTForCausalLM"


def test_a_stranger_is_cast_and_nothing_else(stranger, tmp_path):
    path, _ = stranger
    checkpoint = hf_directory.open_checkpoint(path)
    build_artifact(checkpoint, (BF16,), "transformers", tmp_path / "bf16")
    target = Target(runtime="transformers-source", format="transformers", threads=1)
    assert runtime.open_session(tmp_path / "bf16", target, Decoding(), 48).facts["activations_dtype"] == "bfloat16"
    with pytest.raises(UnsupportedError, match="int8_weight_only"):
        build_artifact(checkpoint, (BF16, INT8), "transformers", tmp_path / "int8")
