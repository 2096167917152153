"""Prefill and decode times of a fake runtime whose times are known: time to first token, and per output token.

    python benchmarks/phase_accuracy.py [--quick]

Target: within 1 % of what was planted, on a quiet machine. The fake waits in a loop on the clock, since sleeping ends
late.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from assay.core.records import Absent, Scalar, Workload
from assay.judge.stats.quantiles import p50
from assay.run.workloads.decode import DecodeDriver
from assay.run.workloads.driver import Driver
from assay.run.workloads.generate import GenerateDriver
from assay.run.workloads.prefill import PrefillDriver
from rates import show

if TYPE_CHECKING:
    from assay.run.session import LogitArray, TokenArray

PROMPT, NEW = 32, 16


def wait(seconds: float) -> None:
    """Until so many seconds have passed, without giving the processor away."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Planted:
    """A session that takes `prefill_s` for a prompt and `token_s` for a token."""

    def __init__(self, prefill_s: float, token_s: float) -> None:
        self._prefill_s, self._token_s = prefill_s, token_s
        self.length = 0
        self.kv_cache_bytes = 0
        self.facts: Mapping[str, Scalar] = {}

    def prefill(self, tokens_BT: TokenArray) -> LogitArray:
        self.length = tokens_BT.shape[1]
        wait(self._prefill_s)
        return np.zeros((1, 8), dtype=np.float32)

    def decode(self, tokens_BK: TokenArray) -> LogitArray:
        self.length += tokens_BK.shape[1]
        wait(self._token_s)
        return np.zeros((1, 1, 8), dtype=np.float32)

    def logits(self, tokens_BT: TokenArray) -> LogitArray:
        return np.zeros((1, tokens_BT.shape[1], 8), dtype=np.float32)

    def rewind(self, length: int) -> None:
        self.length = length

    def sync(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Nothing to free."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    calls = 16 if parser.parse_args().quick else 160
    rows = []
    tokens = list(range(PROMPT + NEW))
    for prefill_s, token_s in ((0.02, 0.001), (0.02, 0.004), (0.1, 0.0003)):
        session = Planted(prefill_s, token_s)
        phases: list[tuple[str, Driver, float, int]] = [
            ("prefill (TTFT)", PrefillDriver(session, _workload("prefill"), tokens), prefill_s, max(6, calls // 8)),
            ("decode (TPOT)", DecodeDriver(session, _workload("decode"), tokens), token_s, calls),
            (
                "end to end",
                GenerateDriver(session, _workload("generate"), tokens),
                prefill_s + (NEW - 1) * token_s,
                max(6, calls // 8),
            ),
        ]
        for name, driver, known_s, count in phases:
            seconds = [duration for _, duration in driver.block(count)]
            middle, estimate = sorted(seconds)[len(seconds) // 2], p50(seconds)
            error = middle / known_s - 1
            interval = (
                "none"
                if isinstance(estimate, Absent)
                else f"{estimate.low / known_s - 1:+.3%} to {estimate.high / known_s - 1:+.3%}"
            )
            rows.append(
                [name, f"{known_s * 1e3:g}", f"{error:+.3%}", interval, "met" if abs(error) <= 0.01 else "MISSED"]
            )
    show("error of a phase, target 1 %", ["phase", "planted, ms", "median error", "95 % interval", ""], rows)


def _workload(kind: str) -> Workload:
    return Workload.model_validate({"kind": kind, "prompt_tokens": PROMPT, "new_tokens": NEW})


if __name__ == "__main__":
    main()
