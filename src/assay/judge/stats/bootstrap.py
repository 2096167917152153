"""The bootstrap with a fixed seed, for values and for chunks of tokens. It refuses constant samples.

The percentile interval of a mean of few values is too narrow twice over: the bootstrap deviation lacks the factor
sqrt(n/(n-1)), and its tails are normal where Student's are due. Both are mended by moving the percentiles outwards
(`expanded`, Hesterberg 2015, The American Statistician 69(4)); for 40 values hardly anything moves.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean

from assay.core.errors import InputError
from assay.core.records import Absent, Estimate
from assay.judge.stats import student

RESAMPLES = 2000
CHUNK_TOKENS = 512
"""Tokens of a chunk: errors of neighbouring tokens are correlated, those of chunks hardly."""
LEAST_CHUNKS = 5


def expanded(level: float, count: int) -> float:
    """Tail probability at which the bootstrap percentiles of `count` values are read for a two-sided interval."""
    reach = math.sqrt(count / (count - 1)) * student.quantile((1 + level) / 2, count - 1)
    return NormalDist().cdf(-reach)


def bootstrap(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float] = fmean,
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate | Absent:
    """Expanded percentile interval of a statistic of independent values.

    Args:
        values: independent values, such as one per round.
        statistic: of the values; the mean where none is given.
        level: of the interval.
        seed: the same seed gives the same interval.
        resamples: draws with replacement.

    Returns:
        The estimate, or Absent where there are fewer than two values or all are equal.

    Raises:
        InputError: the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError("a bootstrap interval", f"level = {level!r}", "Give a level between 0 and 1, such as 0.95.")
    count = len(values)
    if count < 2:
        return Absent(reason=f"{count} values have no bootstrap")
    if min(values) == max(values):
        return Absent(reason=f"all {count} values equal {values[0]:g}: a constant sample has no bootstrap")
    draw = random.Random(seed).choices
    found = sorted(statistic(draw(values, k=count)) for _ in range(resamples))
    tail = expanded(level, count)
    return Estimate(
        value=statistic(values),
        low=_at(found, tail),
        high=_at(found, 1 - tail),
        level=level,
        method=f"bootstrap, {resamples} resamples of {count} values, expanded percentiles, seed {seed}",
    )


def _at(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def paired_mean(
    differences: Sequence[float], *, chunk: int = CHUNK_TOKENS, level: float = 0.95, seed: int = 0
) -> Estimate | Absent:
    """Mean of paired differences of neighbouring tokens (NLL of a variant less that of its reference), in nats.

    Bootstrap over chunks of `chunk` tokens in the order of the text; a last chunk shorter than half joins the one
    before. exp of the value and of the bounds is the paired perplexity ratio.

    Returns:
        The estimate, or Absent where there are fewer than five chunks or no differences at all.

    Raises:
        InputError: the chunk is not positive.
    """
    if chunk < 1:
        raise InputError("a bootstrap over chunks", f"chunk = {chunk}", "Give the tokens of a chunk, such as 512.")
    chunks = [differences[start : start + chunk] for start in range(0, len(differences), chunk)]
    if len(chunks) > 1 and len(chunks[-1]) * 2 < chunk:
        last = chunks.pop()
        chunks[-1] = [*chunks[-1], *last]
    if len(chunks) < LEAST_CHUNKS:
        return Absent(
            reason=f"{len(differences)} tokens make {len(chunks)} chunks of {chunk}; {LEAST_CHUNKS} are needed"
        )
    sums, sizes = [math.fsum(c) for c in chunks], [len(c) for c in chunks]
    if min(differences) == max(differences):
        return Absent(reason=f"every token differs by {differences[0]:g}: a constant sample has no bootstrap")
    generator = random.Random(seed)
    indices = range(len(chunks))
    found: list[float] = []
    for _ in range(RESAMPLES):
        drawn = generator.choices(indices, k=len(chunks))
        found.append(math.fsum(sums[i] for i in drawn) / sum(sizes[i] for i in drawn))
    found.sort()
    tail = expanded(level, len(chunks))
    return Estimate(
        value=math.fsum(sums) / sum(sizes),
        low=_at(found, tail),
        high=_at(found, 1 - tail),
        level=level,
        method=f"bootstrap over {len(chunks)} chunks of {chunk} tokens, expanded percentiles, seed {seed}",
    )
