"""An encoder of the torch runtime from a built artifact: vectors, refusals, facts, workloads."""

import json

import numpy as np
import pytest
import torch

from assay import api, catalog
from assay.core.errors import ContractError, StudyError, UnsupportedError
from assay.core.records import Decoding, Estimate, Target, Workload

BERT = {
    "model_type": "bert", "vocab_size": 128, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 96, "max_position_embeddings": 64,
}  # fmt: skip
LABELS = {**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}}


def model_of(folder, config):
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return str(path)


def encoder_of(folder, config, short="fp32"):
    directory, checkpoint = api.build(model_of(folder, config), api.transforms_of(short), "torch", folder / "store")
    session = catalog.runtime("torch").open_session(directory, Target(threads=1), Decoding(), capacity=8)
    return session, checkpoint


TOKENS = np.random.default_rng(0).integers(0, 128, (3, 10))


@pytest.mark.parametrize(("config", "size"), [(BERT, 64), (LABELS, 3)], ids=["embedding", "classification"])
def test_an_artifact_gives_what_its_model_gives(tmp_path, config, size):
    from assay.build.families import build_model

    encoder, checkpoint = encoder_of(tmp_path, config)
    lengths = np.array([10, 4, 7])
    found = encoder.encode(TOKENS, lengths)
    assert (found.shape, found.dtype) == ((3, size), np.float32)
    with torch.inference_mode():
        expected = build_model(checkpoint)(torch.from_numpy(TOKENS), torch.from_numpy(lengths)).numpy()
    assert np.abs(found - expected).max() < 1e-6
    assert "kernels" in encoder.facts
    assert encoder.facts["head"] == ("embedding" if size == 64 else "classification")
    encoder.close()
    encoder.close()


@pytest.mark.parametrize("short", ["bf16", "int8"])
@pytest.mark.parametrize("config", [BERT, LABELS], ids=["embedding", "classification"])
def test_variants_stay_near(tmp_path, config, short):
    full, _ = encoder_of(tmp_path, config)
    variant, _ = encoder_of(tmp_path, config, short)
    lengths = np.array([10, 4, 7])
    expected, found = full.encode(TOKENS, lengths), variant.encode(TOKENS, lengths)
    # bf16 keeps 8 bits: a few roundings of 2^-8 of the largest value.
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert not np.array_equal(found, expected)
    assert full.facts["layers"] != variant.facts["layers"] or short == "bf16"


@pytest.mark.parametrize(
    ("tokens", "lengths", "said"),
    [
        (np.zeros((1, 65), int), [65], "context is 64"),
        (np.full((1, 3), 128), [3], "vocabulary has 128"),
        (np.zeros((1, 3)), [3], "float64"),
        (np.zeros((2, 3), int), [3], "no batch"),
        (np.zeros(3, int), [3], "no batch"),
        (np.zeros((1, 3), int), [0], "lengths from 1"),
        (np.zeros((1, 3), int), [4], "lengths from 1"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, tokens, lengths, said):
    encoder, _ = encoder_of(tmp_path, BERT)
    with pytest.raises(ContractError, match=said):
        encoder.encode(tokens, np.array(lengths))


def test_a_workload_is_timed_and_others_are_refused(tmp_path):
    encoder, _ = encoder_of(tmp_path, BERT)
    ids = list(range(32))
    driver = catalog.driver(encoder, Workload(kind="encode", prompt_tokens=16, batch=2), ids)
    assert driver.metric == "encode_s"
    assert driver.first_call()[1] > 0
    assert len(driver.block(3)) == 3
    assert catalog.driver(encoder, Workload(kind="load"), ids).first_call()[1] > 0
    llama = {**BERT, "model_type": "llama", "tie_word_embeddings": True, "num_key_value_heads": 4}
    (tmp_path / "llama").mkdir()
    writer = api.load(model_of(tmp_path / "llama", llama), store=tmp_path / "store", context=32)
    with pytest.raises(UnsupportedError, match="no encoder"):
        catalog.driver(writer.session, Workload(kind="encode", prompt_tokens=16), ids)
    with pytest.raises(UnsupportedError, match="writes text"):
        writer.encode(["a"])


def test_the_runtime_transformers_does_not_make_a_writer_of_it(tmp_path):
    pytest.importorskip("transformers")
    directory, _ = api.build(model_of(tmp_path, BERT), (), "torch", tmp_path / "store")
    target = Target(runtime="transformers", threads=1)
    with pytest.raises(UnsupportedError, match="head is 'embedding'"):
        catalog.runtime("transformers").open_session(directory, target, Decoding(), capacity=8)


def test_a_study_of_an_encoder_has_speeds_and_cosines(tmp_path):
    study = {
        "name": "tiny",
        "model": model_of(tmp_path, BERT),
        "baseline": "fp32",
        "reference": "fp32",
        "variants": [{"name": "fp32"}, {"name": "bf16", "transforms": [{"kind": "cast", "dtype": "bf16"}]}],
        "workloads": [{"kind": "load"}, {"kind": "encode", "prompt_tokens": 64, "batch": 2}],
        "quality": {"tokens": 256, "context": 64},
        "gate": {"min_cosine": 0.99, "min_encode_speedup": 0.01},
        "measure": {"budget_s": 120, "max_rounds": 2, "min_rounds": 2, "turns": 4, "warmup_cap_s": 0.5},
        "threads": 1,
    }
    result = api.run(study, tmp_path / "store")
    row = next(row for row in result.rows if row.name == "bf16")
    assert isinstance(row.metrics["sequences_per_s"], (float, Estimate))
    assert isinstance(row.metrics["cosine_mean"], Estimate)
    assert 0.99 < row.metrics["cosine_min"] < 1
    assert "cosine" in " ".join(next(v for v in result.verdicts if v.variant == "bf16").reasons)
    assert not [finding for finding in result.findings if finding.severity == "ERR"]
    text = api.run(study, tmp_path / "store").to_json()
    assert "an encoder writes no text" in text
    with pytest.raises(StudyError, match="reads texts and writes none"):
        api.run({**study, "workloads": [{"kind": "decode"}]}, tmp_path / "store")
    planned = api.plan(study, tmp_path / "store")
    cell = next(cell for cell in planned.cells if cell.workload == "encode 64 x2")
    per_token = 2 * 2 * (4 * 64 * 64 + 2 * 64 * 96) + 4 * 2 * 64 * 64
    assert cell.flops == 2 * 64 * per_token
    assert cell.dispatches > 10
