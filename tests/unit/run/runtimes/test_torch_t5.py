"""T5 as a session: the prompt is the source, decoding follows it, and what an encoder-decoder cannot do is refused."""

import json

import numpy as np
import pytest
import torch

from assay import api, catalog
from assay.build.families import build_model, dispatches
from assay.build.graph import describe
from assay.core.errors import ContractError, UnsupportedError
from assay.core.records import Decoding, Target, Workload

T5 = {
    "model_type": "t5", "vocab_size": 128, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
    "n_positions": 64, "decoder_start_token_id": 3, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture
def artifact(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(T5))
    return api.build(str(tmp_path / "config.json"), (), "torch", tmp_path / "store")


def opened(artifact, batch=1, capacity=40, **decoding):
    runtime = catalog.runtime("torch")
    return runtime.open_session(artifact[0], Target(threads=1), Decoding(**decoding), capacity=capacity, batch=batch)


TOKENS = np.random.default_rng(0).integers(1, 128, (2, 40))


@pytest.mark.parametrize("kind", ["static", "growing"])
def test_prefill_reads_the_source_and_decode_goes_on_behind_it(artifact, kind):
    session, model = opened(artifact, batch=2, kv_cache=kind), build_model(artifact[1])
    first = session.prefill(TOKENS[:, :20])
    assert session.length == 20
    steps = np.concatenate([session.decode(TOKENS[:, 20:21]), session.decode(TOKENS[:, 21:30])], axis=1)
    assert session.length == 30
    source, target = torch.from_numpy(TOKENS[:, :20]), torch.from_numpy(TOKENS[:, 20:30])
    with torch.inference_mode():
        cache = model.new_cache(2, 40, torch.float32, "cpu")
        expected = torch.cat((model(source, cache), model(target, cache)), dim=1).numpy()
    assert np.abs(first - expected[:, 0]).max() < 1e-5
    assert np.abs(steps - expected[:, 1:]).max() < 1e-5
    session.rewind(20)
    assert np.array_equal(session.decode(TOKENS[:, 20:21]), steps[:, :1])
    with pytest.raises(ContractError, match="source of 20"):
        session.rewind(10)
    session.prefill(TOKENS[:, :5])
    assert session.length == 5
    assert session.facts["kv_cache"] == f"{kind}, encoder-decoder"
    assert session.kv_cache_bytes == session.facts["kv_cache_bytes"] > 0


def test_sources_of_unequal_lengths_side_by_side(artifact):
    session, alone = opened(artifact, batch=2), opened(artifact)
    sources = [TOKENS[0, :20].tolist(), TOKENS[1, :7].tolist()]
    found = [session.prefill_prompts(sources)[:, None], session.decode(TOKENS[:, 20:24])]
    for row, source in enumerate(sources):
        expected = [alone.prefill(np.array([source]))[:, None], alone.decode(TOKENS[row : row + 1, 20:24])]
        for ours, theirs in zip(found, expected, strict=True):
            assert np.abs(ours[row] - theirs[0]).max() < 1e-5


def test_workloads_of_models_that_write_run(artifact):
    session, ids = opened(artifact), TOKENS[0].tolist()
    for kind in ("prefill", "decode", "generate"):
        driver = catalog.driver(session, Workload(kind=kind, prompt_tokens=12, new_tokens=6), ids)
        assert driver.first_call()[1] > 0
        assert len(driver.block(8)) == 8


@pytest.mark.parametrize("decoding", [{"kv_cache": "none"}, {"prefill_chunk": 8}])
def test_a_source_is_read_whole(artifact, decoding):
    with pytest.raises(UnsupportedError, match="reads its prompt whole"):
        opened(artifact, **decoding)


def test_a_decode_step_streams_no_encoder(artifact):
    record, model = catalog.exporter("torch").read_artifact(artifact[0]), build_model(artifact[1])
    of_source = ("encoder.", "shared.")
    expected = sum(
        parameter.nbytes
        for name, parameter in model.named_parameters()
        if not name.startswith(of_source) and "EncDecAttention.k" not in name and "EncDecAttention.v" not in name
        and "relative_attention_bias" not in name
    )  # fmt: skip
    assert record.decode_weight_bytes == expected
    counted = dispatches(T5)
    assert 20 < counted["step"] < counted["prompt"], "a step launches no encoder"


BERT = {
    "model_type": "bert", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 24,
}  # fmt: skip


@pytest.mark.parametrize("config", [T5, BERT], ids=["t5", "bert"])
def test_other_engines_have_no_words_for_it(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = build_model(catalog.open_checkpoint(str(tmp_path / "config.json")))
    with pytest.raises(UnsupportedError, match="no words for a model of head"):
        describe(model, type(model).__module__)
