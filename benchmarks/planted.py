"""Programs whose difference is known, for the live benchmarks; importable, so that workers run them.

A unit of work is a fixed number of integer additions, about half a millisecond: small enough that its time is that of
the processor alone.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

UNIT = 20_000


def _work(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step
    return total


def base() -> int:
    return _work(UNIT)


def two_percent_more() -> int:
    return _work(UNIT * 102 // 100)


def five_percent_more() -> int:
    return _work(UNIT * 105 // 100)


def nothing() -> None:
    """An empty call."""


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that compute without end, beside what is measured; they end with the block."""
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
