"""The compiled forward computes what eager computes, and does not compile again while it is used."""

import json

import numpy as np
import pytest

from assay import catalog
from assay.core.errors import UnsupportedError
from assay.core.records import Decoding, Target
from assay.pipeline.short_form import transforms_of
from assay.run.runtimes import torch_compile, torch_eager
from assay.worker import build_artifact

CONFIG = {"model_type": "llama", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
          "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}  # fmt: skip
TOKENS = np.random.default_rng(0).integers(0, 97, (1, 64))


def test_what_the_runtime_torch_refuses_is_refused_before_anything_is_compiled(tmp_path):
    for wrong in ({"format": "onnx"}, {"compute_units": "ane"}):
        target = Target(**{"runtime": "torch-compile", **wrong})
        with pytest.raises(UnsupportedError):
            torch_compile.open_session(tmp_path, target, Decoding(), capacity=8)


def test_a_machine_without_a_compiler_is_told_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    told = torch_compile.probe()
    assert not told.usable
    assert "g++" in told.reason


@pytest.mark.slow
def test_prompts_of_any_length_and_steps_run_in_the_graphs_of_the_warm_up(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    checkpoint = catalog.open_checkpoint(str(tmp_path / "config.json"))
    build_artifact(checkpoint, transforms_of("fp32"), "torch", tmp_path / "built")
    eager = torch_eager.open_session(tmp_path / "built", Target(), Decoding(), capacity=48)
    target = Target(runtime="torch-compile")
    session = torch_compile.open_session(tmp_path / "built", target, Decoding(), capacity=48)
    for length in (20, 33, 9):
        expected = [eager.prefill(TOKENS[:, :length]), *(eager.decode(TOKENS[:, at : at + 1]) for at in (50, 51, 52))]
        found = [session.prefill(TOKENS[:, :length]), *(session.decode(TOKENS[:, at : at + 1]) for at in (50, 51, 52))]
        for ours, theirs in zip(found, expected, strict=True):
            # Fused operations round in another order, in one layer of float32.
            assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    facts = session.facts
    assert facts["compiled_graphs"] == facts["compiled_graphs_at_load"] > 0
    assert facts["compiled_graphs_since_warm_up"] == 0
    assert facts["graph_breaks"] == 0
    assert facts["compiled_operations"] > 0
    assert facts["compile_s"] > 0
