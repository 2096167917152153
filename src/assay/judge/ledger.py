"""The prediction ledger: how often stated intervals held what was measured, and to which side predictions lean.

It refuses to count a number that a check struck out, or one that was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from assay.core.decisions import Decision, Ledger, LedgerLine
from assay.core.records import Absent, Estimate, Measured
from assay.judge.stats.student import quantile

_LEVEL = 0.95


def ledger(decisions: Sequence[Decision]) -> Ledger:
    """The ledger over decisions, oldest first; an expectation counts once, as it was measured first."""
    lines: dict[str, LedgerLine] = {}
    for decision in decisions:
        if isinstance(decision.evidence, Absent):
            continue
        for expected, found in zip(decision.expected, decision.evidence.effects, strict=False):
            key = f"{decision.experiment} {expected.content_digest}"
            measured = Absent(reason="; ".join(found.struck)) if found.struck else found.centre
            inside = measured if isinstance(measured, Absent) else expected.low <= measured <= expected.high
            line = LedgerLine(experiment=decision.experiment, expected=expected, measured=measured, inside=inside)
            lines.setdefault(key, line)
    counted = [line for line in lines.values() if not isinstance(line.measured, Absent)]
    hits = sum(line.inside is True for line in counted)
    return Ledger(
        expectations=len(lines),
        unmeasured=len(lines) - len(counted),
        inside=hits,
        stated_level=fmean(line.expected.level for line in counted) if counted else Absent(reason="nothing measured"),
        coverage=_coverage(hits, len(counted)),
        bias=_bias(counted),
        lines=tuple(lines.values()),
    )


def _coverage(hits: int, count: int) -> Estimate | Absent:
    """Share with Wilson's score interval (Wilson 1927, JASA 22)."""
    if not count:
        return Absent(reason="no expectation was measured")
    share, z2 = hits / count, 1.959964**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = math.sqrt(z2) / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return Estimate(
        value=share, low=max(0.0, centre - reach), high=min(1.0, centre + reach), level=_LEVEL, method="Wilson"
    )


def _bias(lines: Sequence[LedgerLine]) -> Estimate | Absent:
    """Geometric mean of measured / expected with Student's interval on the logarithms."""
    logs = [math.log(found / line.expected.value) for line in lines if (found := _positive(line)) > 0]
    if len(logs) < 2:
        return Absent(reason=f"{len(logs)} positive expectations were measured; a bias needs two")
    reach = quantile((1 + _LEVEL) / 2, len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
    mean = fmean(logs)
    return Estimate(
        value=math.exp(mean),
        low=math.exp(mean - reach),
        high=math.exp(mean + reach),
        level=_LEVEL,
        method="Student on log(measured / expected)",
    )


def _positive(line: LedgerLine) -> float:
    """The measured value where its logarithm and the expectation's exist, else 0."""
    measured: Measured = line.measured
    return measured if not isinstance(measured, Absent) and measured > 0 and line.expected.value > 0 else 0.0
