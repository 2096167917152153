"""How often each 95 % interval holds the true value, over sample sizes and distributions.

    python benchmarks/interval_coverage.py

Target: 93 to 97 % for intervals that are computed once. A confidence sequence promises more: to hold at every look at
once, so at the round where a study stops it covers more than 95 %. Pure simulation; nothing is timed.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable

from assay.core.records import Absent, Estimate
from assay.judge.stats.bootstrap import bootstrap, paired_mean
from assay.judge.stats.quantiles import p50, p90, p99
from assay.judge.stats.sequence import FIRST_LOOK, confidence_sequence, decide
from rates import percent, show

Draw = Callable[[random.Random], float]

SHAPES: dict[str, tuple[Draw, float, float, Callable[[float], float]]] = {
    "normal": (lambda r: r.gauss(10, 1), 10.0, 10.0, lambda p: math.nan),
    "log-normal .3": (lambda r: r.lognormvariate(0, 0.3), 1.0, math.exp(0.045), lambda p: math.nan),
    "exponential": (lambda r: r.expovariate(1), math.log(2), 1.0, lambda p: -math.log(1 - p)),
}
"""Distribution: a draw, its median, its mean, its quantiles where they have a closed form."""


def covered(estimate: Estimate | Absent, truth: float) -> bool:
    return isinstance(estimate, Estimate) and estimate.low <= truth <= estimate.high


def table_of_medians(trials: int, seed: int) -> None:
    rows = []
    for name, (draw, middle, mean, _) in SHAPES.items():
        for count in (5, 6, 8, 10, 20, 40):
            random_ = random.Random(f"{seed}/{name}/{count}")
            medians = sum(covered(p50([draw(random_) for _ in range(count)]), middle) for _ in range(trials))
            few = max(1, trials // 10)
            means = sum(
                covered(bootstrap([draw(random_) for _ in range(count)], seed=i, resamples=600), mean)
                for i in range(few)
            )
            rows.append([name, str(count), percent(medians, trials), percent(means, few)])
    show("values of rounds", ["distribution", "rounds", "median (p50)", "mean (bootstrap)"], rows)


def table_of_tails(trials: int, seed: int) -> None:
    rows = []
    draw, _, _, quantile = SHAPES["exponential"]
    for rule, share, counts in ((p90, 0.9, (64, 200, 1000)), (p99, 0.99, (662, 2000))):
        for count in counts:
            random_ = random.Random(f"{seed}/{share}/{count}")
            truth, few = quantile(share), max(1, trials // 4)
            hits = sum(covered(rule([draw(random_) for _ in range(count)]), truth) for _ in range(few))
            rows.append([f"p{100 * share:.0f}", str(count), percent(hits, few)])
    show("tails, 99 % binomial intervals", ["quantile", "samples", "covered"], rows)


def table_of_chunks(trials: int, seed: int) -> None:
    """Paired differences of tokens that remember each other (AR(1) .9 within a text), by the length of the text."""
    rows = []
    for tokens in (2560, 4096, 8192):
        random_ = random.Random(f"{seed}/{tokens}")
        hits, few = 0, max(1, trials // 10)
        for i in range(few):
            level, differences = 0.0, []
            for _ in range(tokens):
                level = 0.9 * level + random_.gauss(0, 0.4)
                differences.append(0.02 + level)
            hits += covered(paired_mean(differences, seed=i), 0.02)
        rows.append([str(tokens), str(tokens // 512), percent(hits, few)])
    show("paired difference of likelihoods, chunks of 512 tokens", ["tokens", "chunks", "covered"], rows)


def table_of_sequences(trials: int, seed: int) -> None:
    rows = []
    for budget in (10, 20, 40):
        for effect in (0.0, 0.02):
            random_ = random.Random(f"{seed}/{budget}/{effect}")
            always = at_end = 0
            few = max(1, trials // 2)
            for _ in range(few):
                xs = [random_.gauss(effect, 0.03) for _ in range(budget)]
                looks = [confidence_sequence(xs[:n], 0.05, budget=budget) for n in range(FIRST_LOOK, budget + 1)]
                always += all(low <= effect <= high for _, low, high in looks)
                stop = next(
                    (
                        n
                        for n in range(FIRST_LOOK, budget)
                        if decide(xs[:n], 0.02, 0.05, FIRST_LOOK, budget=budget) != "inconclusive"
                    ),
                    budget,
                )
                at_end += looks[stop - FIRST_LOOK].low <= effect <= looks[stop - FIRST_LOOK].high
            rows.append([str(budget), f"{effect:g}", percent(always, few), percent(at_end, few)])
    header = ["budget", "true log ratio", "at every look", "where the study stops"]
    show("confidence sequence, deviation .03", header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    table_of_sequences(given.trials, given.seed)
    table_of_medians(given.trials, given.seed)
    table_of_tails(given.trials, given.seed)
    table_of_chunks(given.trials, given.seed)


if __name__ == "__main__":
    main()
