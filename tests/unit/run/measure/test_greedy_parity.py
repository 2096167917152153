"""Greedy tokens against the reference's: equal, a tie, a fault, and what cannot be told."""

from __future__ import annotations

import numpy as np
import pytest

from assay.core.errors import CorruptFileError
from assay.core.metrics import METRICS
from assay.core.records import Absent
from assay.run.measure import greedy_parity
from assay.run.session import Generation

TEXT = list(range(200))


class Successor:
    """A session for which the next token is the last plus one, more surely with every step."""

    def prefill(self, tokens_BT):
        self._step = 0
        return self._logits(tokens_BT[:, -1:])[:, -1]

    def decode(self, tokens_BK):
        self._step += 1
        return self._logits(tokens_BK)

    def _logits(self, tokens_BK):
        logits = np.zeros((*tokens_BK.shape, 512), dtype=np.float32)
        np.put_along_axis(logits, (tokens_BK[..., None] + 1) % 512, 1.0 + self._step, axis=2)
        return logits


class Answers:
    def __init__(self, tokens):
        self._tokens = tokens

    def generate(self, tokens, new_tokens):
        return Generation(self._tokens, tuple(range(1, new_tokens + 1)), len(tokens), 0)


@pytest.fixture
def reference():
    return greedy_parity.reference_of(Successor(), TEXT)


def test_the_reference_is_its_own_greedy_text_with_margins(reference):
    assert reference.prompt == tuple(range(64))
    assert reference.tokens == tuple(range(64, 128))
    assert reference.margins_nats[:3] == (1.0, 2.0, 3.0)


def test_equal_tokens_have_no_margin(reference):
    metrics, compared = greedy_parity.measure(Answers(reference.tokens), TEXT, reference)
    assert compared == 64
    assert metrics["greedy_tokens_equal"] == 64.0
    assert isinstance(metrics["greedy_margin_nats"], Absent)
    assert set(metrics) <= set(METRICS)
    assert metrics["kl_nats"].reason.startswith("the engine gives no logits")


def test_the_first_difference_is_told_with_the_margin_there(reference):
    wrong = (*reference.tokens[:5], 0, *reference.tokens[6:])
    metrics, _ = greedy_parity.measure(Answers(wrong), TEXT, reference)
    assert metrics["greedy_tokens_equal"] == 5.0
    assert metrics["greedy_margin_nats"] == 6.0


def test_an_engine_without_token_ids_has_no_parity(reference):
    metrics, compared = greedy_parity.measure(Answers(Absent(reason="text alone")), TEXT, reference)
    assert compared == 0
    assert metrics["greedy_tokens_equal"] == Absent(reason="text alone")


def test_it_round_trips_through_its_file(reference, tmp_path):
    path = greedy_parity.beside(tmp_path / "key.logits")
    greedy_parity.write(reference, path)
    assert greedy_parity.read(path) == reference
    path.write_text("{}")
    with pytest.raises(CorruptFileError):
        greedy_parity.read(path)
