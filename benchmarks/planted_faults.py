"""Plants faults in healthy results and counts what the checks catch, what they miss, and their false alarms.

Targets: 90 % of the faults caught, 2 % of the healthy rows called invalid and 10 % suspect at most. It refuses to count
an alarm that the healthy result gives too.

    python benchmarks/planted_faults.py [--quick]
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from rates import percent, show


def _suite() -> Any:
    """The faults live beside the tests, under a name that a script of this folder has too."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    return importlib.import_module("planted.suite")


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two draws of the healthy results in the place of five")
    arguments = parser.parse_args()
    suite = _suite()
    planted = suite.plant()
    show(
        "faults",
        ["kind", "fault", "caught by"],
        [[fault.group, fault.name, ", ".join(fault.rules) or "MISSED"] for fault in planted],
    )
    rows = []
    for group in ("blind", "informed", "study"):
        mine = [fault for fault in planted if fault.group == group]
        rows.append([group, str(len(mine)), percent(sum(bool(fault.rules) for fault in mine), len(mine)), "90 %"])
    caught = sum(bool(fault.rules) for fault in planted)
    rows.append(["all", str(len(planted)), percent(caught, len(planted)), "90 %"])
    show("caught", ["kind", "faults", "caught, 95 % interval", "target"], rows)
    catches: dict[str, int] = {}
    for fault in planted:
        for rule in fault.rules:
            catches[rule] = catches.get(rule, 0) + 1
    show("by check", ["check", "faults"], [[name, str(n)] for name, n in sorted(catches.items(), key=lambda c: -c[1])])
    alarms = suite.alarms(range(2) if arguments.quick else suite.SEEDS)
    show(
        "false alarms on healthy rows",
        ["severity", "rows", "flagged, 95 % interval", "target"],
        [
            ["ERR", str(alarms.rows), percent(alarms.errors, alarms.rows), "2 %"],
            ["WARN", str(alarms.rows), percent(alarms.warnings, alarms.rows), "10 %"],
        ],
    )
    print(f"  by check: {dict(alarms.by_check) or 'none'}")


if __name__ == "__main__":
    main()
