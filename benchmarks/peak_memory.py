"""Whether a peak of memory that lasts some milliseconds is seen in full: 8 MiB touched and freed within 10 ms.

    python benchmarks/peak_memory.py [--quick]

Target: the peak is within 2 % of what was resident before plus 8 MiB.
"""

from __future__ import annotations

import argparse
import mmap
import time

from assay.core.records import Absent
from assay.judge.stats.quantiles import p50
from assay.run.measure.memory import MemoryMeter
from rates import show

MIB = 1 << 20
SIZE = 8 * MIB


def touch() -> float:
    """Map 8 MiB, write to every page, free them; seconds."""
    started = time.perf_counter()
    with mmap.mmap(-1, SIZE) as area:
        for page in range(0, SIZE, mmap.PAGESIZE):
            area[page] = 1
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    repeats = 12 if parser.parse_args().quick else 200
    meter = MemoryMeter()
    touch()
    errors, missed, seconds = [], [], []
    for _ in range(repeats):
        why_not = meter.reset()
        before = meter.read()
        if why_not is not None or isinstance(before, Absent):
            raise SystemExit(f"peaks cannot be read here: {why_not or before}")
        seconds.append(touch())
        after = meter.read()
        if isinstance(after, Absent) or isinstance(after.peak_bytes, Absent):
            raise SystemExit(f"peaks cannot be read here: {after}")
        known = before.resident_bytes + SIZE
        errors.append(after.peak_bytes / known - 1)
        missed.append((known - after.peak_bytes) / SIZE)
    estimate = p50(errors)
    interval = "none" if isinstance(estimate, Absent) else f"{estimate.low:+.3%} to {estimate.high:+.3%}"
    worst = max(errors, key=abs)
    rows = [
        ["median error of the peak", f"{sorted(errors)[repeats // 2]:+.3%}", interval],
        ["worst error of the peak", f"{worst:+.3%}", "met" if abs(worst) <= 0.02 else "MISSED"],
        ["worst share of the 8 MiB not seen", f"{max(missed):+.2%}", ""],
        ["median time of touching, ms", f"{sorted(seconds)[repeats // 2] * 1e3:.2f}", "10 at most"],
    ]
    show(f"8 MiB touched and freed, {repeats} times, target 2 %", ["what", "value", "95 % interval or target"], rows)


if __name__ == "__main__":
    main()
