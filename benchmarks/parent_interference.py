"""What the parent does while a worker measures: its share of a core, and its memory.

    python benchmarks/parent_interference.py [--quick]

Target: at most .5 % of a core and 80 MiB resident. The short blocks are those of a round: the parent sends a request
and reads its answer for each, before and after the worker's clock runs, so their share is an upper bound.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

from assay import api
from assay.core.records import Absent
from assay.judge.stats.quantiles import p50
from assay.pipeline.births import WorkerServer
from assay.pipeline.contestants import WorkerContestant
from rates import show

MIB = 1 << 20
TARGET_SHARE, TARGET_BYTES = 0.005, 80 * MIB


def shares(worker: WorkerContestant, calls: int, blocks: int, repeats: int) -> list[float]:
    """CPU time of this process / wall time of the worker's blocks, for each repetition."""
    found = []
    for _ in range(repeats):
        cpu = time.process_time()
        wall_s = sum(worker.block(calls).wall_s for _ in range(blocks))
        found.append((time.process_time() - cpu) / wall_s)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter")
    repeats = 6 if parser.parse_args().quick else 30
    rows = []
    with WorkerServer() as server:
        worker = WorkerContestant("planted:base", server, timeout_s=120)
        worker.open()
        call_s = worker.first_call()
        for name, block_s, blocks in (("one long block (1 s)", 1.0, 1), ("blocks of a round (10 ms)", 0.01, 50)):
            found = shares(worker, max(1, round(block_s / call_s)), blocks, repeats)
            estimate = p50(found)
            interval = "none" if isinstance(estimate, Absent) else f"{estimate.low:.3%} to {estimate.high:.3%}"
            middle = sorted(found)[len(found) // 2]
            verdict = "met" if middle <= TARGET_SHARE else "MISSED" if blocks == 1 else "above (upper bound)"
            rows.append([name, f"{middle:.3%}", interval, f"{TARGET_SHARE:.1%} of a core", verdict])
        worker.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    verdict = "met" if peak <= TARGET_BYTES else "MISSED"
    rows.append([f"peak memory with {api.__name__}", f"{peak / MIB:.1f} MiB", "exact", "80 MiB", verdict])
    show("the parent while a worker measures", ["what", "median", "95 % interval", "target", ""], rows)


if __name__ == "__main__":
    main()
