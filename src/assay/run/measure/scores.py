"""Sums the scores of tokens into the metrics of quality. Logits that are not finite give Absent.

Shape suffixes: R rows (scored positions), V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.records import Absent, Estimate, Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.run.session import LogitArray, TokenArray

    Floats = NDArray[np.float64]

CHUNK_TOKENS = 512
"""Tokens of one block of the bootstrap: neighbouring tokens are not independent."""
RESAMPLES = 2000
LEVEL = 0.95
_STANDARD_ERRORS = 1.959963984540054
"""Of a normal distribution at `LEVEL`."""
_LARGEST_EXPONENT = 709.0

REFERENCE_METRICS = (
    "kl_nats",
    "kl_median_nats",
    "kl_p99_nats",
    "kl_p999_nats",
    "kl_max_nats",
    "top1_agreement",
    "rms_probability_difference",
    "psnr_db",
    "max_logit_difference",
    "perplexity_ratio",
)
"""What can only be told against a reference."""


class Scores:
    """Gathers scores of rows of logits in the order of the text, and makes metrics of them.

    Args:
        window_rows: scored positions of each window.
    """

    def __init__(self, window_rows: Sequence[int]) -> None:
        self._window_rows = tuple(window_rows)
        rows = sum(window_rows)
        self._nll_R = np.zeros(rows)
        self._reference_nll_R = np.zeros(rows)
        self._kl_R = np.zeros(rows)
        self._agrees_R = np.zeros(rows, dtype=bool)
        self._filled = 0
        self._squares = 0.0
        self._cells = 0
        self._largest_reference = 0.0
        self._largest_difference = 0.0
        self._space: Floats = np.zeros((3, 0, 0))

    def add_alone(self, logits_RV: LogitArray, targets_R: TokenArray) -> None:
        """Score rows without a reference."""
        span = self._next_span(len(targets_R))
        [powers_RV, _, _] = self._workspace(logits_RV)
        np.copyto(powers_RV, logits_RV)
        log_sum_R, _ = _exponentials(powers_RV, _at(logits_RV, logits_RV.argmax(axis=1)))
        self._nll_R[span] = log_sum_R - _at(logits_RV, targets_R)

    def add_pair(self, reference_RV: LogitArray, logits_RV: LogitArray, targets_R: TokenArray) -> None:
        """Score rows against the reference's rows of the same positions."""
        span = self._next_span(len(targets_R))
        variant_RV, base_RV, difference_RV = self._workspace(logits_RV)
        np.copyto(base_RV, reference_RV)
        np.copyto(variant_RV, logits_RV)
        best_R, base_best_R = logits_RV.argmax(axis=1), reference_RV.argmax(axis=1)
        with np.errstate(invalid="ignore"):  # infinity minus infinity; `metrics` counts such rows
            np.subtract(base_RV, variant_RV, out=difference_RV)
            log_sum_R, _ = _exponentials(variant_RV, _at(logits_RV, best_R))
            base_log_sum_R, base_sum_R = _exponentials(base_RV, _at(reference_RV, base_best_R))
            mean_difference_R = np.einsum("rv,rv->r", base_RV, difference_RV) / base_sum_R
        self._nll_R[span] = log_sum_R - _at(logits_RV, targets_R)
        self._reference_nll_R[span] = base_log_sum_R - _at(reference_RV, targets_R)
        self._agrees_R[span] = best_R == base_best_R
        # Never negative by definition; rounding of the two logarithms can leave -1e-15.
        self._kl_R[span] = np.maximum(mean_difference_R - base_log_sum_R + log_sum_R, 0.0)
        self._squares += float(np.einsum("rv,rv->", difference_RV, difference_RV))
        self._cells += difference_RV.size
        self._largest_reference = max(self._largest_reference, _largest(reference_RV))
        self._largest_difference = max(self._largest_difference, _largest(difference_RV))

    def metrics(self, no_reference: str | None) -> dict[str, Measured | Estimate]:
        """The metrics by name.

        Args:
            no_reference: why there was no reference; None where there was one.
        """
        broken_rows = int(np.sum(~np.isfinite(self._nll_R + self._reference_nll_R + self._kl_R)))
        if broken_rows:
            absent = Absent(
                reason=f"{broken_rows} of {self._nll_R.size} rows of logits are not finite (NaN or infinite)"
            )
            return dict.fromkeys(("nll_nats", "perplexity", *REFERENCE_METRICS), absent)
        nll_nats = float(self._nll_R.mean())
        found: dict[str, Measured | Estimate] = {"nll_nats": nll_nats, "perplexity": _exponential(nll_nats)}
        if no_reference is not None:
            return found | {name: Absent(reason=no_reference) for name in REFERENCE_METRICS}
        return found | self._against_reference()

    def _against_reference(self) -> dict[str, Measured | Estimate]:
        probability_difference_R = np.exp(-self._nll_R) - np.exp(-self._reference_nll_R)
        rmse = math.sqrt(self._squares / self._cells)
        median, p99, p999 = np.quantile(self._kl_R, (0.5, 0.99, 0.999))
        return {
            "kl_nats": mean_estimate(self._kl_R),
            "kl_median_nats": float(median),
            "kl_p99_nats": float(p99),
            "kl_p999_nats": float(p999),
            "kl_max_nats": float(self._kl_R.max()),
            "top1_agreement": float(self._agrees_R.mean()),
            "rms_probability_difference": float(np.sqrt(np.mean(probability_difference_R**2))),
            "psnr_db": 20.0 * math.log10((self._largest_reference + 1e-5) / (rmse + 1e-10)),
            "max_logit_difference": self._largest_difference,
            "perplexity_ratio": paired_ratio(self._nll_R - self._reference_nll_R, self._window_rows),
        }

    def _next_span(self, rows: int) -> slice:
        self._filled += rows
        return slice(self._filled - rows, self._filled)

    def _workspace(self, logits_RV: LogitArray) -> list[Floats]:
        """Three float64 arrays of that shape, allocated once: fresh pages for each slice cost more than the sums."""
        rows, vocab_size = logits_RV.shape
        if self._space.shape[1] < rows or self._space.shape[2] != vocab_size:
            self._space = np.empty((3, rows, vocab_size))
        return [array_RV[:rows] for array_RV in self._space]


def mean_estimate(values_R: Floats) -> Measured | Estimate:
    """Mean with its normal 95 % interval; the mean alone where there is one value."""
    mean = float(values_R.mean())
    if values_R.size < 2:
        return mean
    error = float(values_R.std(ddof=1)) / math.sqrt(values_R.size)
    return Estimate(
        value=mean,
        low=mean - _STANDARD_ERRORS * error,
        high=mean + _STANDARD_ERRORS * error,
        level=LEVEL,
        method=f"mean +- 1.96 standard errors over {values_R.size} tokens",
    )


def paired_ratio(difference_R: Floats, window_rows: Sequence[int]) -> Measured | Estimate:
    """Perplexity ratio exp(mean difference) with a bootstrap over chunks of 512 tokens that no window border cuts.

    Args:
        difference_R: nll of the variant minus nll of the reference, per token.
        window_rows: scored positions of each window.
    """
    lengths = [min(CHUNK_TOKENS, rows - begin) for rows in window_rows for begin in range(0, rows, CHUNK_TOKENS)]
    ratio = _exponential(float(difference_R.mean()))
    if isinstance(ratio, Absent) or len(lengths) < 2:
        return ratio
    sums_C = np.add.reduceat(difference_R, np.concatenate(([0], np.cumsum(lengths)[:-1])))
    lengths_C = np.asarray(lengths, dtype=np.float64)
    drawn_SC = np.random.default_rng(0).integers(len(lengths), size=(RESAMPLES, len(lengths)))
    means_S = sums_C[drawn_SC].sum(axis=1) / lengths_C[drawn_SC].sum(axis=1)
    low, high = np.quantile(means_S, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    low_ratio, high_ratio = _exponential(float(low)), _exponential(float(high))
    if isinstance(low_ratio, Absent) or isinstance(high_ratio, Absent):
        return ratio
    return Estimate(
        value=ratio,
        low=low_ratio,
        high=high_ratio,
        level=LEVEL,
        method=f"exp of the mean paired difference; bootstrap over {len(lengths)} chunks of {CHUNK_TOKENS} tokens",
    )


def _exponentials(values_RV: Floats, largest_R: Floats) -> tuple[Floats, Floats]:
    """Put exp(values - largest) in place of the values; return ln sum exp(values), and the sum of what is there now."""
    values_RV -= largest_R[:, None]
    np.exp(values_RV, out=values_RV)
    sum_R: Floats = values_RV.sum(axis=1)
    return largest_R + np.log(sum_R), sum_R


def _at(logits_RV: LogitArray, column_R: NDArray[np.integer[Any]]) -> Floats:
    """One value of each row, as float64."""
    return np.take_along_axis(logits_RV, column_R[:, None], axis=1)[:, 0].astype(np.float64)


def _largest(array_RV: NDArray[np.floating[Any]]) -> float:
    """Largest absolute value."""
    return max(float(array_RV.max()), -float(array_RV.min()))


def _exponential(nats: float) -> Measured:
    if nats > _LARGEST_EXPONENT:
        return Absent(reason=f"exp({nats:.0f}) is larger than any float64")
    return math.exp(nats)
