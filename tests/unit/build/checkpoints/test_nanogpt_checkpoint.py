"""nanoGPT's ckpt.pt: orientation, compiled prefixes, absent biases; pickles that are refused."""

import os
import pickle

import pytest
import torch

from assay.build.checkpoints import nanogpt
from assay.core.errors import CheckpointError, CorruptFileError, TokenizerError

WIDTH, VOCABULARY, BLOCK = 8, 11, 6


def state(bias: bool, prefix: str = "") -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    matrices = {
        "attn.c_attn": (3 * WIDTH, WIDTH),
        "attn.c_proj": (WIDTH, WIDTH),
        "mlp.c_fc": (4 * WIDTH, WIDTH),
        "mlp.c_proj": (WIDTH, 4 * WIDTH),
    }
    tensors = {
        "transformer.wte.weight": torch.randn(VOCABULARY, WIDTH),
        "transformer.wpe.weight": torch.randn(BLOCK, WIDTH),
    }
    for norm in ("transformer.h.0.ln_1", "transformer.h.0.ln_2", "transformer.ln_f"):
        tensors[f"{norm}.weight"] = torch.randn(WIDTH)
        if bias:
            tensors[f"{norm}.bias"] = torch.randn(WIDTH)
    for name, shape in matrices.items():
        tensors[f"transformer.h.0.{name}.weight"] = torch.randn(shape)
        if bias:
            tensors[f"transformer.h.0.{name}.bias"] = torch.randn(shape[0])
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    return {prefix + name: tensor for name, tensor in tensors.items()}


def arguments(bias: bool) -> dict[str, object]:
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": WIDTH, "block_size": BLOCK, "vocab_size": VOCABULARY}
    return sizes | {"bias": bias, "dropout": 0.0}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_names_and_orientation_are_hugging_faces(tmp_path, bias, prefix):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.save({"model": state(bias, prefix), "model_args": arguments(bias), "iter_num": 3}, tmp_path / "ckpt.pt")
    assert nanogpt.recognises(tmp_path)
    assert nanogpt.recognises(tmp_path / "ckpt.pt")
    checkpoint = nanogpt.open_checkpoint(tmp_path)
    assert checkpoint.config["bias"] is bias
    assert checkpoint.config["tie_word_embeddings"] is True
    sizes = {key: checkpoint.config[key] for key in ("n_embd", "n_layer", "n_head", "n_positions", "vocab_size")}
    expected = {name: tuple(tensor.shape) for name, tensor in GPT2LMHeadModel(GPT2Config(**sizes)).named_parameters()}
    found = {name: checkpoint.shape(name) for name in checkpoint.tensor_names() if name != "lm_head.weight"}
    assert found == {name: shape for name, shape in expected.items() if bias or not name.endswith(".bias")}
    original = state(bias)
    name = "transformer.h.0.mlp.c_fc.weight"
    assert torch.equal(checkpoint.tensor(name), original[name].t())
    assert checkpoint.tensor(name).is_contiguous()


def test_an_untied_head_is_kept_apart(tmp_path):
    tensors = state(bias=False)
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1
    torch.save({"model": tensors, "model_args": arguments(bias=False)}, tmp_path / "ckpt.pt")
    assert nanogpt.open_checkpoint(tmp_path).config["tie_word_embeddings"] is False


def test_there_is_no_tokenizer_and_the_reason_is_said(tmp_path):
    torch.save({"model": state(bias=False), "model_args": arguments(bias=False)}, tmp_path / "ckpt.pt")
    with pytest.raises(TokenizerError, match="training text"):
        nanogpt.open_checkpoint(tmp_path).tokenizer()


class Runs:
    """A pickle that would run a command."""

    def __reduce__(self):
        return os.system, ("exit 1",)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    torch.save({"model": Runs(), "model_args": {}}, tmp_path / "ckpt.pt")
    with pytest.raises(CorruptFileError, match="more than tensors"):
        nanogpt.open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"model": {}},
        {"model": {"a": 3}, "model_args": {}},
        {"model": {}, "model_args": {"n_layer": "many"}},
        {"model": {}, "model_args": arguments(bias=False) | {"n_head": 0}},
    ],
)
def test_another_content_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError):
        nanogpt.open_checkpoint(tmp_path / "ckpt.pt")


def test_damaged_files_are_refused(tmp_path):
    torch.save({"model": state(bias=False), "model_args": arguments(bias=False)}, tmp_path / "good.pt")
    whole = (tmp_path / "good.pt").read_bytes()
    path = tmp_path / "ckpt.pt"
    for content in (
        b"",
        b"PK\3\4",
        b"\x80\x02.",
        pickle.dumps({"model": 1}),
        *(whole[:end] for end in range(50, len(whole), 301)),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            nanogpt.open_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such file"):
        nanogpt.open_checkpoint(tmp_path / "none.pt")


@pytest.mark.shared_data
def test_the_real_checkpoint_is_read(test_data):
    checkpoint = nanogpt.open_checkpoint(test_data / "nanogpt" / "ckpt.pt")
    assert checkpoint.config["bias"] is False
    assert (checkpoint.config["n_layer"], checkpoint.config["vocab_size"]) == (4, 65)
    assert checkpoint.shape("transformer.h.3.mlp.c_proj.weight") == (512, 128)
    weights = sum(checkpoint.tensor(name).numel() for name in checkpoint.tensor_names() if name != "lm_head.weight")
    assert weights == pytest.approx(0.8e6, rel=0.02)  # the README of the data says .80 M
