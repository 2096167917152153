"""Parity between runtimes finds the faults that are planted for it, and calls a tie a tie."""

import numpy as np
import pytest

from assay.core.errors import CorruptFileError
from assay.core.records import Absent, Parity
from assay.judge.checks.parity import fault
from assay.judge.checks.policy import CheckPolicy
from assay.run.measure import parity
from assay.run.session import Generation

VOCAB = 50
TEXT = [int(token) for token in np.random.default_rng(3).integers(0, VOCAB, 300)]
POLICY = CheckPolicy()


class Table:
    """A model whose logits depend on the token and its position, and an engine that computes it with a fault."""

    def __init__(self, noise=0.0, scale=1.0, shift=0, forgets=False, seed=1):
        random = np.random.default_rng(0)
        self._by_token = random.normal(size=(VOCAB, VOCAB)) * 2
        self._by_position = random.normal(size=(400, VOCAB))
        self._noise, self._scale, self._shift, self._forgets = noise, scale, shift, forgets
        self._random = np.random.default_rng(seed)
        self.length = 0

    def _rows(self, tokens, start):
        positions = np.arange(start, start + len(tokens))
        logits = self._scale * (self._by_token[tokens] + self._by_position[positions])
        return (logits + self._noise * self._random.normal(size=logits.shape)).astype(np.float32)

    def prefill(self, tokens):
        self.length = tokens.shape[1]
        return self._rows(tokens[0], 0)[None, -1]

    def decode(self, tokens):
        start = 0 if self._forgets else self.length + self._shift
        self.length += tokens.shape[1]
        return self._rows(tokens[0], start)[None]

    def logits(self, tokens):
        return self._rows(tokens[0], 0)[None]


class NoLogits:
    def __init__(self, tokens):
        self._tokens = tokens

    def generate(self, prompt, new_tokens):
        return Generation(tokens=self._tokens, times_ns=(), prompt_tokens=len(prompt), cached_tokens=0)


@pytest.fixture
def against(tmp_path):
    """The parity of an engine with the first runtime."""

    def measured(engine, first=None):
        path = tmp_path / "anchor.npz"
        assert parity.write_anchor(first or Table(), TEXT, capacity=128, context=256, path=path)
        return Parity(against="first", **parity.measure(engine, path))

    return measured


def test_the_same_computation_has_no_fault(against):
    found = against(Table())
    assert found.kl_nats == found.kl_steps_nats == 0
    assert isinstance(found.first_divergence, Absent)
    assert (found.tokens, found.greedy_tokens) == (256 + 64, 64)
    assert fault(found, POLICY.parity_kl_float32_nats) == ""


@pytest.mark.parametrize("noise", [1e-5, 1e-3, 0.05])
@pytest.mark.parametrize("seed", range(5))
def test_rounding_is_no_fault_whatever_token_it_flips(against, noise, seed):
    found = against(Table(noise=noise, seed=seed))
    assert fault(found, POLICY.parity_kl_nats) == ""
    assert 0 < found.kl_nats < POLICY.parity_kl_nats
    assert found.noise_nats == pytest.approx(noise * 2**0.5 * 2.58, rel=0.5)  # 99 % of a difference of two normals


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (Table(scale=1.3), "over a window"),
        (Table(shift=1), "through the KV cache"),
        (Table(forgets=True), "through the KV cache"),
        (Table(noise=2.0), "over a window"),
    ],
)
def test_planted_faults_are_found(against, planted, words):
    assert words in fault(against(planted), POLICY.parity_kl_nats)


def test_one_wrong_step_that_no_mean_shows_is_found_by_its_margin(against):
    class OneWrong(Table):
        def decode(self, tokens):
            logits = super().decode(tokens)
            if self.length == 64 + 30:
                first, second = np.argsort(logits[0, -1])[[-1, -2]]
                logits[0, -1, [first, second]] = logits[0, -1, [second, first]]
            return logits

    found = against(OneWrong())
    assert found.first_divergence == 30
    assert found.margin_nats > found.noise_nats
    assert "greedy token 30 of 64 is another" in fault(found, most_kl_nats=10.0)


def test_logits_that_are_not_finite_are_a_fault(against):
    assert "not finite" in fault(against(Table(scale=np.nan)), POLICY.parity_kl_nats)


def test_an_engine_without_logits_is_held_against_the_greedy_tokens(against, tmp_path):
    parity.write_anchor(Table(), TEXT, 128, 256, tmp_path / "own.npz")
    chosen = [int(token) for token in np.load(tmp_path / "own.npz")["chosen"]]
    same = against(NoLogits(tuple(chosen)))
    assert fault(same, POLICY.parity_kl_nats) == ""
    assert isinstance(same.kl_nats, Absent)
    other = against(NoLogits((*chosen[:7], (chosen[7] + 1) % VOCAB, *chosen[8:])))
    assert other.first_divergence == 7
    assert "which is no tie" in fault(other, POLICY.parity_kl_nats)
    silent = against(NoLogits(Absent(reason="text alone")))
    assert silent.greedy_tokens == 0
    assert not parity.write_anchor(NoLogits(()), TEXT, 128, 256, tmp_path / "none.npz")


def test_a_short_context_shortens_what_is_compared(tmp_path):
    parity.write_anchor(Table(), TEXT, capacity=24, context=24, path=tmp_path / "a.npz")
    found = parity.measure(Table(), tmp_path / "a.npz")
    assert (found["tokens"], found["greedy_tokens"]) == (24 + 12, 12)


def test_a_file_that_is_not_whole_is_said_to_be_so(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(CorruptFileError, match="first runtime"):
        parity.measure(Table(), tmp_path / "a.npz")
