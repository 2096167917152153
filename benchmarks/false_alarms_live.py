"""How often a program compared with itself comes out better or worse, live, through `assay.compare`.

    python benchmarks/false_alarms_live.py [--tries 40] [--load] [--quick]

Target: at most 5 % false alarms (60 tries or more bound it), and at most 4 of 40 with `--load`, which runs two busy
loops beside the measurement.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import planted
from assay import api
from rates import percent, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=40)
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of each try")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--load", action="store_true", help="two busy loops beside it")
    parser.add_argument("--quick", action="store_true", help="2 tries of 4 s: shows that it works, and no rate")
    given = parser.parse_args()
    tries, budget_s = (2, 4.0) if given.quick else (given.tries, given.budget)
    outcomes: Counter[str] = Counter()
    rounds = 0
    with tempfile.TemporaryDirectory() as folder, planted.busy_loops(2 if given.load else 0):
        for _ in range(tries):
            found = api.compare(
                planted.base, planted.base, budget_s=budget_s, max_rounds=given.rounds, store=Path(folder)
            )
            outcomes[found.comparison.outcome] += 1
            rounds += found.rounds
    wrong = outcomes["better"] + outcomes["worse"]
    rows = [["better or worse (false)", str(wrong), percent(wrong, tries)]]
    rows += [[name, str(outcomes[name]), percent(outcomes[name], tries)] for name in ("equivalent", "inconclusive")]
    where = "two busy loops beside it" if given.load else "nothing beside it"
    title = f"a program against itself, {tries} tries of {budget_s:g} s, {rounds / tries:.1f} rounds each, {where}"
    show(title, ["outcome", "tries", "share, 95 % interval"], rows)


if __name__ == "__main__":
    main()
