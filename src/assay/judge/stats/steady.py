"""Steady state by samples: when warm-up is over. It refuses a fixed count, and says so where nothing ever settled.

Warm-up ends when the medians of the last two groups of 5 blocks agree within their own spread. The spread is that of
the later group, because one cold call in the earlier would make it agree with anything; and it is the inner one (fourth
less second of five ordered values), because the full range of a group that still falls is nearly as wide as its step to
the next group. Where a block takes longer than a tenth of the cap, ten blocks do not fit in it; there the groups shrink
to two blocks, whose spread is their range: four slow blocks, each a mean over much work, say more than a run given up
as unsettled. Either way at least four blocks are seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from assay.core.errors import InputError

GROUP = 5
SMALL_GROUP = 2
LONG_BLOCK_SHARE = 0.1
"""A block longer than this share of the cap makes the groups small."""
LEAST_SPREAD = 0.002
"""Relative difference that always counts as agreement: a coarse clock gives groups without any spread."""


class SteadyState:
    """Takes block values one by one and says when they are settled, or that the cap was reached first.

    Args:
        cap_s: seconds of warm-up at most.

    Raises:
        InputError: the cap is not positive.
    """

    def __init__(self, cap_s: float = 30.0) -> None:
        if cap_s <= 0:
            raise InputError("a warm-up", f"cap_s = {cap_s!r}", "Give a positive number of seconds.")
        self._cap_s = cap_s
        self._values: list[float] = []
        self._seconds: list[float] = []
        self._settled = False

    @property
    def settled(self) -> bool:
        """True once the last two groups of blocks agreed; it stays so."""
        return self._settled

    @property
    def no_steady_state(self) -> bool:
        """True where the cap was reached before the blocks agreed."""
        return not self._settled and self.elapsed_s >= self._cap_s

    @property
    def blocks(self) -> int:
        """Blocks seen so far."""
        return len(self._values)

    @property
    def elapsed_s(self) -> float:
        """Seconds of warm-up so far."""
        return math.fsum(self._seconds)

    @property
    def group(self) -> int:
        """Blocks per group, by how long the blocks so far took against the cap."""
        long = bool(self._seconds) and median(self._seconds) > LONG_BLOCK_SHARE * self._cap_s
        return SMALL_GROUP if long else GROUP

    def add(self, value: float, seconds: float) -> None:
        """Take one block: its value (such as its median time per call) and the seconds that it took.

        Raises:
            InputError: the seconds are negative.
        """
        if seconds < 0:
            raise InputError("a warm-up block", f"{seconds!r} s", "Give the seconds that the block took.")
        self._values.append(value)
        self._seconds.append(seconds)
        if not self._settled and len(self._values) >= 2 * self.group:
            earlier, later, spread = self._last_groups()
            self._settled = abs(later - earlier) <= spread

    def describe(self) -> str:
        """One line for the run's facts."""
        seen = f"{len(self._values)} blocks, {self.elapsed_s:.3g} s"
        if self._settled:
            return f"settled after {seen}"
        if not self.no_steady_state:
            return f"not settled yet after {seen}"
        if len(self._values) < 2 * self.group:
            return f"no steady state: the cap of {self._cap_s:g} s left room for {seen}"
        earlier, later, spread = self._last_groups()
        return (
            f"no steady state after {seen}: the last two groups of {self.group} blocks have medians "
            f"{earlier:.4g} and {later:.4g}, further apart than their spread of {spread:.2g}"
        )

    def _last_groups(self) -> tuple[float, float, float]:
        size = self.group
        earlier, later = self._values[-2 * size : -size], self._values[-size:]
        spread = max(_inner_spread(later), LEAST_SPREAD * abs(median(later)))
        return median(earlier), median(later), spread


def _inner_spread(values: Sequence[float]) -> float:
    ordered = sorted(values)
    trim = 1 if len(ordered) > SMALL_GROUP else 0
    return ordered[-1 - trim] - ordered[trim]
