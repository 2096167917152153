"""Quality against independent computations: transformers' own loss, scipy's KL divergence, formulas written out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from assay.core.errors import ContractError, CorruptFileError, InputError, StoreError
from assay.core.metrics import METRICS
from assay.core.records import Absent, Estimate
from assay.run.measure import quality
from assay.run.measure.quality import measure_quality, recipe, windows, write_reference
from assay.run.measure.scores import REFERENCE_METRICS, Scores, paired_ratio

VOCABULARY = 97
CONTEXT = 32
TEXT = np.random.default_rng(5).integers(0, VOCABULARY, 1000).tolist()


class TableSession:
    """Logits that depend on the last two tokens and the position: the same by whatever call they are asked for."""

    def __init__(self, noise: float = 0.0, seed: int = 1, vocabulary: int = VOCABULARY, capacity: int = 10_000) -> None:
        base = np.random.default_rng(0).standard_normal((2, VOCABULARY, vocabulary)).astype(np.float32) * 2
        change = np.random.default_rng(seed).standard_normal(base.shape).astype(np.float32)
        self._table = base + np.float32(noise) * change
        self._cache = np.zeros((1, 0), dtype=np.int64)
        self.facts: dict[str, Any] = {}
        self.kv_cache_bytes = 0
        self.largest_answer = 0
        self._capacity = capacity

    @property
    def length(self) -> int:
        return self._cache.shape[1]

    def logits(self, tokens_BT: np.ndarray) -> np.ndarray:
        before_BT = np.concatenate((np.zeros((1, 1), dtype=np.int64), tokens_BT[:, :-1]), axis=1)
        position_T = np.arange(tokens_BT.shape[1], dtype=np.float32)[None, :, None] / 100
        logits_BTV: np.ndarray = self._table[0, tokens_BT] + self._table[1, before_BT] + position_T
        self.largest_answer = max(self.largest_answer, logits_BTV.nbytes)
        return logits_BTV

    def _new(self, tokens: int) -> np.ndarray:
        """Logits of the last tokens of the cache."""
        if self.length > self._capacity:
            raise ContractError("reading tokens", "the cache is full", "Open the session with a larger capacity")
        largest = self.largest_answer
        logits_BKV = self.logits(self._cache)[:, -tokens:]
        self.largest_answer = max(largest, logits_BKV.nbytes)
        return logits_BKV

    def prefill(self, tokens_BT: np.ndarray) -> np.ndarray:
        self._cache = tokens_BT
        return self._new(1)[:, -1]

    def decode(self, tokens_BK: np.ndarray) -> np.ndarray:
        self._cache = np.concatenate((self._cache, tokens_BK), axis=1)
        return self._new(tokens_BK.shape[1])

    def rewind(self, length: int) -> None:
        self._cache = self._cache[:, :length]

    def sync(self) -> None: ...

    def close(self) -> None: ...


def number(value: float | Absent | Estimate) -> float:
    assert not isinstance(value, Absent), value
    return value.value if isinstance(value, Estimate) else value


def rows_of(session: TableSession, cut: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    logits = [session.logits(window[None, :-1])[0] for window in cut]
    return np.concatenate(logits).astype(np.float64), np.concatenate([window[1:] for window in cut])


# ---------------------------------------------------------------------------------------------- windows


def test_windows_do_not_overlap_and_hold_the_text_in_order() -> None:
    cut = windows(TEXT, CONTEXT, 200)
    assert [window.size for window in cut] == [32] * 7
    assert np.concatenate(cut).tolist() == TEXT[:224]


def test_the_last_window_is_shorter_where_the_text_ends() -> None:
    cut = windows(TEXT[:70], CONTEXT, 66)
    assert [window.size for window in cut] == [32, 32, 6]


def test_a_last_window_of_one_token_scores_nothing_and_is_left_out() -> None:
    assert [window.size for window in windows(TEXT[:65], CONTEXT, 65)] == [32, 32]


def test_every_window_may_begin_with_a_token() -> None:
    cut = windows(TEXT, CONTEXT, 62, bos=1)
    assert [window.size for window in cut] == [32, 32]
    assert [window[0] for window in cut] == [1, 1]
    assert np.concatenate([window[1:] for window in cut]).tolist() == TEXT[:62]


def test_a_text_that_is_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="the text has 1000"):
        windows(TEXT, CONTEXT, 1001)
    with pytest.raises(InputError, match="nothing would be scored"):
        windows(TEXT, 1, 100)


def test_the_recipe_says_how_the_text_was_cut() -> None:
    cut = windows(TEXT, CONTEXT, 64)
    assert "2 windows of at most 32 tokens" in recipe(cut, CONTEXT)
    assert "62 tokens scored" in recipe(cut, CONTEXT)
    assert "token 1" in recipe(windows(TEXT, CONTEXT, 62, bos=1), CONTEXT, bos=1)


# ---------------------------------------------------------------------------------------------- metrics


def test_every_metric_is_a_known_one(tmp_path: Path) -> None:
    found = write_reference(TableSession(), windows(TEXT, CONTEXT, 64), tmp_path / "reference")
    assert set(found) <= set(METRICS)
    assert set(found) == {"nll_nats", "perplexity", *REFERENCE_METRICS}


def test_all_metrics_equal_formulas_written_out(tmp_path: Path) -> None:
    cut = windows(TEXT, CONTEXT, 300)
    write_reference(TableSession(), cut, tmp_path / "reference")
    found = measure_quality(TableSession(noise=0.3), cut, tmp_path / "reference")

    reference, targets = rows_of(TableSession(), cut)
    variant, _ = rows_of(TableSession(noise=0.3), cut)
    log_p, log_q = special.log_softmax(reference, axis=1), special.log_softmax(variant, axis=1)
    kl = special.rel_entr(np.exp(log_p), np.exp(log_q)).sum(axis=1)
    at = np.arange(len(targets)), targets
    difference = log_p[at] - log_q[at]
    probability = np.exp(log_q[at]) - np.exp(log_p[at])
    rmse = math.sqrt(np.mean((reference - variant) ** 2))
    expected = {
        "nll_nats": -log_q[at].mean(),
        "perplexity": math.exp(-log_q[at].mean()),
        "kl_nats": kl.mean(),
        "kl_median_nats": np.median(kl),
        "kl_p99_nats": np.quantile(kl, 0.99),
        "kl_p999_nats": np.quantile(kl, 0.999),
        "kl_max_nats": kl.max(),
        "top1_agreement": np.mean(reference.argmax(axis=1) == variant.argmax(axis=1)),
        "rms_probability_difference": math.sqrt(np.mean(probability**2)),
        "psnr_db": 20 * math.log10((np.abs(reference).max() + 1e-5) / (rmse + 1e-10)),
        "max_logit_difference": np.abs(reference - variant).max(),
        "perplexity_ratio": math.exp(difference.mean()),
    }
    # Both sides are float64 from the same float32 logits: only the order of summation differs.
    for name, value in expected.items():
        assert number(found[name]) == pytest.approx(value, rel=1e-9, abs=1e-12), name
    kl_estimate = found["kl_nats"]
    assert isinstance(kl_estimate, Estimate)
    low, high = stats.norm.interval(0.95, loc=kl.mean(), scale=stats.sem(kl))
    assert (kl_estimate.low, kl_estimate.high) == pytest.approx((low, high), rel=1e-9)


def test_the_reference_against_itself_is_identical_and_finite(tmp_path: Path) -> None:
    cut = windows(TEXT, CONTEXT, 128)
    own = write_reference(TableSession(), cut, tmp_path / "reference")
    found = measure_quality(TableSession(), cut, tmp_path / "reference")
    assert number(found["kl_max_nats"]) < 1e-14
    assert number(found["top1_agreement"]) == 1.0
    assert number(found["max_logit_difference"]) == 0.0
    assert 200 < number(found["psnr_db"]) < 250
    assert number(found["perplexity_ratio"]) == 1.0
    assert found["perplexity"] == own["perplexity"]


def test_what_needs_a_reference_is_absent_without_one() -> None:
    cut = windows(TEXT, CONTEXT, 64)
    found = measure_quality(TableSession(), cut, None)
    assert all(isinstance(found[name], Absent) for name in REFERENCE_METRICS)
    assert number(found["perplexity"]) == pytest.approx(math.exp(number(found["nll_nats"])))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_give_no_number(tmp_path: Path, poison: float) -> None:
    cut = windows(TEXT, CONTEXT, 64)
    write_reference(TableSession(), cut, tmp_path / "reference")
    broken = TableSession(noise=0.1)
    broken._table[0, cut[0][3], 7] = poison
    for value in measure_quality(broken, cut, tmp_path / "reference").values():
        assert isinstance(value, Absent)
        assert "not finite" in value.reason


def test_a_perplexity_beyond_float64_is_absent() -> None:
    scores = Scores([2])
    scores.add_alone(np.array([[0.0, 2000.0], [0.0, 2000.0]], dtype=np.float32), np.array([0, 0]))
    found = scores.metrics("alone")
    assert found["nll_nats"] == 2000.0
    assert isinstance(found["perplexity"], Absent)


@settings(max_examples=25)
@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=8, max_size=8),
    change=st.lists(st.floats(-3, 3, width=32), min_size=8, max_size=8),
    shift=st.floats(-20, 20, width=32),
)
def test_kl_is_not_negative_and_does_not_see_a_shift(logits: list[float], change: list[float], shift: float) -> None:
    reference = np.array([logits], dtype=np.float32)
    variant = reference + np.array([change], dtype=np.float32)
    target = np.array([3])
    plain, shifted = Scores([1]), Scores([1])
    plain.add_pair(reference, variant, target)
    shifted.add_pair(reference, variant.astype(np.float64) + shift, target)
    kl, kl_shifted = (number(scores.metrics(None)["kl_max_nats"]) for scores in (plain, shifted))
    assert kl >= 0
    assert kl == pytest.approx(kl_shifted, rel=1e-6, abs=1e-9)
    p, q = special.softmax(reference.astype(np.float64)), special.softmax(variant.astype(np.float64))
    assert kl == pytest.approx(special.rel_entr(p, q).sum(), rel=1e-6, abs=1e-9)


def test_slices_and_workspaces_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = windows(TEXT, CONTEXT, 200)
    write_reference(TableSession(), cut, tmp_path / "reference")
    whole = measure_quality(TableSession(noise=0.2), cut, tmp_path / "reference")
    monkeypatch.setattr(quality, "SLICE_BYTES", 3 * VOCABULARY * 8)
    sliced = measure_quality(TableSession(noise=0.2), cut, tmp_path / "reference")
    for name, value in whole.items():
        assert number(sliced[name]) == pytest.approx(number(value), rel=1e-12), name


def test_large_vocabularies_are_read_through_the_cache_in_bounded_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = windows(TEXT, CONTEXT, 200)
    write_reference(TableSession(), cut, tmp_path / "reference")
    whole = measure_quality(TableSession(noise=0.2), cut, tmp_path / "reference")
    bound = 5 * VOCABULARY * 4
    monkeypatch.setattr(quality, "LOGIT_BYTES", bound)
    session = TableSession()
    write_reference(session, cut, tmp_path / "again")
    assert session.largest_answer == bound
    assert (tmp_path / "again").read_bytes() == (tmp_path / "reference").read_bytes()
    parts = measure_quality(TableSession(noise=0.2), cut, tmp_path / "again")
    for name, value in whole.items():
        assert number(parts[name]) == pytest.approx(number(value), rel=1e-12), name


def test_a_cache_that_cannot_hold_a_window_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = windows(TEXT, CONTEXT, 200)
    write_reference(TableSession(), cut, tmp_path / "reference")
    monkeypatch.setattr(quality, "LOGIT_BYTES", 5 * VOCABULARY * 4)
    write_reference(TableSession(capacity=CONTEXT - 2), cut, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "reference").read_bytes()
    session = TableSession(capacity=CONTEXT - 1)
    write_reference(session, cut, tmp_path / "again")
    assert session.largest_answer == 5 * VOCABULARY * 4


# ---------------------------------------------------------------------------------------------- paired ratio


def test_the_bootstrap_is_paired_and_covers() -> None:
    """A noise that both share leaves the ratio alone; 95 % intervals of independent chunks cover 90 to 99 % in 200."""
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        estimate = paired_ratio(generator.normal(0.01, 0.5, 512 * 24), [512 * 24])
        assert isinstance(estimate, Estimate)
        covered += estimate.low <= math.exp(0.01) <= estimate.high
    assert 180 <= covered <= 198


def test_chunks_do_not_cross_windows() -> None:
    difference = np.concatenate((np.full(600, 0.1), np.full(600, -0.1)))
    estimate = paired_ratio(difference, [600, 600])
    assert isinstance(estimate, Estimate)
    assert "4 chunks" in estimate.method
    assert estimate.low == pytest.approx(math.exp(-0.1))
    assert estimate.high == pytest.approx(math.exp(0.1))


def test_one_chunk_has_no_interval() -> None:
    assert paired_ratio(np.full(100, 0.5), [100]) == pytest.approx(math.exp(0.5))


# ---------------------------------------------------------------------------------------------- the file


def test_a_reference_of_another_text_is_refused(tmp_path: Path) -> None:
    write_reference(TableSession(), windows(TEXT, CONTEXT, 64), tmp_path / "reference")
    with pytest.raises(ContractError, match="other tokens"):
        measure_quality(TableSession(), windows(TEXT[1:], CONTEXT, 64), tmp_path / "reference")


def test_a_reference_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    cut = windows(TEXT, CONTEXT, 64)
    write_reference(TableSession(vocabulary=VOCABULARY + 1), cut, tmp_path / "reference")
    with pytest.raises(ContractError, match="97 and 98"):
        measure_quality(TableSession(), cut, tmp_path / "reference")


def test_a_reference_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    cut, path = windows(TEXT, CONTEXT, 64), tmp_path / "reference"
    write_reference(TableSession(), cut, path)
    whole = path.read_bytes()
    for broken in (whole[:-4], whole[:100], b"", b"{}" + whole[2:], whole.replace(b"logits 1", b"logits 9", 1)):
        path.write_bytes(broken)
        with pytest.raises(CorruptFileError):
            measure_quality(TableSession(), cut, path)


def test_a_reference_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        measure_quality(TableSession(), windows(TEXT, CONTEXT, 64), tmp_path / "none")
    with pytest.raises(StoreError):
        write_reference(TableSession(), windows(TEXT, CONTEXT, 64), tmp_path / "no" / "folder")


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    class Failing(TableSession):
        def logits(self, tokens_BT: np.ndarray) -> np.ndarray:
            if tokens_BT.shape[1] > 1:
                raise RuntimeError("the device is lost")
            return super().logits(tokens_BT)

    with pytest.raises(RuntimeError, match="lost"):
        write_reference(Failing(), windows(TEXT, CONTEXT, 64), tmp_path / "reference")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "reference.partial").symlink_to("/dev/full")
    with pytest.raises(StoreError, match="No space left"):
        write_reference(TableSession(), windows(TEXT, CONTEXT, 64), tmp_path / "reference")


# ---------------------------------------------------------------------------------------------- transformers


class TransformersSession(TableSession):
    """A tiny random model of transformers behind the protocol."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    def logits(self, tokens_BT: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            logits: np.ndarray = self._model(torch.from_numpy(tokens_BT)).logits.float().numpy()
        return logits


def test_perplexity_and_kl_agree_with_transformers_and_scipy(tmp_path: Path) -> None:
    """transformers computes its own loss in float32: agreement to 1e-5 is what that leaves."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    config.initializer_range = 0.5
    exact = transformers.GPT2LMHeadModel(config).eval()
    rounded = transformers.GPT2LMHeadModel(config).eval()
    rounded.load_state_dict({k: v.to(torch.bfloat16).float() for k, v in exact.state_dict().items()})
    cut = windows(TEXT, 64, 500)
    path = tmp_path / "reference"
    own = write_reference(TransformersSession(exact), cut, path)
    found = measure_quality(TransformersSession(rounded), cut, path)
    losses, kl, tokens = [], [], 0
    for window in cut:
        ids = torch.from_numpy(window)[None]
        with torch.inference_mode():
            reference, variant = exact(ids, labels=ids), rounded(ids, labels=ids)
        losses.append((float(reference.loss) * (len(window) - 1), float(variant.loss) * (len(window) - 1)))
        tokens += len(window) - 1
        p, q = (torch.softmax(out.logits[0, :-1].double(), -1).numpy() for out in (reference, variant))
        kl.append(special.rel_entr(p, q).sum(axis=1))
    reference_nll, variant_nll = (sum(loss[i] for loss in losses) / tokens for i in (0, 1))
    assert number(own["perplexity"]) == pytest.approx(math.exp(reference_nll), rel=1e-5)
    assert number(found["perplexity"]) == pytest.approx(math.exp(variant_nll), rel=1e-5)
    assert number(found["perplexity_ratio"]) == pytest.approx(math.exp(variant_nll - reference_nll), rel=1e-5)
    assert number(found["kl_nats"]) == pytest.approx(np.concatenate(kl).mean(), rel=1e-5)
    assert number(found["kl_max_nats"]) == pytest.approx(np.concatenate(kl).max(), rel=1e-4)
