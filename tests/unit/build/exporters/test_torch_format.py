"""Artifacts: what is written is loaded, by Assay and by transformers; what disagrees is refused."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from assay.build.exporters import torch as exporter
from assay.core.errors import CheckpointError, ContractError, CorruptFileError, StoreError, TransformError
from assay.core.records import Artifact, ModelSource, TransformSpec

RECIPES = ("fp32", "bf16", "fp16", "int8", "int8-head", "int4", "lut3", "mixed")
TOKENS = torch.arange(40).view(2, 20) * 2


@pytest.mark.parametrize("config", ["llama", "llama-untied", "gpt2", "nanogpt"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_loaded_artifact_computes_what_was_built(build, config, recipe):
    model, artifact, directory = build(config, recipe)
    loaded, record = exporter.load(directory, verify=True)
    assert record == artifact
    assert record == exporter.read_artifact(directory)
    with torch.inference_mode():
        assert torch.equal(loaded(TOKENS), model(TOKENS))


@pytest.mark.parametrize("config", ["llama", "llama-untied", "gpt2"])
@pytest.mark.parametrize("recipe", ["fp32", "bf16", "fp16"])
def test_transformers_loads_plain_artifacts(build, config, recipe):
    from transformers import AutoModelForCausalLM

    _, _, directory = build(config, recipe)
    theirs, told = AutoModelForCausalLM.from_pretrained(directory, dtype="auto", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    ours, artifact = exporter.load(directory)
    assert str(theirs.dtype) == f"torch.{artifact.contract.dtype}"
    with torch.inference_mode():
        found, expected = ours(TOKENS).float(), theirs.eval()(TOKENS).logits.float()
    # A few roundings of the type: two layers.
    rounding = {"fp32": 1e-6, "bf16": 2**-7, "fp16": 2**-9}[recipe]
    assert (found - expected).abs().max() <= 4 * rounding * expected.abs().max()


@pytest.mark.parametrize("config", ["llama", "llama-untied", "gpt2"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_numbers_are_those_of_the_tensors(build, config, recipe):
    _, artifact, directory = build(config, recipe)
    stored = load_file(directory / "model.safetensors")
    loaded, _ = exporter.load(directory)
    resident = {id(parameter): parameter for parameter in loaded.parameters()}
    fp32, _ = exporter.load(build(config, "fp32", directory.with_name("plain"))[2])
    assert artifact.parameter_count == sum(parameter.numel() for parameter in fp32.parameters())
    assert artifact.weight_bytes == sum(tensor.nbytes for tensor in stored.values())
    assert artifact.resident_weight_bytes == sum(parameter.nbytes for parameter in resident.values())
    looked_up = {
        "llama": ["model.embed_tokens"] if recipe == "int8-head" else [],
        "llama-untied": ["model.embed_tokens"],
        "gpt2": ["transformer.wpe", *(["transformer.wte"] if recipe == "int8-head" else [])],
    }[config]
    unread = sum(loaded.get_parameter(f"{name}.weight").nbytes for name in looked_up)
    assert artifact.decode_weight_bytes == artifact.resident_weight_bytes - unread
    assert {file.name for file in artifact.files} == {"config.json", "model.safetensors"}
    for file in artifact.files:
        assert file.size_bytes == (directory / file.name).stat().st_size


def test_int4_weights_that_the_kernel_takes_stay_int4_in_memory(build):
    model, artifact, directory = build("llama", "int4-kernel")
    loaded, _ = exporter.load(directory, verify=True)
    assert {type(m).__name__ for m in loaded.modules()} >= {"Int4KernelLinear", "Linear"}
    assert "Int4Linear" not in {type(m).__name__ for m in loaded.modules()}
    resident = {id(parameter): parameter for parameter in loaded.parameters()}
    assert artifact.resident_weight_bytes == sum(parameter.nbytes for parameter in resident.values())
    with torch.inference_mode():
        found, expected = loaded(TOKENS).float(), model(TOKENS).float()
    # The kernel sums in another order before it rounds to bfloat16.
    assert (found - expected).abs().max() <= 4 * 2**-7 * expected.abs().max()
    elsewhere, _ = exporter.load(directory, cpu_kernels=False)
    with torch.inference_mode():
        assert torch.equal(elsewhere(TOKENS), model(TOKENS))


def test_quantised_layers_are_described_in_the_config(build):
    _, _, directory = build("llama", "mixed")
    config = json.loads((directory / "config.json").read_text())
    layers = config["assay"]["layers"]
    assert layers["model.layers.0.mlp.up_proj"]["bits"] == 5
    assert layers["model.layers.0.self_attn.q_proj"]["layout"].startswith("int8")
    assert "lm_head" not in layers
    assert config["dtype"] == "bfloat16"


def test_the_digest_is_known_before_and_depends_on_the_whole_recipe(build):
    _, artifact, _ = build("llama", "int8")
    same = exporter.artifact_digest(artifact.source, artifact.transforms, "torch", {"torch": "1"})
    assert artifact.digest == same
    moved = artifact.source.model_copy(update={"location": "elsewhere"})
    assert exporter.artifact_digest(moved, artifact.transforms, "torch", {"torch": "1"}) == same
    others = [
        (ModelSource(kind="random", location="x", digest="0" * 64), artifact.transforms, "torch", {"torch": "1"}),
        (artifact.source, artifact.transforms[:1], "torch", {"torch": "1"}),
        (artifact.source, artifact.transforms[::-1], "torch", {"torch": "1"}),
        (artifact.source, artifact.transforms, "onnx", {"torch": "1"}),
        (artifact.source, artifact.transforms, "torch", {"torch": "2"}),
    ]
    assert len({same, *(exporter.artifact_digest(*other) for other in others)}) == 6


def test_a_full_directory_is_left_alone_and_an_empty_one_is_taken(build, tmp_path):
    (tmp_path / "mine").mkdir()
    build("llama", "bf16", tmp_path / "mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    with pytest.raises(StoreError, match="something is there already"):
        build("llama", "fp32", tmp_path / "mine")
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "source"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_named(build, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="Check the path"):
        build("llama", "bf16", tmp_path / "closed" / "artifact")


def test_an_error_in_the_middle_leaves_nothing(build, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporter, "save_file", fail)
    with pytest.raises(StoreError, match="No space left"):
        build("llama", "bf16", tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


# ------------------------------------------------------------------------------------ artifacts that are not whole


def edit_record(directory, **updates):
    """Change artifact.json, and keep the recorded sizes true to the files."""
    fields = json.loads((directory / "artifact.json").read_text())
    for file in fields["files"]:
        file["size_bytes"] = (directory / file["name"]).stat().st_size
    contract = updates.pop("contract", {})
    fields["contract"].update(contract)
    fields.update(updates)
    (directory / "artifact.json").write_text(json.dumps(fields))


def edit_config(directory, **updates):
    config = json.loads((directory / "config.json").read_text())
    config.update(updates)
    (directory / "config.json").write_text(json.dumps(config))
    edit_record(directory)


@pytest.mark.parametrize(
    ("updates", "said"),
    [
        ({"max_position_embeddings": 128}, "context_length is 128 by config.json and 64 by artifact.json"),
        ({"vocab_size": 97}, "vocab_size is 97"),
        ({"num_key_value_heads": 4}, "num_key_value_heads is 4"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ({"sliding_window": 8}, "sliding_window = 8"),
    ],
)
def test_a_config_that_disagrees_is_refused(build, updates, said):
    _, _, directory = build("llama", "bf16")
    edit_config(directory, **updates)
    with pytest.raises(ContractError, match=said):
        exporter.load(directory)


def test_a_record_that_disagrees_on_the_type_is_refused(build):
    _, _, directory = build("llama", "bf16")
    edit_record(directory, contract={"dtype": "float16"})
    with pytest.raises(ContractError, match=r"artifact\.json says float16, its transforms give bfloat16"):
        exporter.load(directory)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), r"lacks model\.norm\.weight"),
        (lambda tensors: tensors.update(extra=torch.ones(2)), "also has extra"),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(32)}), "it is torch.float32.*implies"),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(8, 4).bfloat16()}), r"\[8, 4\].*\[32\]"),
    ],
)
def test_tensors_that_disagree_are_refused(build, edit, said):
    _, _, directory = build("llama", "bf16")
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors")
    edit_record(directory)
    with pytest.raises(ContractError, match=said):
        exporter.load(directory)


def test_damaged_and_missing_files_are_told_apart(build):
    _, _, directory = build("llama", "bf16")
    weights = directory / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    exporter.load(directory)
    with pytest.raises(CorruptFileError, match="SHA-256"):
        exporter.load(directory, verify=True)
    weights.write_bytes(content[:-1])
    with pytest.raises(CorruptFileError, match=f"{len(content) - 1} bytes, {len(content)} were written"):
        exporter.load(directory)
    weights.unlink()
    with pytest.raises(CorruptFileError, match="is missing"):
        exporter.load(directory)
    with pytest.raises(CheckpointError, match="there is no such file"):
        exporter.load(directory / "nowhere")


def test_a_record_cannot_name_files_elsewhere(build, tmp_path):
    _, artifact, directory = build("llama", "bf16")
    (tmp_path / "secret").write_text("x")
    files = [{"name": "../../secret", "size_bytes": 1, "sha256": "0" * 64}]
    fields = json.loads(artifact.to_json())
    (directory / "artifact.json").write_text(json.dumps({**fields, "files": files}))
    with pytest.raises(CorruptFileError, match="is missing"):
        exporter.load(directory)


CHANGE = {"modules": ["model.layers.9.mlp.up_proj"], "bytes_before": 1, "bytes_after": 1, "notes": []}
SHRUNK = {"transforms": [{"kind": "shrink", "options": {}}], "changes": [{**CHANGE, "kind": "shrink"}]}
ELSEWHERE = {
    "transforms": [{"kind": "int8_weight_only", "options": {}}],
    "changes": [{**CHANGE, "kind": "int8_weight_only"}],
}


@pytest.mark.parametrize(
    ("updates", "error", "said"),
    [
        ({"digest": 7}, CorruptFileError, "no artifact record"),
        (SHRUNK, TransformError, "Known ones: cast"),
        (ELSEWHERE, TransformError, "no such module"),
        ({"transforms": [{"kind": "cast", "options": {"dtype": "fp8"}}]}, TransformError, "options of cast"),
        ({"transforms": []}, ContractError, "not one change for each transform"),
    ],
)
def test_a_record_that_cannot_be_followed_is_refused(build, updates, error, said):
    _, _, directory = build("llama", "bf16")
    edit_record(directory, **updates)
    with pytest.raises(error, match=said):
        exporter.load(directory)


def test_the_record_round_trips(build):
    _, artifact, _ = build("gpt2", "mixed")
    assert Artifact.from_json(artifact.to_json()) == artifact
    assert artifact.transforms[1] == TransformSpec(kind="palettize", options={"bits": 5, "names": ("*mlp*",)})
