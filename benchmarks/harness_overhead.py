"""What the harness adds to one timed call: time against an empty loop, and memory blocks.

    python benchmarks/harness_overhead.py [--quick]

Target: at most 1 us, and no allocation beyond what the pair of clock readings returns (two integers).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from assay.core.records import Absent
from assay.judge.stats.quantiles import p50
from assay.run.measure.clock import collector_off, timed_calls
from planted import nothing
from rates import show

Call = Callable[[], object]


def empty_loop(call: Call, count: int) -> None:
    for _ in range(count):
        call()


def seconds_per_call(loop: Callable[[Call, int], object], count: int) -> float:
    with collector_off():
        started = time.perf_counter_ns()
        loop(nothing, count)
        return (time.perf_counter_ns() - started) * 1e-9 / count


def blocks_per_call(count: int) -> float:
    """Memory blocks that one more timed call holds, seen from inside the calls, without the probe's own."""
    seen = [0] * count
    places = iter(range(count))

    def look() -> None:
        seen[next(places)] = sys.getallocatedblocks()

    with collector_off():
        timed_calls(look, count)
    first, last = count // 2, count - 1  # past the small integers, which Python keeps
    probe = 1.0  # the count that it stores
    return (seen[last] - seen[first]) / (last - first) - probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    quick = parser.parse_args().quick
    count, repeats = (5_000, 21) if quick else (20_000, 201)
    added = [seconds_per_call(timed_calls, count) - seconds_per_call(empty_loop, count) for _ in range(repeats)]
    estimate = p50(added)
    interval = "none" if isinstance(estimate, Absent) else f"{estimate.low * 1e9:.0f} to {estimate.high * 1e9:.0f}"
    middle = sorted(added)[repeats // 2]
    blocks = blocks_per_call(count)
    rows = [
        ["time, ns", f"{middle * 1e9:.0f}", interval, "1000", "met" if middle <= 1e-6 else "MISSED"],
        ["memory blocks", f"{blocks:.2f}", "exact", "2 (the pair)", "met" if blocks <= 2.01 else "MISSED"],
    ]
    show("added to one timed call", ["what", "median", "95 % interval", "target", ""], rows)


if __name__ == "__main__":
    main()
