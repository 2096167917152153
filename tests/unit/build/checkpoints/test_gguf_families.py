"""Models of transformers written as llama.cpp's converter writes them: read back, they give the same logits."""

import re

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from assay.build.checkpoints import gguf as gguf_checkpoint
from assay.build.families import build_model
from assay.core.errors import CheckpointError, CorruptFileError
from tiny_models import CASES, LLAMA3

ARCHITECTURES = {
    "gpt2": gguf.MODEL_ARCH.GPT2,
    "gpt_neox": gguf.MODEL_ARCH.GPTNEOX,
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "phi": gguf.MODEL_ARCH.PHI2,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
WRITTEN = [
    "gpt2", "gpt2, own head", "gpt_neox", "gpt_neox, one after another", "gpt_neox, other sizes", "llama",
    "llama, tied head", "llama, biases", "llama, linear positions", "llama, llama3 positions", "llama, yarn positions",
    "llama, other sizes", "mistral, whole context", "phi", "phi, grouped heads", "phi, other sizes", "qwen2",
    "qwen2, tied head", "qwen2, yarn positions", "qwen3", "qwen3, other sizes",
]  # fmt: skip


def random_model(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    return model


def write(path, model, **more):
    """As the converter does it, with the names of the gguf package; `more` are further pairs of metadata."""
    config = model.config
    kind, layers = config.model_type, config.num_hidden_layers
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[kind]])
    writer.add_block_count(layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(getattr(config, "num_key_value_heads", heads))
    rope = getattr(config, "rope_parameters", None) or {}
    if kind in ("gpt2", "gpt_neox", "phi"):
        writer.add_layer_norm_eps(config.layer_norm_epsilon if kind == "gpt2" else config.layer_norm_eps)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_key_length(head_dim)
    if rope:
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    if kind == "gpt_neox":
        writer.add_parallel_residual(config.use_parallel_residual)
    if rope.get("rope_type") in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_finetuned(True)
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    for key, value in more.items():
        writer.add_key_value(f"{writer.arch}.{key.replace('__', '.')}", *value)
    if rope.get("rope_type") == "llama3":
        plain = 1.0 / rope["rope_theta"] ** (torch.arange(0, head_dim, 2).float() / head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / LlamaRotaryEmbedding(config).inv_freq).numpy())
    names = gguf.get_tensor_name_map(ARCHITECTURES[kind], layers)
    for name, tensor in model.named_parameters():
        stored = name.replace("lm_head.", "embed_out.") if kind == "gpt_neox" else name
        written = names.get_name(stored, (".weight", ".bias"))
        assert written, stored
        writer.add_tensor(written, converted(kind, name, tensor.detach().numpy(), config))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()


def converted(kind, name, values, config):
    """The layout that the converter gives a tensor."""
    if kind == "gpt2" and re.search(r"(c_attn|c_proj|c_fc)\.weight$", name):
        return np.ascontiguousarray(values.T)
    if kind == "gpt_neox" and "query_key_value" in name:
        by_head = values.reshape(config.num_attention_heads, 3, -1, *values.shape[1:])
        return np.concatenate([by_head[:, part].reshape(-1, *values.shape[1:]) for part in range(3)])
    if kind in ("llama", "mistral") and ("q_proj" in name or "k_proj" in name):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        by_head = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
        return np.ascontiguousarray(by_head.swapaxes(1, 2)).reshape(values.shape)
    return values


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_written_model_gives_its_logits_back(name, tmp_path):
    model = random_model(CASES[name])
    write(tmp_path / "model.gguf", model)
    ours = build_model(gguf_checkpoint.open_checkpoint(tmp_path / "model.gguf"))
    tokens = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        # Both in float32 in different orders. gptneox and phi2 files do not name their activation: it is GELU.
        assert relative(ours(tokens), model(tokens).logits) < 1e-5


@pytest.mark.parametrize("name", ["llama", "llama, tied head", "qwen2", "qwen3", "gpt2"])
def test_transformers_reads_the_same_from_the_file(name, tmp_path):
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    model = random_model(CASES[name])
    path = tmp_path / "model.gguf"
    write(path, model)
    theirs = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
    checkpoint = gguf_checkpoint.open_checkpoint(path)
    assert set(theirs) == set(checkpoint.tensor_names())
    for tensor_name, tensor in theirs.items():
        found = checkpoint.tensor(tensor_name)
        assert torch.equal(found, tensor.float()), tensor_name


def test_the_divisors_of_llama3_are_its_frequencies(tmp_path):
    write(tmp_path / "model.gguf", random_model(CASES["llama, llama3 positions"]))
    checkpoint = gguf_checkpoint.open_checkpoint(tmp_path / "model.gguf")
    scaling = checkpoint.config["rope_scaling"]
    assert scaling["rope_type"] == "longrope"
    assert min(scaling["long_factor"]) == pytest.approx(1.0)
    assert max(scaling["long_factor"]) == pytest.approx(LLAMA3["factor"])
    assert "rope_freqs.weight" not in checkpoint.tensor_names()


def test_betas_of_yarn_are_read(tmp_path):
    kind = gguf.GGUFValueType.FLOAT32
    more = {"rope__scaling__yarn_beta_fast": (16.0, kind), "rope__scaling__yarn_beta_slow": (2.0, kind)}
    write(tmp_path / "model.gguf", random_model(CASES["qwen2, yarn positions"]), **more)
    scaling = gguf_checkpoint.open_checkpoint(tmp_path / "model.gguf").config["rope_scaling"]
    assert scaling == {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32,
        "beta_fast": 16.0,
        "beta_slow": 2.0,
    }


FLOAT, TEXT, COUNT = gguf.GGUFValueType.FLOAT32, gguf.GGUFValueType.STRING, gguf.GGUFValueType.UINT32


@pytest.mark.parametrize(
    ("name", "more", "error", "said"),
    [
        ("llama", {"rope__scaling__type": ("su", TEXT)}, CheckpointError, "'su'"),
        ("llama", {"rope__scaling__alpha": (2.0, FLOAT)}, CheckpointError, "alpha"),
        ("qwen2, yarn positions", {"rope__scaling__yarn_ext_factor": (0.5, FLOAT)}, CheckpointError, "yarn_ext_factor"),
        ("llama, llama3 positions", {"rope__scaling__type": ("linear", TEXT)}, CheckpointError, "'linear'"),
        ("llama", {"rope__scaling__type": ("linear", TEXT)}, CorruptFileError, r"rope\.scaling\.factor"),
        ("phi", {"rope__dimension_count": (99, COUNT)}, CorruptFileError, "99 of 16 dimensions"),
    ],
)
def test_positions_that_are_not_computed_are_refused(name, more, error, said, tmp_path):
    model = random_model(CASES[name])
    if "rope__dimension_count" in more:
        model.config.rope_parameters["partial_rotary_factor"] = 99 / 16
        more = {}
    write(tmp_path / "model.gguf", model, **more)
    with pytest.raises(error, match=said):
        gguf_checkpoint.open_checkpoint(tmp_path / "model.gguf")
