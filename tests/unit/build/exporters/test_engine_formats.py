"""Every family in the formats of other engines computes what torch computes, chunk by chunk through the cache."""

import json

import numpy as np
import pytest
import torch

from assay import catalog
from assay.build.checkpoints import random as random_checkpoint
from assay.build.families import build_model
from assay.build.graph import OPERATIONS, describe
from assay.build.transform_modules import transform
from assay.core.errors import UnsupportedError
from assay.core.records import Decoding, Target, TransformSpec
from tiny_models import as_json, plain


def for_engines(config):
    """The same with heads as wide as ONNX Runtime's attention wants them, and layers that integer kernels take."""
    width = 64 if config["model_type"] in ("gpt_neox", "phi") else 16
    if config["model_type"] == "gpt2":
        return {**config, "n_embd": config["n_head"] * width, "n_inner": 128}
    sizes = {"hidden_size": config["num_attention_heads"] * width, "intermediate_size": 128}
    if "word_embed_proj_dim" in config:
        sizes = {"hidden_size": sizes["hidden_size"], "word_embed_proj_dim": sizes["hidden_size"]}
    return {**config, **sizes, **({"head_dim": width} if "head_dim" in config else {})}


NARROW = {name: as_json(config) for name, config in plain().items()}
FAMILIES = {name: for_engines(config) for name, config in NARROW.items()}
CARRIED = ("gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "phi", "qwen2", "qwen3")
"""Families that the engines must carry; of others it is seen whether they do."""
ENGINES = {"onnxruntime": "onnxruntime", "openvino": "openvino"}
BF16 = TransformSpec(kind="cast", options={"dtype": "bf16"})
RECIPES = {
    "fp32": (),
    "bf16": (BF16,),
    "int8": (BF16, TransformSpec(kind="int8_weight_only")),
    "int8-head": (BF16, TransformSpec(kind="int8_weight_only", options={"head": True})),
    "int4": (BF16, TransformSpec(kind="int4_weight_only", options={"group_size": 16})),
    "lut4": (BF16, TransformSpec(kind="palettize", options={"bits": 4})),
}
# bfloat16 rounds to 8 bits, at other places in each engine, in a handful of operations a layer.
BOUNDS = {"float32": 2e-5, "bfloat16": 0.04}


def opened(config, recipe, runtime, directory, capacity=40):
    """The transformed model of torch, and a session of the same weights in another engine."""
    pytest.importorskip(ENGINES[runtime], reason=f"not installed: pip install 'assay[{runtime}]'")
    source = directory / "config.json"
    source.write_text(json.dumps(config))
    checkpoint = random_checkpoint.open_checkpoint(source)
    model = build_model(checkpoint)
    changes = []
    for spec in RECIPES[recipe]:
        module = transform(spec.kind)
        changes.append(module.apply(model, module.Options(**spec.options)))
    entry = catalog.RUNTIMES[runtime]
    exporter = catalog.exporter(entry.format)
    artifact = exporter.export(
        model, checkpoint.config, None, changes, checkpoint.source, RECIPES[recipe], directory / "built", {}
    )
    target = Target(runtime=runtime, format=entry.format, threads=1)
    session = catalog.runtime(runtime).open_session(directory / "built", target, Decoding(), capacity=capacity)
    return model, artifact, session


def through_the_cache(session, tokens, chunks):
    """Logits of every position but those within the first chunk."""
    parts = [session.prefill(tokens[:, : chunks[0]])]
    at = chunks[0]
    for size in chunks[1:]:
        parts.append(session.decode(tokens[:, at : at + size])[0])
        at += size
    return np.concatenate(parts)


@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_what_torch_computes(tmp_path, family, runtime):
    try:
        model, _, session = opened(FAMILIES[family], "fp32", runtime, tmp_path)
    except UnsupportedError as error:
        assert family not in CARRIED
        pytest.skip(f"{family} is a row that says: {error.found}")
    tokens = np.random.default_rng(0).integers(0, FAMILIES[family]["vocab_size"], (1, 32))
    with torch.inference_mode():
        expected = model(torch.from_numpy(tokens)).float().numpy()
    size = np.abs(expected).max()
    assert np.abs(session.logits(tokens) - expected).max() <= BOUNDS["float32"] * size
    for chunks in ((1,) * 32, (20, 1, 7, 1, 1, 2), (31, 1)):
        found = through_the_cache(session, tokens, chunks)
        assert np.abs(found - expected[0, chunks[0] - 1 :]).max() <= BOUNDS["float32"] * size
    session.close()


@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "fp32"])
def test_every_variant_carries_the_numbers_of_the_variant(tmp_path, family, recipe, runtime):
    if runtime == "onnxruntime" and recipe in ("bf16", "lut4"):
        with pytest.raises(UnsupportedError, match="NOT_IMPLEMENTED"):  # the engine's own words
            opened(FAMILIES[family], recipe, runtime, tmp_path)
        return
    model, artifact, session = opened(FAMILIES[family], recipe, runtime, tmp_path)
    tokens = np.random.default_rng(0).integers(0, FAMILIES[family]["vocab_size"], (1, 32))
    # Exact arithmetic on the stored numbers: the engine may be nearer to it than torch in bfloat16 is.
    with torch.inference_mode():
        rounded = model(torch.from_numpy(tokens)).float().numpy()
    size = np.abs(rounded).max()
    assert np.abs(session.logits(tokens) - rounded).max() <= BOUNDS["bfloat16"] * size
    found = through_the_cache(session, tokens, (20, 1, 7, 1, 1, 2))
    assert np.abs(found - rounded[0, 19:]).max() <= BOUNDS["bfloat16"] * size
    kernels = " ".join(session.facts["kernels"])
    if recipe.startswith("int"):
        integer = {"onnxruntime": "MatMulNBits", "openvino": {"int8": "i8", "int4": "i4"}[recipe[:4]]}[runtime]
        assert integer in kernels
        notes = " ".join(note for change in artifact.changes for note in change.notes)
        assert "own int" in notes
        assert "torch" not in notes
    session.close()


def test_heads_that_the_engine_does_not_take_are_refused_with_its_rule(tmp_path):
    with pytest.raises(UnsupportedError, match="multiples of 16"):
        opened(NARROW["llama"], "fp32", "onnxruntime", tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_description_leaves_the_model_as_it_was(family, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(FAMILIES[family]))
    model = build_model(random_checkpoint.open_checkpoint(tmp_path / "config.json"))
    if family not in CARRIED:
        pytest.skip(f"{family} need not be described")
    tokens = torch.arange(12)[None]
    with torch.inference_mode():
        before = model(tokens)
    names = [name for name, _ in model.named_parameters()]
    graph = describe(model, type(model).__module__)
    assert {value.op for value in graph.values()} <= set(OPERATIONS)
    assert [name for name, _ in model.named_parameters()] == names
    with torch.inference_mode():
        assert torch.equal(model(tokens), before)


@pytest.mark.parametrize("format_name", ["onnx", "openvino_ir"])
def test_every_graph_exporter_knows_every_operation(format_name):
    pytest.importorskip(catalog.EXPORTERS[format_name].package)
    lowering = catalog.exporter(format_name)._Lowering
    assert [op for op in OPERATIONS if not hasattr(lowering, f"_{op}")] == []
