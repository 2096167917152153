"""What every runtime promises: prefill, decode, rewind, token counts, closing, errors, two sessions at once."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from assay import catalog
from assay.core.errors import ContractError, UnsupportedError
from assay.core.records import Decoding, Target
from assay.pipeline.short_form import transforms_of
from assay.worker import build_artifact

CONFIG = {
    "model_type": "llama",
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
CAPACITY = 40
TOKENS = np.random.default_rng(0).integers(0, CONFIG["vocab_size"], (1, 64))
# Reading tokens together or one by one sums in another order; float32 rounds to 24 bits, in two layers.
CLOSE = 2e-5


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """The artifact of a format, built once."""
    folder = tmp_path_factory.mktemp("sessions")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    checkpoint = catalog.open_checkpoint(str(folder / "config.json"))

    def artifact(format_name):
        directory = folder / format_name
        if not directory.exists():
            build_artifact(checkpoint, transforms_of("fp32"), format_name, directory)
        return directory

    return artifact


OWN_LOOP = ("llama.cpp", "llama.cpp-source")
"""They are no sessions: tests/unit/run/workloads/test_own_loop.py and their own tests hold their contract."""
SLOW = ("torch-compile",)
"""Each of their sessions compiles for some ten seconds."""


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in catalog.RUNTIMES]
)
def opened(request, artifacts):
    """Opens sessions of one runtime, and closes what a test leaves open."""
    entry = catalog.RUNTIMES[request.param]
    if entry.argument:
        pytest.skip(f"{request.param} has a contract test of its own: it wants {entry.argument}")
    if importlib.util.find_spec(entry.package) is None:
        pytest.skip(f"{request.param} is not installed: pip install 'assay[{entry.extra}]'")
    runtime = catalog.runtime(request.param)
    if request.param in OWN_LOOP:
        pytest.skip(f"{request.param} gives no session: it owns its loop")
    if not runtime.probe().usable:
        pytest.skip(f"{request.param}: {runtime.probe().reason}")
    sessions = []

    def make(capacity=CAPACITY, directory: Path | None = None, **target):
        asked = Target(**{"runtime": request.param, "format": entry.format, "threads": 1, **target})
        try:
            built = directory or artifacts(entry.format)
        except UnsupportedError as error:
            pytest.skip(f"{request.param} wants another source: {error.found}")
        sessions.append(runtime.open_session(built, asked, Decoding(), capacity=capacity))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


def assert_close(found, expected):
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= CLOSE * np.abs(expected).max()


def test_the_cache_gives_what_the_whole_sequence_gives(opened):
    session = opened()
    whole = session.logits(TOKENS[:, :30])
    assert whole.shape == (1, 30, CONFIG["vocab_size"])
    assert_close(session.prefill(TOKENS[:, :20]), whole[:, 19])
    assert_close(session.decode(TOKENS[:, 20:21]), whole[:, 20:21])
    assert_close(session.decode(TOKENS[:, 21:28]), whole[:, 21:28])
    assert_close(session.decode(TOKENS[:, 28:29]), whole[:, 28:29])


def test_tokens_are_counted(opened):
    session = opened()
    assert session.length == 0
    session.prefill(TOKENS[:, :9])
    assert session.length == 9
    session.decode(TOKENS[:, 9:12])
    assert session.length == 12
    session.logits(TOKENS[:, :30])
    assert session.length == 12
    session.prefill(TOKENS[:, :4])
    assert session.length == 4
    session.sync()
    assert session.kv_cache_bytes > 0


def test_a_rewind_forgets_and_nothing_else(opened):
    session = opened()
    session.prefill(TOKENS[:, :20])
    first = session.decode(TOKENS[:, 20:26])
    session.rewind(20)
    assert session.length == 20
    other = session.decode(TOKENS[:, 40:43])
    session.rewind(20)
    assert_close(session.decode(TOKENS[:, 20:26]), first)
    assert np.abs(other - first[:, :3]).max() > CLOSE * np.abs(first).max()
    session.rewind(0)
    assert session.length == 0
    for length in (-1, 1):
        with pytest.raises(ContractError, match="rewind"):
            session.rewind(length)


def test_a_window_does_not_touch_the_sequence(opened):
    session = opened()
    session.prefill(TOKENS[:, :20])
    session.logits(TOKENS[:, 30:50])
    after = session.decode(TOKENS[:, 20:22])
    assert_close(after, session.logits(TOKENS[:, :22])[:, 20:])


def test_two_sessions_at_once_do_not_share_a_cache(opened):
    one, two = opened(), opened()
    expected = one.logits(TOKENS[:, :22])
    one.prefill(TOKENS[:, :20])
    two.prefill(TOKENS[:, 30:47])
    assert_close(one.decode(TOKENS[:, 20:22]), expected[:, 20:])
    assert (one.length, two.length) == (22, 17)
    two.close()
    one.rewind(20)
    assert_close(one.decode(TOKENS[:, 20:22]), expected[:, 20:])


def test_what_does_not_fit_is_refused_and_changes_nothing(opened):
    session = opened()
    session.prefill(TOKENS[:, :20])
    for tokens in (TOKENS[:, :0], TOKENS[0], TOKENS + 97, TOKENS - 97, TOKENS[:, : CAPACITY - 19]):
        with pytest.raises(ContractError):
            session.decode(tokens)
    with pytest.raises(ContractError):
        session.prefill(TOKENS[:, : CAPACITY + 1])
    with pytest.raises(ContractError):
        session.logits(np.concatenate((TOKENS, TOKENS), axis=1))
    assert session.length == 20
    with pytest.raises(ContractError, match="context is 64"):
        opened(capacity=65)


def test_what_it_cannot_carry_is_unsupported(opened):
    for wrong in ({"format": "nothing"}, {"device": "npu:9"}, {"compute_units": "ane"}):
        with pytest.raises(UnsupportedError):
            opened(**wrong)


def test_facts_say_what_happened(opened):
    session = opened()
    session.prefill(TOKENS[:, :5])
    facts = dict(session.facts)
    assert facts["threads"] == 1
    assert facts["activations_dtype"] == "float32"
    assert facts["kv_cache"]
    json.dumps(facts)


def test_it_closes_twice(opened):
    session = opened()
    session.prefill(TOKENS[:, :5])
    session.close()
    session.close()
