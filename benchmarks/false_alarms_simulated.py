"""How often identical programs come out better or worse, with a look after every round from the fifth to the budget.

    python benchmarks/false_alarms_simulated.py

Target: at most 5 % for normal log ratios of any deviation, at budgets of 10, 20 and 40 rounds. The other rows say
what becomes of the level where the assumption does not hold. The last table runs the whole path, from block times of
a machine that drifts to `compare`. Pure simulation; nothing is timed.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable
from statistics import fmean, stdev

from assay.core.records import Absent, Samples
from assay.judge.stats import student
from assay.judge.stats.paired import round_log_ratio
from assay.judge.stats.sequence import FIRST_LOOK, decide
from rates import percent, show

MARGIN, ALPHA = 0.02, 0.05
BUDGETS = (10, 20, 40)

Source = Callable[[random.Random, int], list[float]]
"""Draws the log ratios of a study: (generator, rounds)."""


def normal(deviation: float) -> Source:
    return lambda draw, rounds: [draw.gauss(0, deviation) for _ in range(rounds)]


def student_3(draw: random.Random, rounds: int) -> list[float]:
    """Heavy tails: Student's t with 3 degrees of freedom, median 0."""
    return [0.02 * draw.gauss(0, 1) / math.sqrt(draw.gammavariate(1.5, 2) / 3) for _ in range(rounds)]


def contaminated(draw: random.Random, rounds: int) -> list[float]:
    """One round in ten meets a disturbance ten times as wide."""
    return [draw.gauss(0, 0.2 if draw.random() < 0.1 else 0.02) for _ in range(rounds)]


def skewed(draw: random.Random, rounds: int) -> list[float]:
    """A shifted exponential with mean 0: as skewed as a difference of two like programs never is."""
    return [0.02 * (draw.expovariate(1) - 1) for _ in range(rounds)]


def correlated(strength: float) -> Source:
    """Rounds that remember each other, AR(1)."""

    def source(draw: random.Random, rounds: int) -> list[float]:
        level = draw.gauss(0, 1)
        found = []
        for _ in range(rounds):
            level = strength * level + math.sqrt(1 - strength**2) * draw.gauss(0, 1)
            found.append(0.02 * level)
        return found

    return source


SOURCES: dict[str, Source] = {
    "normal, deviation .005": normal(0.005),
    "normal, deviation .02": normal(0.02),
    "normal, deviation .10": normal(0.10),
    "Student t, 3 degrees": student_3,
    "1 in 10 disturbed": contaminated,
    "exponential (skewed)": skewed,
    "AR(1), .2 between rounds": correlated(0.2),
    "AR(1), .5 between rounds": correlated(0.5),
}


def sequential(xs: list[float], budget: int, alpha: float) -> str:
    """The outcome of a study that stops as soon as it is decided."""
    outcome = "inconclusive"
    for rounds in range(FIRST_LOOK, budget + 1):
        outcome = decide(xs[:rounds], MARGIN, alpha, FIRST_LOOK, budget=budget)
        if outcome != "inconclusive":
            break
    return outcome


def asymptotic(xs: list[float], budget: int) -> bool:
    """The asymptotic normal-mixture sequence at the same nominal level, for comparison: does it ever exclude 0?"""
    log_level = -2 * math.log(ALPHA)
    r2 = (log_level + math.log(log_level) + 1) / 30
    for t in range(FIRST_LOOK, budget + 1):
        reach = math.sqrt(2 * (t * r2 + 1) / (t * t * r2) * math.log(math.sqrt(t * r2 + 1) / ALPHA))
        if abs(fmean(xs[:t])) > reach * stdev(xs[:t]):
            return True
    return False


def naive(xs: list[float], budget: int, quantiles: dict[int, float]) -> bool:
    """A t-test after every round, stopped at the first p < .05, for comparison."""
    return any(abs(fmean(xs[:t])) * math.sqrt(t) > quantiles[t] * stdev(xs[:t]) for t in range(FIRST_LOOK, budget + 1))


def table_of_levels(studies: int, seed: int) -> None:
    rows = []
    for name, source in SOURCES.items():
        cells = [name]
        for budget in BUDGETS:
            draw = random.Random(f"{seed}/{name}/{budget}")
            wrong = sum(sequential(source(draw, budget), budget, ALPHA) in ("better", "worse") for _ in range(studies))
            cells.append(percent(wrong, studies))
        rows.append(cells)
    header = ["log ratios of identical programs", *(f"{budget} rounds" for budget in BUDGETS)]
    show(f"better or worse, nominal 5 %, {studies:,} studies a cell", header, rows)


def table_of_families(studies: int, seed: int) -> None:
    """Several candidates against one baseline: shared noise of the baseline, level divided by Bonferroni."""
    rows = []
    for candidates in (2, 4, 8):
        draw = random.Random(f"{seed}/{candidates}")
        wrong = 0
        for _ in range(studies):
            base = [draw.gauss(0, 0.015) for _ in range(20)]
            wrong += any(
                sequential([draw.gauss(0, 0.015) - b for b in base], 20, ALPHA / candidates) in ("better", "worse")
                for _ in range(candidates)
            )
        rows.append([str(candidates), percent(wrong, studies)])
    show("any candidate of a study wrong, level divided, 20 rounds", ["candidates", "studies with a false alarm"], rows)


def table_of_others(studies: int, seed: int) -> None:
    quantiles = {t: student.quantile(0.975, t - 1) for t in range(FIRST_LOOK, max(BUDGETS) + 1)}
    rows = []
    for name, rule in (
        ("mixture t-sequence, calibrated", lambda xs, b: sequential(xs, b, ALPHA) in ("better", "worse")),
        ("asymptotic normal mixture, alpha .05", asymptotic),
        ("t-test after every round", lambda xs, b: naive(xs, b, quantiles)),
    ):
        cells = [name]
        for budget in BUDGETS:
            draw = random.Random(f"{seed}/{budget}")
            source = SOURCES["normal, deviation .02"]
            cells.append(percent(sum(rule(source(draw, budget), budget) for _ in range(studies)), studies))
        rows.append(cells)
    show("normal log ratios, by rule", ["rule", *(f"{budget} rounds" for budget in BUDGETS)], rows)


# ---------------------------------------------------------------------------------------------- the whole path

TURNS = 40


def worker(draw: random.Random, machine: list[float], effect: float) -> Samples:
    """Blocks of one worker: the machine's drift, the worker's own luck, noise, and a spike in one block of thirty."""
    luck = draw.gauss(0, 0.02)
    values = tuple(
        0.01 * math.exp(level + luck + effect + draw.gauss(0, 0.02)) * (3 if draw.random() < 0.03 else 1)
        for level in machine
    )
    return Samples(metric="tpot_s", values=values, block=tuple(range(TURNS)))


def round_of(draw: random.Random, effect: float, start: float) -> tuple[float, float]:
    """Log ratio of one round on a machine whose speed walks by 1.8 x over tens of seconds, and where the walk ends."""
    step = math.log(1.8) / math.sqrt(10 * TURNS)
    machine = [start]
    for _ in range(TURNS - 1):
        machine.append(0.999 * machine[-1] + step * draw.gauss(0, 1))
    ratio = round_log_ratio(worker(draw, machine, 0.0), worker(draw, machine, effect))
    if isinstance(ratio, Absent):
        raise RuntimeError(ratio.reason)
    return -ratio.log_ratio, machine[-1]


def table_of_paths(studies: int, seed: int) -> None:
    rows = []
    for budget in (10, 20):
        draw = random.Random(f"{seed}/path/{budget}")
        outcomes = []
        for _ in range(studies):
            xs: list[float] = []
            level, outcome = 0.0, "inconclusive"
            while outcome == "inconclusive" and len(xs) < budget:
                ratio, level = round_of(draw, 0.0, level)
                xs.append(ratio)
                outcome = decide(xs, MARGIN, ALPHA, FIRST_LOOK, budget=budget)
            outcomes.append(outcome)
        wrong = sum(outcome in ("better", "worse") for outcome in outcomes)
        rows.append([str(budget), percent(wrong, studies), percent(outcomes.count("equivalent"), studies)])
    show(
        "whole path: drifting machine, lucky workers, spikes",
        ["rounds", "false alarms", "equivalent within 2 %"],
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    table_of_levels(given.studies, given.seed)
    table_of_others(given.studies, given.seed)
    table_of_families(max(1, given.studies // 4), given.seed)
    table_of_paths(max(1, given.studies // 10), given.seed)


if __name__ == "__main__":
    main()
