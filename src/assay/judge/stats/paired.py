"""Paired figures: what one round says of a variant against the baseline. It refuses blocks that were not taken in turn.

Two workers that are alive together take turns; the blocks of one turn saw the same machine, so their ratio is free of
the drift that the two medians of a whole round still carry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from assay.core.errors import InputError
from assay.core.records import Absent, Samples


@dataclass(frozen=True)
class RoundRatio:
    """One round of a variant against the baseline, as natural logarithms of variant / baseline."""

    log_ratio: float
    """Median over turns of the log ratio of the two blocks of a turn: the figure that decides."""
    log_ratio_of_medians: float
    """Of the medians of all steady values, kept beside it."""
    log_ratio_of_minima: float
    """Of the smallest steady values, kept beside it."""
    turns: int
    """Turns that both have; 0 where the blocks were not paired: one value per round, or workers loaded in turn."""


def hodges_lehmann(values: Sequence[float]) -> float:
    """Median of the means of all pairs of values, each value paired with itself too (Hodges and Lehmann 1963).

    Raises:
        InputError: there are no values.
    """
    if not values:
        raise InputError("the Hodges-Lehmann estimate", "no values", "Give at least one value.")
    return median((values[i] + values[j]) / 2 for i in range(len(values)) for j in range(i, len(values)))


def block_medians(samples: Samples) -> dict[int, float]:
    """Median of the steady values of each block, by block number, in the order in which the blocks were taken."""
    by_block: dict[int, list[float]] = {}
    for number, value in zip(samples.block[samples.warmup :], samples.steady, strict=bool(samples.block)):
        by_block.setdefault(number, []).append(value)
    return {number: median(values) for number, values in by_block.items()}


def round_log_ratio(baseline: Samples, variant: Samples, *, in_turns: bool = True) -> RoundRatio | Absent:
    """The figure of one round: variant against baseline on one metric, from steady values alone.

    Args:
        baseline: samples of the baseline's worker.
        variant: samples of the variant's worker of the same round, of the same metric.
        in_turns: False where the two workers were not alive together: block numbers then pair nothing, and the ratio
            of medians takes the place of the paired one.

    Returns:
        The ratios, or Absent where a side has no steady values, values that are not positive, or no common turn.
    """
    for side, samples in (("baseline", baseline), ("variant", variant)):
        if not samples.steady:
            return Absent(reason=f"the {side} has no steady values of {samples.metric}")
        if min(samples.steady) <= 0:
            return Absent(reason=f"the {side} has a {samples.metric} of {min(samples.steady):g}: no ratio can be taken")
    of_medians = math.log(median(variant.steady) / median(baseline.steady))
    of_minima = math.log(min(variant.steady) / min(baseline.steady))
    single = len(baseline.steady) == 1 and len(variant.steady) == 1
    if single or not in_turns:
        return RoundRatio(of_medians, of_medians, of_minima, 0)
    ours, theirs = block_medians(variant), block_medians(baseline)
    common = [number for number in theirs if number in ours]
    if not common:
        return Absent(reason=f"baseline and variant have no steady block of {baseline.metric} in common")
    paired = median(math.log(ours[number] / theirs[number]) for number in common)
    return RoundRatio(paired, of_medians, of_minima, len(common))
