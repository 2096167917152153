"""What the command line says of a model's files: keys that nobody knows, adapters, templates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from assay.cli import main

CONFIG = {
    "model_type": "llama", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return str(path)


def assay(tmp_path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--store", str(tmp_path / "store"), *words])


@pytest.mark.filterwarnings("default")
def test_an_unknown_key_of_the_config_is_named_by_plan_and_by_build(tmp_path: Path, model: str) -> None:
    Path(model).write_text(json.dumps({**CONFIG, "my_tuner": {"run": 7}}))
    planned = assay(tmp_path, "plan", model, "--variants", "fp32")
    assert planned.exit_code == 0, planned.output
    assert "my_tuner" in planned.stdout
    built = assay(tmp_path, "build", model, "--output", str(tmp_path / "out"))
    assert built.exit_code == 0, built.output
    assert "assay: warning: config.json of this llama model has keys" in built.stderr
    assert built.stderr.count("my_tuner") == 1


def test_a_key_that_alters_the_computation_ends_with_status_2(tmp_path: Path, model: str) -> None:
    Path(model).write_text(json.dumps({**CONFIG, "final_logit_softcapping": 30.0}))
    refused = assay(tmp_path, "build", model, "--output", str(tmp_path / "out"))
    assert refused.exit_code == 2
    assert "final_logit_softcapping = 30.0 changes the computation" in refused.stderr


def test_an_adapter_that_is_not_there_ends_with_status_2(tmp_path: Path, model: str) -> None:
    refused = assay(tmp_path, "build", model, "--output", str(tmp_path / "out"), "--adapter", str(tmp_path / "no"))
    assert refused.exit_code == 2
    assert "adapter_config.json" in refused.stderr


def test_a_chat_without_a_tokenizer_says_why(tmp_path: Path, model: str) -> None:
    refused = assay(tmp_path, "generate", model, "--chat", "-n", "2")
    assert refused.exit_code == 2
    assert "random weights come without one" in refused.stderr


@pytest.fixture
def writer(tmp_path: Path) -> str:
    """A small random model with a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = {**CONFIG, "vocab_size": 256, "max_position_embeddings": 128, "initializer_range": 0.5}
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    made.save_pretrained(tmp_path / "writer")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(models.BPE(vocab={sign: number for number, sign in enumerate(alphabet)}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytewise.decoder = decoders.ByteLevel()
    bytewise.save(str(tmp_path / "writer" / "tokenizer.json"))
    return str(tmp_path / "writer")


def test_several_prompts_are_continued_as_each_alone(tmp_path: Path, writer: str) -> None:
    prompts = ("The sea was", "At the foot of the stairs there was a lamp, and", "No")
    alone = [assay(tmp_path, "generate", writer, "-n", "8", "--prompt", prompt) for prompt in prompts]
    assert all(done.exit_code == 0 for done in alone), alone[0].output
    assert len({done.stdout[-4:] for done in alone}) > 1
    words = [word for prompt in prompts for word in ("--prompt", prompt)]
    together = assay(tmp_path, "generate", writer, "-n", "8", *words)
    assert together.exit_code == 0, together.output
    assert together.stdout == "\n".join(done.stdout for done in alone)
