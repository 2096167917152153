"""Regenerate the thresholds of the confidence sequence by simulation; refuses to write from too few paths.

    python benchmarks/calibrate_sequence.py            # prints the table and its Monte Carlo error
    python benchmarks/calibrate_sequence.py --write    # stores it in src/assay/judge/stats/thresholds.json

The mixture t-statistic does not depend on the deviation of the data, so its maximum over the looks has one distribution
for all normal data: the threshold of a level and a budget of rounds is a quantile of that maximum. Needs numpy.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.judge.stats import sequence

ALPHAS = (0.1, 0.05, 0.025, 0.0125, 0.005, 0.0025, 0.001, 0.0005)
BUDGETS = (5, 7, 10, 14, 20, 28, 40, 80, 160)
TABLE = Path(sequence.__file__).parent / "thresholds.json"
CHUNK = 20_000


def log_mixture(draws: NDArray[np.float64], prior_variance: float) -> NDArray[np.float64]:
    """Log mixture statistic after each round, `[path, round]`; vectorised twin of `sequence.log_mixture`."""
    rounds = np.arange(1, draws.shape[1] + 1)
    mean = draws.cumsum(1) / rounds
    squares = np.maximum((draws**2).cumsum(1) - rounds * mean**2, 1e-300)
    growth = 1 + prior_variance * rounds
    explained = rounds * mean**2 / squares
    value: NDArray[np.float64] = rounds / 2 * (np.log1p(explained) - np.log1p(explained / growth)) - np.log(growth) / 2
    return value


def simulate(paths: int, seed: int) -> dict[str, list[float]]:
    """Thresholds by budget: one for every level of `ALPHAS`."""
    random = np.random.default_rng(seed)
    maxima: dict[int, list[NDArray[np.float64]]] = {budget: [] for budget in BUDGETS}
    for _ in range(math.ceil(paths / CHUNK)):
        running = log_mixture(random.standard_normal((CHUNK, max(BUDGETS))), sequence.PRIOR_VARIANCE)
        looks = np.maximum.accumulate(running[:, sequence.FIRST_LOOK - 1 :], axis=1)
        for budget in BUDGETS:
            maxima[budget].append(looks[:, budget - sequence.FIRST_LOOK])
    return {
        str(budget): [round(float(np.quantile(np.concatenate(found), 1 - alpha)), 4) for alpha in ALPHAS]
        for budget, found in maxima.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=int, default=4_000_000)
    parser.add_argument("--seed", type=int, default=20260)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.write and given.paths < 1_000_000:
        parser.error("--write needs at least 1,000,000 paths: the smallest alpha is a rare event")
    thresholds = simulate(given.paths, given.seed)
    print(f"thresholds of the log mixture statistic, looks from round {sequence.FIRST_LOOK}, {given.paths:,} paths")
    print("budget  " + "  ".join(f"a={alpha:<7}" for alpha in ALPHAS))
    for budget, row in thresholds.items():
        print(f"{budget:>6}  " + "  ".join(f"{value:<9.3f}" for value in row))
    print("level known to (2 SE): " + ", ".join(f"{2 * math.sqrt(a * (1 - a) / given.paths):.1e}" for a in ALPHAS))
    if given.write:
        content = {
            "prior_variance": sequence.PRIOR_VARIANCE,
            "first_look": sequence.FIRST_LOOK,
            "paths": given.paths,
            "seed": given.seed,
            "alphas": list(ALPHAS),
            "thresholds": thresholds,
        }
        TABLE.write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote {TABLE.name}")


if __name__ == "__main__":
    main()
