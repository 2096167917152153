"""GGUF files: names, layout and config against the gguf package and transformers; files that lie."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from assay.build.checkpoints import gguf as gguf_checkpoint
from assay.build.checkpoints.gguf_container import read_gguf
from assay.core.errors import CheckpointError, CorruptFileError, TokenizerError, UnknownArchitectureError
from assay.core.records import Absent

HIDDEN, HEADS, KV_HEADS, FEED_FORWARD, VOCABULARY = 32, 4, 2, 64, 48


def llama_writer(path: Path, architecture: str = "llama", blocks: int = 1) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(blocks)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    return writer


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_shapes() -> dict[str, tuple[int, ...]]:
    wide = KV_HEADS * HIDDEN // HEADS
    return {
        "token_embd.weight": (VOCABULARY, HIDDEN),
        "blk.0.attn_norm.weight": (HIDDEN,),
        "blk.0.attn_q.weight": (HIDDEN, HIDDEN),
        "blk.0.attn_k.weight": (wide, HIDDEN),
        "blk.0.attn_v.weight": (wide, HIDDEN),
        "blk.0.attn_output.weight": (HIDDEN, HIDDEN),
        "blk.0.ffn_norm.weight": (HIDDEN,),
        "blk.0.ffn_gate.weight": (FEED_FORWARD, HIDDEN),
        "blk.0.ffn_up.weight": (FEED_FORWARD, HIDDEN),
        "blk.0.ffn_down.weight": (HIDDEN, FEED_FORWARD),
        "output_norm.weight": (HIDDEN,),
    }


@pytest.fixture
def tiny(tmp_path):
    """A small llama file: Q8_0 matrices, float32 norms."""
    writer = llama_writer(tmp_path / "tiny.gguf")
    rng = np.random.default_rng(0)
    for name, shape in llama_shapes().items():
        values = rng.standard_normal(shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    finish(writer)
    return tmp_path / "tiny.gguf"


def test_config_and_names_are_those_of_hugging_face(tiny):
    from transformers import LlamaConfig, LlamaForCausalLM

    checkpoint = gguf_checkpoint.open_checkpoint(tiny)
    assert checkpoint.config["rms_norm_eps"] == 1e-5  # not 9.99999975e-06, what float32 holds
    assert checkpoint.config["vocab_size"] == VOCABULARY
    assert checkpoint.config["tie_word_embeddings"] is True
    model = LlamaForCausalLM(LlamaConfig(**checkpoint.config))
    expected = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    assert {name: checkpoint.shape(name) for name in checkpoint.tensor_names()} == expected
    assert checkpoint.tensor("model.norm.weight").dtype == torch.float32


def test_the_converters_permutation_of_q_and_k_is_undone(tmp_path):
    rng = np.random.default_rng(1)
    original = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in llama_shapes().items()}
    writer = llama_writer(tmp_path / "permuted.gguf")
    for name, values in original.items():
        heads = {"blk.0.attn_q.weight": HEADS, "blk.0.attn_k.weight": KV_HEADS}.get(name)
        if heads is not None:  # the two halves of a head's rotary dimensions are interleaved, row by row
            half = values.shape[0] // heads // 2
            order = [h * 2 * half + part * half + i for h in range(heads) for i in range(half) for part in (0, 1)]
            values = values[order]
        writer.add_tensor(name, values)
    finish(writer)
    checkpoint = gguf_checkpoint.open_checkpoint(tmp_path / "permuted.gguf")
    for ours, name in (("q", "blk.0.attn_q.weight"), ("k", "blk.0.attn_k.weight"), ("v", "blk.0.attn_v.weight")):
        found = checkpoint.tensor(f"model.layers.0.self_attn.{ours}_proj.weight").numpy()
        np.testing.assert_array_equal(found, original[name])


def test_gpt2_matrices_are_transposed_back_and_names_follow_the_gguf_package(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50, n_positions=16, n_inner=64))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, 2)
    writer = gguf.GGUFWriter(tmp_path / "gpt2.gguf", "gpt2")
    writer.add_block_count(2)
    writer.add_context_length(16)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-5)
    expected = dict(model.named_parameters())
    for name, tensor in expected.items():
        values = tensor.detach().numpy()
        conv1d = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        writer.add_tensor(
            names.get_name(name, (".weight", ".bias")), np.ascontiguousarray(values.T if conv1d else values)
        )
    finish(writer)
    checkpoint = gguf_checkpoint.open_checkpoint(tmp_path / "gpt2.gguf")
    assert set(checkpoint.tensor_names()) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(checkpoint.tensor(name), tensor), name
        assert checkpoint.shape(name) == tuple(tensor.shape)
    assert isinstance(checkpoint.source.quantisation, Absent)
    for key in ("n_embd", "n_layer", "n_head", "n_positions", "n_inner", "vocab_size", "layer_norm_epsilon"):
        assert checkpoint.config[key] == getattr(model.config, key)


def test_the_dominant_quantisation_is_recorded(tiny):
    source = gguf_checkpoint.open_checkpoint(tiny).source
    assert (source.kind, source.quantisation) == ("gguf", "Q8_0")


def test_tensors_outlive_close_and_reading_after_it_is_refused(tiny):
    checkpoint = gguf_checkpoint.open_checkpoint(tiny)
    norm = checkpoint.tensor("model.norm.weight")
    checkpoint.close()
    checkpoint.close()
    assert torch.isfinite(norm).all()
    with pytest.raises(CheckpointError, match="closed"):
        checkpoint.tensor("model.norm.weight")


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    writer = llama_writer(tmp_path / "nan.gguf")
    writer.add_tensor("token_embd.weight", np.full((4, HIDDEN), np.inf, np.float32))
    blocks = np.full((4, 34), 255, np.uint8)  # a float16 scale of 0xFFFF is NaN
    writer.add_tensor("blk.0.attn_v.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    finish(writer)
    checkpoint = gguf_checkpoint.open_checkpoint(tmp_path / "nan.gguf")
    for name in checkpoint.tensor_names():
        with pytest.raises(CorruptFileError, match="not finite"):
            checkpoint.tensor(name)


def test_an_unknown_tensor_name_is_refused(tiny):
    with pytest.raises(CheckpointError, match=r"model\.nrom"):
        gguf_checkpoint.open_checkpoint(tiny).tensor("model.nrom.weight")


def test_a_file_without_a_vocabulary_has_no_tokenizer(tiny):
    with pytest.raises(TokenizerError, match="no vocabulary"):
        gguf_checkpoint.open_checkpoint(tiny).tokenizer()


def test_an_unknown_architecture_is_named_with_those_known(tmp_path):
    finish(llama_writer(tmp_path / "mamba.gguf", "mamba"))
    with pytest.raises(UnknownArchitectureError, match=r"'mamba'.*gemma2, gemma3, gpt2, gptneox, llama"):
        gguf_checkpoint.open_checkpoint(tmp_path / "mamba.gguf")


@pytest.mark.parametrize("name", ["rope_freqs.bias", "blk.0.ffn_gate_exps.weight", "blk.x.attn_q.weight", "odd"])
def test_a_tensor_without_a_place_is_named(tmp_path, name):
    writer = llama_writer(tmp_path / "odd.gguf")
    writer.add_tensor("token_embd.weight", np.zeros((4, HIDDEN), np.float32))
    writer.add_tensor(name, np.zeros((8,), np.float32))
    finish(writer)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        gguf_checkpoint.open_checkpoint(tmp_path / "odd.gguf")


# ------------------------------------------------------------------------------------------------ files that lie


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def pair(key: bytes, code: int, value: bytes) -> bytes:
    return string(key) + struct.pack("<I", code) + value


def tensor(name: bytes, shape: tuple[int, ...], code: int = 0, offset: int = 0) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, code, offset)


def container(pairs=(), tensors=(), data=b"", *, version=3, pair_count=None, tensor_count=None) -> bytes:
    head = struct.pack(
        "<4sIQQ",
        b"GGUF",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(pairs) if pair_count is None else pair_count,
    )
    body = head + b"".join(pairs) + b"".join(tensors)
    return body + b"\0" * (-len(body) % 32) + data


ARCHITECTURE = pair(b"general.architecture", 8, string(b"llama"))
HUGE = (1 << 64) - 1
NESTED = b"".join(struct.pack("<IQ", 9, 1) for _ in range(30)) + struct.pack("<IQ", 0, 0)
LIES = {
    "empty": (b"", "empty"),
    "another format": (b"PK\3\4" + b"\0" * 60, "begins with"),
    "only the magic": (b"GGUF", "header"),
    "version 1": (container(version=1), "version 1"),
    "big-endian": (container(version=3 << 24), "big-endian"),
    "pair count": (container(pair_count=HUGE), "metadata pairs"),
    "tensor count": (container(tensor_count=1 << 60), "tensors"),
    "count of zeros": (container(pair_count=3, data=b"\0" * 64), "twice"),
    "key length": (container([struct.pack("<Q", HUGE) + b"abcdefgh"]), "key of metadata pair 0"),
    "key not UTF-8": (container([pair(b"\xff\xfe", 4, b"\0" * 4)]), "UTF-8"),
    "value not UTF-8": (container([pair(b"a", 8, string(b"\xc3("))]), "UTF-8"),
    "value type": (container([pair(b"a", 13, b"\0" * 8)]), "value type 13"),
    "key twice": (container([ARCHITECTURE, ARCHITECTURE]), "twice"),
    "array count": (container([pair(b"a", 9, struct.pack("<IQ", 10, 1 << 62))]), "'a'"),
    "string array count": (container([pair(b"a", 9, struct.pack("<IQ", 8, 1 << 62))]), "'a'"),
    "string in an array": (container([pair(b"a", 9, struct.pack("<IQQ", 8, 2, HUGE) + b"\0" * 32)]), "beyond the end"),
    "array of arrays count": (container([pair(b"a", 9, struct.pack("<IQ", 9, 1 << 62))]), "'a'"),
    "array element type": (container([pair(b"a", 9, struct.pack("<IQ", 77, 1))]), "element type 77"),
    "arrays in arrays": (container([pair(b"a", 9, NESTED)]), "nested"),
    "alignment": (container([ARCHITECTURE, pair(b"general.alignment", 4, struct.pack("<I", 3))]), "alignment"),
    "alignment 0": (container([ARCHITECTURE, pair(b"general.alignment", 4, struct.pack("<I", 0))]), "alignment"),
    "dimensions": (container([ARCHITECTURE], [tensor(b"t", (1,) * 9)]), "9 dimensions"),
    "no dimensions": (container([ARCHITECTURE], [tensor(b"t", ())]), "0 dimensions"),
    "dimension 0": (container([ARCHITECTURE], [tensor(b"t", (0, 4))]), "shape"),
    "part of a block": (container([ARCHITECTURE], [tensor(b"t", (33,), 2)], b"\0" * 64), "whole blocks of Q4_0"),
    "huge shape": (container([ARCHITECTURE], [tensor(b"t", (1 << 63, 1 << 63))], b"\0" * 64), "needs"),
    "tensor type": (container([ARCHITECTURE], [tensor(b"t", (32,), 99)], b"\0" * 64), "type 99"),
    "offset": (container([ARCHITECTURE], [tensor(b"t", (4,), 0, 1 << 40)], b"\0" * 64), "needs"),
    "odd offset": (container([ARCHITECTURE], [tensor(b"t", (4,), 0, 5)], b"\0" * 64), "multiple of 32"),
    "overlap": (container([ARCHITECTURE], [tensor(b"a", (16,)), tensor(b"b", (8,), 0, 32)], b"\0" * 64), "overlap"),
    "name twice": (container([ARCHITECTURE], [tensor(b"a", (8,)), tensor(b"a", (8,), 0, 32)], b"\0" * 64), "same name"),
    "data cut off": (container([ARCHITECTURE], [tensor(b"t", (32,))], b"\0" * 64), "file ends"),
    "no architecture": (container(), "general.architecture"),
    "architecture is a number": (container([pair(b"general.architecture", 4, b"\0" * 4)]), "general.architecture"),
    "no config": (container([ARCHITECTURE]), "llama.attention.head_count"),
}


@pytest.mark.parametrize("case", LIES)
def test_a_file_that_lies_is_refused_with_what_was_found(tmp_path, case):
    content, expected = LIES[case]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    assert gguf_checkpoint.recognises(path)
    with pytest.raises(CheckpointError) as caught:
        gguf_checkpoint.open_checkpoint(path)
    assert expected in caught.value.found
    assert str(path) in caught.value.asked
    assert caught.value.remedy


def test_every_truncation_of_the_header_is_refused(tiny, tmp_path):
    whole = tiny.read_bytes()
    path = tmp_path / "cut.gguf"
    for length in range(1, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFileError):
            gguf_checkpoint.open_checkpoint(path)


def test_a_missing_file_and_a_directory_are_no_checkpoints(tmp_path):
    assert gguf_checkpoint.recognises(tmp_path / "none.gguf")
    with pytest.raises(CheckpointError, match="no such file"):
        gguf_checkpoint.open_checkpoint(tmp_path / "none.gguf")
    assert not gguf_checkpoint.recognises(tmp_path)
    with pytest.raises(CheckpointError, match="directory"):
        gguf_checkpoint.open_checkpoint(tmp_path)


def test_metadata_of_every_type_is_read(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "all.gguf", "llama")
    values = {
        "uint8": 200, "int8": -3, "uint16": 60000, "int16": -300, "uint32": 4_000_000_000, "int32": -70000,
        "float32": 0.5, "bool": True, "uint64": 1 << 60, "int64": -(1 << 60), "float64": 0.1, "string": "Zürich 🦙",
    }  # fmt: skip
    for kind, value in values.items():
        getattr(writer, f"add_{kind}")(f"x.{kind}", value)
    writer.add_array("x.numbers", [1, -2, 3])
    writer.add_array("x.words", ["a", "", "ß"])
    writer.add_array("x.flags", [True, False])
    writer.add_array("x.nested", [[1, 2], [3]])
    finish(writer)
    metadata = read_gguf(tmp_path / "all.gguf").metadata
    assert {kind: metadata[f"x.{kind}"] for kind in values} == values
    assert metadata["x.numbers"].tolist() == [1, -2, 3]
    assert metadata["x.words"] == ["a", "", "ß"]
    assert metadata["x.flags"].tolist() == [True, False]
    assert [part.tolist() for part in metadata["x.nested"]] == [[1, 2], [3]]
    assert "x.none" not in metadata
    assert len(metadata) == len(list(metadata))


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3"])
def test_a_gemma_written_as_the_converter_writes_it_gives_the_logits_of_transformers(architecture, tmp_path):
    from transformers import AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig

    from assay.build.families import build_model

    shape = {"vocab_size": 48, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "head_dim": 16}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "sliding_window": 8}
    shape |= {"query_pre_attn_scalar": 16}
    config = {
        "gemma2": Gemma2Config(**shape, attn_implementation="eager", final_logit_softcapping=7.5),
        "gemma3": Gemma3TextConfig(**shape, sliding_window_pattern=3),
    }[architecture]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    arch = {"gemma2": gguf.MODEL_ARCH.GEMMA2, "gemma3": gguf.MODEL_ARCH.GEMMA3}[architecture]
    names = gguf.get_tensor_name_map(arch, 4)
    writer = llama_writer(tmp_path / "gemma.gguf", architecture, blocks=4)
    for method, value in (("key_length", 16), ("sliding_window", 8), ("layer_norm_rms_eps", 1e-6)):
        getattr(writer, f"add_{method}")(value)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(50.0)
        writer.add_final_logit_softcapping(7.5)
    else:
        writer.add_uint32("gemma3.attention.sliding_window_pattern", 3)
        writer.add_rope_freq_base(1e6)
    for name, parameter in model.named_parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
        stored = parameter.detach() + 1 if name.endswith("norm.weight") else parameter.detach()
        writer.add_tensor(names.get_name(name, (".weight",)), stored.numpy())
    finish(writer)
    ours = build_model(gguf_checkpoint.open_checkpoint(tmp_path / "gemma.gguf"))
    tokens = torch.randint(0, 48, (1, 24), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = model(tokens).logits, ours(tokens)
    # Norms are stored plus one in float32, which costs them a rounding.
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


# ------------------------------------------------------------------------------------------------ real weights


@pytest.mark.weights
@pytest.mark.parametrize(("fixture", "quantisation"), [("smollm2_path", "Q4_1"), ("gemma3_path", "Q8_0")])
def test_a_real_config_has_what_its_tensors_say(fixture, quantisation, request):
    from transformers import AutoConfig, AutoModelForCausalLM

    checkpoint = gguf_checkpoint.open_checkpoint(request.getfixturevalue(fixture))
    fields = dict(checkpoint.config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields))
    expected = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    assert {name: checkpoint.shape(name) for name in checkpoint.tensor_names()} == expected
    assert checkpoint.source.quantisation == quantisation
    assert len(checkpoint.source.digest) == 64


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("fixture", ["smollm2_path", "gemma3_path"])
def test_real_tensors_and_config_equal_what_transformers_makes_of_the_file(fixture, request):
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    path = request.getfixturevalue(fixture)
    checkpoint = gguf_checkpoint.open_checkpoint(path)
    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    expected = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
    assert set(checkpoint.tensor_names()) == set(expected)
    for name, parameter in expected.items():
        assert torch.equal(checkpoint.tensor(name), parameter.float()), name
    theirs = config.to_dict()
    known = {key: value for key, value in checkpoint.config.items() if key in theirs and key != "architectures"}
    assert len(known) > 12
    for key, value in known.items():
        assert value == (pytest.approx(theirs[key]) if isinstance(value, float) else theirs[key]), key
