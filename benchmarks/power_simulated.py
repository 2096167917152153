"""How often a true effect is found, and after how many rounds, by the deviation of a round's log ratio.

    python benchmarks/power_simulated.py

Targets: 5 % found in at least 80 % of studies within 10 rounds, and 2 % within 40, at the deviation of a quiet machine
(.008 to .02 for the median of adjacent log ratios with 150 and 40 turns a round). Pure simulation; nothing is timed.
"""

from __future__ import annotations

import argparse
import math
import random
from statistics import median

from assay.core.records import Absent
from assay.judge.stats.sequence import (
    DEFAULT_BUDGET,
    FIRST_LOOK,
    SequenceOutcome,
    decide,
    half_width,
    log_threshold,
    smallest_effect,
)
from rates import percent, show

MARGIN, ALPHA = 0.02, 0.05
DEVIATIONS = (0.008, 0.015, 0.02, 0.03, 0.04, 0.10)
QUESTIONS = ((0.05, 10), (0.02, 40), (0.01, 40))


def study(draw: random.Random, effect: float, deviation: float, rounds: int) -> tuple[SequenceOutcome, int]:
    """Outcome of a study with the default budget, looked at until `rounds`, and the rounds that it took."""
    xs = [draw.gauss(effect, deviation) for _ in range(FIRST_LOOK - 1)]
    outcome: SequenceOutcome = "inconclusive"
    while outcome == "inconclusive" and len(xs) < rounds:
        xs.append(draw.gauss(effect, deviation))
        outcome = decide(xs, MARGIN, ALPHA, FIRST_LOOK, budget=DEFAULT_BUDGET)
    return outcome, len(xs)


def table_of_power(studies: int, seed: int) -> None:
    for effect, rounds in QUESTIONS:
        rows = []
        for deviation in DEVIATIONS:
            draw = random.Random(f"{seed}/{effect}/{deviation}")
            found = [study(draw, math.log1p(effect), deviation, rounds) for _ in range(studies)]
            better = [taken for outcome, taken in found if outcome == "better"]
            wrong = sum(outcome == "worse" for outcome, _ in found)
            same = sum(outcome == "equivalent" for outcome, _ in found)
            taken = f"{median(better):.0f}" if better else "-"
            rows.append(
                [
                    f"{deviation:g}",
                    percent(len(better), studies),
                    taken,
                    percent(same, studies),
                    f"{wrong} of {studies}",
                ]
            )
        header = ["deviation", "found (better)", "median rounds", "equivalent", "worse"]
        show(f"a true {effect:.0%}, at most {rounds} rounds, {studies:,} studies a row", header, rows)


def table_of_equality(studies: int, seed: int) -> None:
    rows = []
    for deviation in DEVIATIONS:
        draw = random.Random(f"{seed}/same/{deviation}")
        found = [study(draw, 0.0, deviation, 40) for _ in range(studies)]
        same = [taken for outcome, taken in found if outcome == "equivalent"]
        rows.append([f"{deviation:g}", percent(len(same), studies), f"{median(same):.0f}" if same else "-"])
    header = ["deviation", "equivalent", "median rounds"]
    show(f"identical programs, at most 40 rounds, margin {MARGIN:.0%}", header, rows)


def table_of_smallest_effects(studies: int, seed: int) -> None:
    """The figure printed beside an inconclusive outcome, and how often such an effect is in fact found."""
    rows = []
    for rounds in (5, 7, 10, 20, 40):
        effect = smallest_effect(1.0, rounds, ALPHA)
        if isinstance(effect, Absent):
            rows.append([str(rounds), "-", effect.reason, ""])
            continue
        draw = random.Random(f"{seed}/{rounds}")
        found = sum(study(draw, effect, 1.0, rounds)[0] == "better" for _ in range(studies))
        width = half_width(rounds, log_threshold(ALPHA))
        rows.append([str(rounds), f"{width:.2f}", f"{effect:.2f}", percent(found, studies)])
    header = ["rounds", "half width", "smallest effect", "found, with all looks"]
    show("in units of the deviation; the smallest effect claims 80 % at the last look", header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    table_of_power(given.studies, given.seed)
    table_of_equality(given.studies, given.seed)
    table_of_smallest_effects(given.studies, given.seed)


if __name__ == "__main__":
    main()
