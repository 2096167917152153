"""How often a planted slowdown is found, live, through `assay.compare`.

    python benchmarks/power_live.py [--tries 40] [--planted 5] [--quick]

Target, on a quiet machine: 5 % of extra work is found in at least 80 % (32 of 40) within 10 rounds, 2 % within 40.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import planted
from assay import api
from rates import percent, show

PLANTED = ((5, planted.five_percent_more, 10), (2, planted.two_percent_more, 40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=40)
    parser.add_argument("--planted", type=int, choices=(5, 2), help="only so many per cent (both otherwise)")
    parser.add_argument("--round-seconds", type=float, default=4.0, help="seconds of a round")
    parser.add_argument("--quick", action="store_true", help="one try of few rounds: shows that it works, and no rate")
    given = parser.parse_args()
    tries, round_s = (1, 0.6) if given.quick else (given.tries, given.round_seconds)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for percents, slower, most in PLANTED:
            if given.planted not in (None, percents):
                continue
            rounds = 6 if given.quick else most
            found = [
                api.compare(
                    planted.base, slower, budget_s=round_s * rounds, max_rounds=rounds, margin=0.005, store=Path(folder)
                )
                for _ in range(tries)
            ]
            outcomes = [each.comparison.outcome for each in found]
            taken = sum(each.rounds for each in found) / tries
            right, wrong = outcomes.count("worse"), outcomes.count("better")
            rows.append(
                [f"{percents} %", str(rounds), f"{taken:.1f}", percent(right, tries), percent(wrong, tries), "80 %"]
            )
    header = ["planted", "rounds at most", "rounds taken", "found, 95 % interval", "wrong direction", "target"]
    show(f"planted extra work, {tries} tries", header, rows)


if __name__ == "__main__":
    main()
