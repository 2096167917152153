"""llama.cpp continues as torch does on the variant it was given, tells its times, and says why it will not open."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("xllamacpp")

from assay.build.checkpoints import random as random_checkpoint
from assay.build.exporters import gguf as gguf_exporter
from assay.build.exporters import torch as torch_exporter
from assay.build.families import build_model
from assay.core.errors import ContractError, EngineError, UnsupportedError
from assay.core.records import Decoding, Target
from assay.run.decoding.greedy import greedy
from assay.run.runtimes import llamacpp
from assay.run.torch_session import open_torch_session

CONFIG = {
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
TARGET = Target(runtime="llama.cpp", format="gguf", threads=1)
PROMPT = [int(token) for token in np.random.default_rng(3).integers(3, 512, 20)]


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    checkpoint = random_checkpoint.open_checkpoint(folder / "config.json")
    for exporter, name in ((gguf_exporter, "gguf"), (torch_exporter, "torch")):
        exporter.export(build_model(checkpoint), checkpoint.config, None, (), checkpoint.source, (), folder / name, {})
    return folder / "gguf", folder / "torch"


@pytest.fixture(scope="module")
def engine(directories):
    opened = llamacpp.open_session(directories[0], TARGET, Decoding(), capacity=128)
    yield opened
    opened.close()


def test_it_says_what_torch_says(engine, directories):
    session = open_torch_session(directories[1], Target(threads=1), Decoding(), 128, 1)
    made = engine.generate(PROMPT, 24)
    assert list(made.tokens) == greedy(session, PROMPT, 24)
    assert made.prompt_tokens == len(PROMPT)
    assert made.cached_tokens == 0


def test_the_same_prompt_twice_is_computed_twice(engine):
    first, second = engine.generate(PROMPT, 8), engine.generate(PROMPT, 8)
    assert first.tokens == second.tokens
    assert second.cached_tokens == 0
    assert list(second.times_ns) == sorted(second.times_ns)
    assert second.times_ns[0] > 0


def test_facts_say_what_it_was_built_for(engine):
    assert engine.facts["threads"] == 1
    assert engine.facts["prefix_cache"] == "off"
    assert engine.facts["built_for"]
    assert llamacpp.probe().usable


def test_what_does_not_fit_is_refused(engine, directories):
    with pytest.raises(ContractError, match="opened for 128"):
        engine.generate(PROMPT, 128)
    with pytest.raises(ContractError, match="context is 256"):
        llamacpp.open_session(directories[0], TARGET, Decoding(), capacity=300)
    with pytest.raises(UnsupportedError, match="a batch of 2"):
        llamacpp.open_session(directories[0], TARGET, Decoding(), 128, batch=2)
    with pytest.raises(UnsupportedError, match="always keeps a KV cache"):
        llamacpp.open_session(directories[0], TARGET, Decoding(kv_cache="none"), 128)
    with pytest.raises(UnsupportedError, match="not torch"):
        llamacpp.open_session(directories[1], Target(runtime="llama.cpp", format="torch"), Decoding(), 128)


def test_a_file_that_it_will_not_open_is_told_in_its_own_words(directories, tmp_path):
    broken = tmp_path / "model.gguf"
    broken.write_bytes((directories[0] / "model.gguf").read_bytes()[:2000])
    with pytest.raises(EngineError) as caught:
        llamacpp._loaded(llamacpp._parameters(broken, 1, Decoding(), 64), broken)
    assert caught.value.outcome == "crashed"
    assert "failed to read" in caught.value.found
    assert "check the input params" not in caught.value.found
