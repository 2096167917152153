"""The confidence sequence: an interval that may be looked at after every round. It refuses to decide before the fifth.

The statistic is the scale-invariant Gaussian mixture of t-likelihood ratios: with x_1..x_n independent normal of mean
m0 and any deviation, d = mean - m0, S = the sum of squares about the mean, u = n d^2 / S, and a prior N(0, g) on the
standardised mean,

    log M_n = n/2 [ln(1 + u) - ln(1 + u/(1 + n g))] - 1/2 ln(1 + n g)

is a martingale of the scale-invariant filtration (Lai 1976, Annals of Statistics 4(2), with a Gaussian in place of his
flat mixture: Wang and Ramdas 2023, arXiv:2310.03722; the same as the Bayes factor of the one-sample t-test under a
right-Haar prior). By Ville's inequality it exceeds 1/alpha with a probability of at most alpha, ever. A study looks
from round 5 to a budget that is known beforehand, so the thresholds of `thresholds.json`, simulated for such budgets,
spend all of alpha there; outside that table the threshold is Ville's. docs/decisions/0002-confidence-sequence.md says
why.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from statistics import NormalDist, fmean
from typing import Literal, NamedTuple

from assay.core.errors import InputError
from assay.core.records import Absent, Measured

PRIOR_VARIANCE = 1.0
"""g: variance of the standardised mean under the mixture. 1 has the best power between rounds 5 and 40."""
FIRST_LOOK = 5
"""Rounds before the first look for which the thresholds are calibrated."""
DEFAULT_BUDGET = 40
"""Rounds at most where the caller does not say."""
POWER = 0.8

SequenceOutcome = Literal["better", "worse", "equivalent", "inconclusive"]


class Interval(NamedTuple):
    """Mean with its confidence interval, in the unit of the values; infinite bounds exclude nothing."""

    mean: float
    low: float
    high: float


class _Table(NamedTuple):
    budgets: tuple[int, ...]
    log_levels: tuple[float, ...]
    """-ln alpha, increasing."""
    thresholds: tuple[tuple[float, ...], ...]


@cache
def _table() -> _Table:
    content = json.loads(files("assay.judge.stats").joinpath("thresholds.json").read_text(encoding="utf-8"))
    budgets = tuple(int(budget) for budget in content["thresholds"])
    return _Table(
        budgets,
        tuple(-math.log(alpha) for alpha in content["alphas"]),
        tuple(tuple(content["thresholds"][str(budget)]) for budget in budgets),
    )


def _refuse_level(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InputError("a confidence sequence", f"alpha = {alpha!r}", "Give a level between 0 and 1, such as 0.05.")


@cache
def log_threshold(alpha: float, budget: int = DEFAULT_BUDGET, first_look: int = FIRST_LOOK) -> float:
    """Value that the log mixture statistic exceeds in at most `alpha` of all sequences of identical programs.

    Interpolated in ln alpha for the next budget in the table; Ville's -ln alpha outside it (looks before round 5,
    budgets beyond 160 rounds, levels that were not simulated).

    Raises:
        InputError: alpha is not between 0 and 1.
    """
    _refuse_level(alpha)
    level, table = -math.log(alpha), _table()
    row = bisect_left(table.budgets, budget)
    if first_look < FIRST_LOOK or row == len(table.budgets) or not table.log_levels[0] <= level <= table.log_levels[-1]:
        return level
    column = max(1, bisect_left(table.log_levels, level))
    below, above = table.log_levels[column - 1], table.log_levels[column]
    share = (level - below) / (above - below)
    return (1 - share) * table.thresholds[row][column - 1] + share * table.thresholds[row][column]


def log_mixture(xs: Sequence[float], mean: float = 0.0) -> float:
    """Log of the mixture statistic against the hypothesis that the values have this mean.

    Infinite for constant values of another mean.

    Raises:
        InputError: there are fewer than two values.
    """
    if len(xs) < 2:
        raise InputError("the mixture t-statistic", f"{len(xs)} values", "Give at least two.")
    rounds, centre = len(xs), fmean(xs)
    squares = math.fsum((x - centre) ** 2 for x in xs)
    growth = 1 + PRIOR_VARIANCE * rounds
    distance = rounds * (centre - mean) ** 2
    if squares == 0:
        return math.inf if distance > 0 else -math.log(growth) / 2
    explained = distance / squares
    return rounds / 2 * (math.log1p(explained) - math.log1p(explained / growth)) - math.log(growth) / 2


def half_width(rounds: int, threshold: float) -> float:
    """Half the interval's width in units of the sample deviation (ddof 1); infinite while the rounds exclude no mean.

    The statistic above solved for d: with K = exp((2 c + ln(1 + n g))/n), d = s sqrt((n-1)/n (K-1)/(1 - K/(1 + n g))).
    """
    growth = 1 + PRIOR_VARIANCE * rounds
    exponent = (2 * threshold + math.log(growth)) / rounds
    if rounds < 2 or exponent >= math.log(growth):
        return math.inf
    factor = math.exp(exponent)
    return math.sqrt((rounds - 1) / rounds * (factor - 1) / (1 - factor / growth))


def confidence_sequence(
    xs: Sequence[float], alpha: float, *, budget: int = DEFAULT_BUDGET, first_look: int = FIRST_LOOK
) -> Interval:
    """Mean of the rounds' log ratios with an interval that holds at every look from `first_look` to `budget` at once.

    Args:
        xs: one log ratio per round, in the order of the rounds.
        alpha: probability that the interval ever misses the mean, for normal log ratios.
        budget: most rounds that will be looked at, fixed beforehand; more rounds than that count as the budget.
        first_look: round of the first look.

    Raises:
        InputError: there are no values, or alpha is not between 0 and 1.
    """
    if not xs:
        raise InputError("a confidence sequence", "no rounds", "Give at least one log ratio.")
    threshold = log_threshold(alpha, max(budget, len(xs)), first_look)
    centre = fmean(xs)
    if len(xs) < max(2, first_look):
        return Interval(centre, -math.inf, math.inf)
    width = half_width(len(xs), threshold)
    deviation = math.sqrt(math.fsum((x - centre) ** 2 for x in xs) / (len(xs) - 1))
    reach = width if math.isinf(width) else width * deviation
    return Interval(centre, centre - reach, centre + reach)


def decide(
    xs: Sequence[float],
    margin: float,
    alpha: float,
    min_rounds: int = FIRST_LOOK,
    *,
    budget: int = DEFAULT_BUDGET,
) -> SequenceOutcome:
    """Outcome of the rounds so far; a positive value means that the variant improves on the baseline.

    better or worse: the interval excludes 0, however small the difference. equivalent: it lies wholly within
    +-ln(1 + margin). inconclusive: neither, or fewer than `min_rounds` rounds.

    Raises:
        InputError: the margin is not positive, or alpha is not between 0 and 1.
    """
    if margin <= 0:
        raise InputError("an equivalence margin", f"{margin!r}", "Give a positive fraction, such as 0.02.")
    _refuse_level(alpha)
    if len(xs) < max(2, min_rounds):
        return "inconclusive"
    _, low, high = confidence_sequence(xs, alpha, budget=budget, first_look=min_rounds)
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    bound = math.log1p(margin)
    return "equivalent" if -bound < low and high < bound else "inconclusive"


def smallest_effect(
    deviation: float, rounds: int, alpha: float, *, budget: int = DEFAULT_BUDGET, first_look: int = FIRST_LOOK
) -> Measured:
    """Smallest mean log ratio that the interval after `rounds` rounds excludes from 0 with 80 % power.

    Counts the last look only; the looks before it add a little power, so the figure is on the safe side. The power is
    the probability that a normal mean exceeds `half_width` sample deviations, integrated over the chi distribution of
    the sample deviation (the upper tail of the noncentral t).

    Returns:
        The effect in natural log units, or Absent where that many rounds exclude nothing, or showed no spread.

    Raises:
        InputError: alpha is not between 0 and 1.
    """
    width = half_width(rounds, log_threshold(alpha, max(budget, rounds), first_look))
    if rounds < first_look or math.isinf(width):
        return Absent(reason=f"{rounds} rounds are too few to exclude any effect at a level of {alpha:g}")
    if deviation <= 0:
        return Absent(reason="the rounds showed no spread to compute it from")
    low, high = 0.0, 3 * width + 8 / math.sqrt(rounds)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(middle, rounds, width) < POWER else (low, middle)
    return high * deviation


def _power(effect: float, rounds: int, width: float) -> float:
    """P(mean > width x sample deviation) for unit deviation, by Simpson's rule over the sample deviation."""
    degrees = rounds - 1
    spread = 6 / math.sqrt(2 * degrees)
    start, end = max(1e-6, 1 - spread), 1 + spread
    panels = 200
    step = (end - start) / panels
    log_norm = math.log(2) + degrees / 2 * math.log(degrees / 2) - math.lgamma(degrees / 2)
    normal = NormalDist()
    total = weight_sum = 0.0
    for index in range(panels + 1):
        s = start + index * step
        weight = 1 if index in (0, panels) else 4 if index % 2 else 2
        density = weight * math.exp(log_norm + (degrees - 1) * math.log(s) - degrees * s * s / 2)
        weight_sum += density
        total += density * normal.cdf((effect - width * s) * math.sqrt(rounds))
    return total / weight_sum
