"""How often `assay gate` fails on an unchanged tree, and how often it finds a planted loss.

    python benchmarks/gate_false_alarms.py

Each run is a study with some speeds, and so is the run whose ratios are kept; every number is judged by the gate's
own rule. The deviation is that of a round's log ratio: .008 where a round has 150 turns on a quiet machine, .02 with
40 turns. Target: at most 1 % of runs fail, at any number of speeds. The run that is kept is drawn anew for
every 50 later ones: one unlucky baseline would fail them all. Nothing is timed.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable

from assay.core.records import Estimate
from assay.judge.gate import LEVEL, speed_outcome
from assay.judge.stats.sequence import confidence_sequence
from rates import percent, show

MARGIN, PER_BASELINE = 0.02, 50

Source = Callable[[random.Random], float]


def normal(deviation: float) -> Source:
    return lambda draw: draw.gauss(0, deviation)


def heavy(deviation: float) -> Source:
    """Student's t with 3 degrees of freedom."""
    return lambda draw: deviation * draw.gauss(0, 1) / math.sqrt(draw.gammavariate(1.5, 2) / 3)


def measured(draw: random.Random, source: Source, rounds: int, alpha: float, shift: float) -> Estimate:
    """One speed of one run, as a ratio to the base variant."""
    taken = [shift + source(draw) for _ in range(rounds)]
    mean, low, high = confidence_sequence(taken, alpha, budget=rounds)
    return Estimate(value=math.exp(mean), low=math.exp(low), high=math.exp(high), method="sequence")


def failures(source: Source, rounds: int, speeds: int, runs: int, loss: float, seed: int) -> int:
    """Runs of `runs` in which any speed fails; with a loss, the first speed has it."""
    draw, alpha, failed = random.Random(seed), LEVEL / speeds, 0
    kept: list[Estimate] = []
    for number in range(runs):
        if number % PER_BASELINE == 0:
            kept = [measured(draw, source, rounds, alpha, 0.0) for _ in range(speeds)]
        now = [measured(draw, source, rounds, alpha, -loss if place == 0 else 0.0) for place in range(speeds)]
        failed += any(
            speed_outcome("decode_tok_per_s", ratio, before, MARGIN) == "failed"
            for ratio, before in zip(now, kept, strict=True)
        )
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    sources = {
        "normal .008": normal(0.008),
        "normal .02": normal(0.02),
        "normal .05": normal(0.05),
        "t3 .02": heavy(0.02),
    }
    for loss in (0.0, 0.05, 0.10):
        rows = []
        for name, source in sources.items():
            for rounds in (10, 20):
                rates = [percent(failures(source, rounds, speeds, runs, loss, seed=7), runs) for speeds in (1, 4)]
                rows.append((name, str(rounds), *rates))
        title = f"planted loss {100 * loss:.0f} %: runs that fail of {runs} (margin {100 * MARGIN:.0f} %)"
        show(title, ("log ratios of rounds", "rounds", "1 speed", "4 speeds"), rows)


if __name__ == "__main__":
    main()
