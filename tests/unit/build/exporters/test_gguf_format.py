"""GGUF artifacts hold the variant's own weights: by Assay's reader, and by the gguf package's own dequantisation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

gguf_package = pytest.importorskip("gguf")

from assay.build.checkpoints import gguf as gguf_checkpoint  # noqa: E402
from assay.build.checkpoints import random as random_checkpoint  # noqa: E402
from assay.build.exporters import gguf as exporter  # noqa: E402
from assay.build.exporters import gguf_source  # noqa: E402
from assay.build.exporters.torch import read_artifact  # noqa: E402
from assay.build.families import build_model  # noqa: E402
from assay.build.transform_modules import transform  # noqa: E402
from assay.core.errors import UnsupportedError  # noqa: E402
from assay.core.records import TransformSpec  # noqa: E402

WIDE = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
}
CONFIGS = {
    "llama": {"model_type": "llama", **WIDE, "tie_word_embeddings": True},
    "llama-untied": {"model_type": "llama", **WIDE, "tie_word_embeddings": False, "attention_bias": True},
    "qwen2": {"model_type": "qwen2", **WIDE, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", **WIDE, "tie_word_embeddings": True},
    "gemma3": {"model_type": "gemma3_text", **WIDE, "query_pre_attn_scalar": 16, "sliding_window": 32},
    "gpt2": {"model_type": "gpt2", "vocab_size": 96, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128},
}
BF16 = TransformSpec(kind="cast", options={"dtype": "bf16"})
RECIPES = {
    "fp32": (),
    "bf16": (BF16,),
    "fp16": (TransformSpec(kind="cast", options={"dtype": "fp16"}),),
    "int8": (BF16, TransformSpec(kind="int8_weight_only")),
    "int8-head": (BF16, TransformSpec(kind="int8_weight_only", options={"head": True})),
    "int4": (BF16, TransformSpec(kind="int4_weight_only")),
    "int4-g64": (BF16, TransformSpec(kind="int4_weight_only", options={"group_size": 64, "names": ("*attn*",)})),
    "int4-g16": (BF16, TransformSpec(kind="int4_weight_only", options={"group_size": 16})),
    "lut3": (BF16, TransformSpec(kind="palettize", options={"bits": 3, "output_channels": 32})),
}


@pytest.fixture
def build(tmp_path):
    def make(config, recipe, **changed):
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**CONFIGS[config], **changed}))
        checkpoint = random_checkpoint.open_checkpoint(path)
        model = build_model(checkpoint)
        changes = []
        for spec in RECIPES[recipe]:
            module = transform(spec.kind)
            changes.append(module.apply(model, module.Options(**spec.options)))
        directory = tmp_path / "built"
        artifact = exporter.export(
            model, checkpoint.config, None, changes, checkpoint.source, RECIPES[recipe], directory, {}
        )
        return model, artifact, directory

    return make


def weights_of(model):
    """Every weight as float32 in the orientation of a linear layer, by name."""
    found = {}
    for path, module in model.named_modules():
        if hasattr(module, "levels"):
            found[f"{path}.weight"] = module.expanded(torch.float32)
        elif hasattr(module, "weight_scale"):
            found[f"{path}.weight"] = module.weight.float() * module.weight_scale.float()[:, None]
        elif not hasattr(module, "palette"):
            found |= {f"{path}.{leaf}": value.float() for leaf, value in module.named_parameters(recurse=False)}
    return found


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_assays_own_reader_gives_the_same_weights(build, config, recipe):
    model, artifact, directory = build(config, recipe)
    read = weights_of(build_model(gguf_checkpoint.open_checkpoint(directory / "model.gguf")))
    expected = weights_of(model)
    assert set(expected) <= set(read)
    for name, weight in expected.items():
        # Integers and scales are the very same; int4 in groups that no block has is rounded to bf16, relative 2^-9.
        tolerance = 2**-8 if recipe == "int4-g16" else 0.0
        assert torch.allclose(read[name], weight, rtol=tolerance, atol=0.0), name
    assert read_artifact(directory) == artifact
    assert artifact.weight_bytes <= (directory / "model.gguf").stat().st_size


@pytest.mark.parametrize(
    ("recipe", "block"), [("fp32", "F32"), ("bf16", "BF16"), ("fp16", "F16"), ("int8", "Q8_0"), ("int4", "Q4_0")]
)
def test_the_gguf_package_reads_the_same(build, recipe, block):
    model, _, directory = build("llama", recipe)
    tensors = {tensor.name: tensor for tensor in gguf_package.GGUFReader(directory / "model.gguf").tensors}
    down = tensors["blk.0.ffn_down.weight"]
    assert down.tensor_type.name == block
    assert tensors["blk.0.attn_norm.weight"].tensor_type.name == "F32"
    assert "output.weight" not in tensors
    read = gguf_package.quants.dequantize(down.data, down.tensor_type)
    expected = weights_of(model)["model.layers.0.mlp.down_proj.weight"].detach().numpy()
    np.testing.assert_array_equal(read, expected)


def test_queries_are_permuted_as_llama_cpp_wants_them(build):
    model, _, directory = build("llama", "fp32")
    tensors = {tensor.name: tensor.data for tensor in gguf_package.GGUFReader(directory / "model.gguf").tensors}
    query = model.get_submodule("model.layers.0.self_attn.q_proj").weight.detach().numpy()
    # llama.cpp's converter: reshape(heads, 2, half, in).swapaxes(1, 2): pairs of rows lie side by side.
    expected = query.reshape(4, 2, 8, 64).swapaxes(1, 2).reshape(64, 64)
    np.testing.assert_array_equal(tensors["blk.0.attn_q.weight"], expected)


def test_what_would_not_be_read_back_is_refused(build):
    with pytest.raises(UnsupportedError, match="would be read back as"):
        build("llama", "fp32", rope_scaling={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64})  # fmt: skip


def test_notes_say_what_becomes_of_integers_and_of_the_vocabulary(build):
    _, artifact, _ = build("llama", "int4")
    notes = " ".join(note for change in artifact.changes for note in change.notes)
    assert "Q4_0: the same integers" in notes
    assert "placeholders" in notes


def test_a_gguf_source_is_run_as_it_is(build, tmp_path):
    _, _, directory = build("llama", "int8")
    checkpoint = gguf_checkpoint.open_checkpoint(directory / "model.gguf")
    model = build_model(checkpoint)
    target = tmp_path / "as-it-is"
    artifact = gguf_source.export(model, checkpoint.config, None, (), checkpoint.source, (), target, {})
    assert (target / "model.gguf").read_bytes() == (directory / "model.gguf").read_bytes()
    assert artifact.weight_bytes < model.lm_head.weight.nbytes + sum(p.nbytes for p in model.parameters())
    with pytest.raises(UnsupportedError, match="transform 'cast'"):
        gguf_source.export(model, checkpoint.config, None, (), checkpoint.source, (BF16,), tmp_path / "no", {})
    other = checkpoint.source.model_copy(update={"kind": "hf_directory"})
    with pytest.raises(UnsupportedError, match="no GGUF file"):
        gguf_source.export(model, checkpoint.config, None, (), other, (), tmp_path / "no", {})
