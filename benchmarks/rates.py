"""Shared by the simulations: a rate with its interval, and a plain table. It refuses rates of nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z = 1.959964


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927).

    Raises:
        ValueError: there were no trials.
    """
    if trials < 1:
        raise ValueError("a rate needs at least one trial")
    rate, square = hits / trials, Z * Z
    centre = (rate + square / (2 * trials)) / (1 + square / trials)
    reach = Z * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials**2)) / (1 + square / trials)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def percent(hits: int, trials: int) -> str:
    """`4.9 % [4.5, 5.3]`."""
    low, high = wilson(hits, trials)
    return f"{100 * hits / trials:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns are as wide as they need to be."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    print(f"\n{title}")
    for line in (header, ["-" * width for width in widths], *rows):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
