"""Hugging Face directories against what transformers and safetensors wrote; files that lie."""

import json
import struct
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from assay.build.checkpoints import hf_directory
from assay.build.checkpoints.safetensors_file import read_safetensors
from assay.core.errors import CheckpointError, CorruptFileError, TokenizerError
from assay.core.records import Absent


@pytest.fixture(scope="module")
def model():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=100, num_key_value_heads=2, eos_token_id=[2, 7], **sizes))


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_tensors_are_those_that_transformers_saved(model, tmp_path, shard):
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "20KB")
    assert hf_directory.recognises(tmp_path)
    checkpoint = hf_directory.open_checkpoint(tmp_path)
    expected = model.state_dict()
    assert set(checkpoint.tensor_names()) == set(expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, tensor in expected.items():
            assert torch.equal(checkpoint.tensor(name), tensor)
            assert checkpoint.shape(name) == tuple(tensor.shape)
    assert checkpoint.config["model_type"] == "llama"
    assert checkpoint.source.kind == "hf_directory"
    assert isinstance(checkpoint.source.quantisation, Absent)
    checkpoint.close()
    with pytest.raises(CheckpointError, match="closed"):
        checkpoint.tensor("lm_head.weight")


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int64,
    torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_shape_and_place_is_read(tmp_path, dtype):
    tensors = {
        "scalar": torch.ones((), dtype=dtype),
        "matrix": (torch.arange(15).reshape(3, 5) % 2).to(dtype),
        "empty": torch.empty((0, 3), dtype=dtype),
        "odd": torch.ones((3,), dtype=torch.uint8),
    }
    save_file(tensors, tmp_path / "all.safetensors", metadata={"format": "pt"})
    found = read_safetensors(tmp_path / "all.safetensors")
    assert set(found.tensors) == set(tensors)
    for name, tensor in tensors.items():
        read = found.tensor(name)
        assert (read.dtype, read.shape) == (tensor.dtype, tensor.shape)
        assert read.reshape(-1).view(torch.uint8).tolist() == tensor.reshape(-1).view(torch.uint8).tolist()


def test_a_tensor_at_an_odd_place_is_read(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode() + b" "
    header += b" " * ((len(header) + 1) % 2)
    assert (8 + len(header)) % 4
    (tmp_path / "odd.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.5, -2))
    assert read_safetensors(tmp_path / "odd.safetensors").tensor("a").tolist() == [1.5, -2]


def test_tensors_are_mapped_and_writing_to_one_leaves_the_file_alone(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1024)}, path)
    before = path.read_bytes()
    file = read_safetensors(path)
    first, second = file.tensor("a"), file.tensor("a")
    assert first.data_ptr() == second.data_ptr()
    first.fill_(3)
    del file
    assert first.sum() == 3 * 1024
    assert path.read_bytes() == before


def test_a_single_file_is_opened_with_the_config_beside_it(model, tmp_path):
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    assert hf_directory.recognises(path)
    assert set(hf_directory.open_checkpoint(path).tensor_names()) == set(model.state_dict())
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json.*no such file"):
        hf_directory.open_checkpoint(path)


def test_a_quantised_source_says_so(model, tmp_path):
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    assert hf_directory.open_checkpoint(tmp_path).source.quantisation == "gptq"


def test_the_digest_follows_the_content(model, tmp_path):
    model.save_pretrained(tmp_path)
    before = hf_directory.open_checkpoint(tmp_path).source.digest
    assert hf_directory.open_checkpoint(tmp_path).source.digest == before
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert hf_directory.open_checkpoint(tmp_path).source.digest != before


# ------------------------------------------------------------------------------------------------ files that lie


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


EIGHT = b"\0" * 8
LIES = {
    "empty": (b"", "empty"),
    "short": (b"\0\0\0", "fewer"),
    "length": (safetensors({}, length=1 << 63), "claims"),
    "length of a whole file": (safetensors({}, length=100), "claims"),
    "no JSON": (safetensors(b"{]"), "no JSON"),
    "no object": (safetensors([1]), "JSON list"),
    "not UTF-8": (safetensors(b'{"\xff": 1}'), "UTF-8"),
    "nested": (safetensors(b"[" * 100_000), "JSON"),
    "long number": (safetensors(b'{"a": ' + b"9" * 5000 + b"}"), "JSON"),
    "entry is a list": (safetensors({"a": []}), "no JSON object"),
    "type": (safetensors({"a": entry("F3")}, EIGHT), "'F3'"),
    "type is a list": (safetensors({"a": entry([1])}, EIGHT), "type"),
    "no type": (safetensors({"a": {"shape": [2], "data_offsets": [0, 8]}}, EIGHT), "None"),
    "shape is a number": (safetensors({"a": entry(shape=2)}, EIGHT), "shape"),
    "negative shape": (safetensors({"a": entry(shape=[-2])}, EIGHT), "shape"),
    "fractional shape": (safetensors({"a": entry(shape=[2.0])}, EIGHT), "shape"),
    "true as a shape": (safetensors({"a": entry(shape=[True, 2])}, EIGHT), "shape"),
    "many dimensions": (safetensors({"a": entry(shape=[1] * 65)}, EIGHT), "shape"),
    "huge shape": (safetensors({"a": entry(shape=[1 << 62, 1 << 62])}, EIGHT), "needs"),
    "offsets beyond": (safetensors({"a": entry(offsets=[0, 16])}, EIGHT), "does not lie"),
    "offsets turned round": (safetensors({"a": entry(offsets=[8, 0])}, EIGHT), "does not lie"),
    "one offset": (safetensors({"a": entry(offsets=[0])}, EIGHT), "does not lie"),
    "size": (safetensors({"a": entry(shape=[1])}, EIGHT), "needs 4 bytes and has 8"),
    "overlap": (safetensors({"a": entry(), "b": entry(offsets=[4, 12])}, EIGHT * 2), "overlaps"),
    "gap": (safetensors({"a": entry(offsets=[4, 12])}, EIGHT * 2), "does not follow"),
    "rest": (safetensors({"a": entry()}, EIGHT * 2), "end at byte"),
}


@pytest.mark.parametrize("case", LIES)
def test_a_file_that_lies_is_refused_with_what_was_found(tmp_path, case):
    content, expected = LIES[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CorruptFileError) as caught:
        hf_directory.open_checkpoint(tmp_path)
    assert expected in caught.value.found
    assert str(path) in caught.value.asked


@pytest.fixture
def sharded(tmp_path):
    """Two shards and their index, and a function that rewrites the index."""
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    save_file({"b": torch.ones(3)}, tmp_path / "two.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    def index(**weight_map: object) -> Path:
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        return tmp_path

    return index


def test_shards_are_found_through_the_index(sharded):
    checkpoint = hf_directory.open_checkpoint(sharded(a="one.safetensors", b="two.safetensors"))
    assert checkpoint.tensor("b").tolist() == [1, 1, 1]


def test_a_missing_shard_is_named(sharded):
    with pytest.raises(CheckpointError, match=r"'three\.safetensors' is missing"):
        hf_directory.open_checkpoint(sharded(a="one.safetensors", b="three.safetensors"))


@pytest.mark.parametrize("name", ["../one.safetensors", "/etc/passwd", "..", "", "a\\b", "c:x", "x\0y"])
def test_a_shard_outside_of_the_directory_is_refused(sharded, name):
    with pytest.raises(CheckpointError, match="no plain file name"):
        hf_directory.open_checkpoint(sharded(a=name))


def test_an_index_that_disagrees_with_its_shards_is_refused(sharded):
    with pytest.raises(CorruptFileError, match="'c' is not in the shard"):
        hf_directory.open_checkpoint(sharded(a="one.safetensors", b="two.safetensors", c="two.safetensors"))
    with pytest.raises(CorruptFileError, match="'b' is not in the shard"):
        hf_directory.open_checkpoint(sharded(a="one.safetensors", b="one.safetensors"))
    with pytest.raises(CorruptFileError, match="weight_map"):
        hf_directory.open_checkpoint(sharded(a=3))


def test_a_tensor_in_two_shards_is_named_with_both(sharded, tmp_path):
    index = sharded(a="one.safetensors", b="two.safetensors")
    directory = index if index.is_dir() else index.parent
    save_file({"b": torch.ones(3), "a": torch.zeros(2)}, directory / "two.safetensors")
    with pytest.raises(CorruptFileError, match=r"'a' is in two shards, 'one\.safetensors' and 'two\.safetensors'"):
        hf_directory.open_checkpoint(directory)


def test_pickled_weights_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    assert hf_directory.recognises(tmp_path)
    with pytest.raises(CheckpointError, match="safe_serialization"):
        hf_directory.open_checkpoint(tmp_path)


def test_several_files_without_an_index_are_refused(tmp_path):
    for name in ("a", "b"):
        save_file({name: torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match="2 safetensors files"):
        hf_directory.open_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '"llama"'])
def test_a_malformed_config_is_refused(model, tmp_path, text):
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CorruptFileError, match=r"config\.json"):
        hf_directory.open_checkpoint(tmp_path)


def test_a_directory_without_a_tokenizer_says_so(model, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json"):
        hf_directory.open_checkpoint(tmp_path).tokenizer()


def test_an_empty_directory_and_other_files_are_not_recognised(tmp_path):
    assert not hf_directory.recognises(tmp_path)
    assert not hf_directory.recognises(tmp_path / "model.gguf")
