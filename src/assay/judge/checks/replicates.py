"""Rule 11a: the hidden A/A variant differs from the baseline, so smaller effects of this study are unresolved."""

from __future__ import annotations

import math

from assay.core.records import Absent, Cell, Comparison, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.policy import CheckPolicy

NAME = "replicates"
RULE = "11a"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look whether the interval of the baseline against itself excludes equality."""
    if not subject.null_estimates:
        return Answer(not_checked=("no hidden A/A variant (the baseline against itself)",))
    findings: list[Finding] = []
    unseen: list[str] = []
    for null in subject.null_estimates:
        if isinstance(null.ratio, Absent):
            unseen.append(f"no interval of the A/A variant for {null.metric} on {null.workload}: {null.ratio.reason}")
        elif null.outcome in ("better", "worse"):
            findings.append(_finding(subject, policy, null, null.ratio.value, (null.ratio.low, null.ratio.high)))
    return Answer(tuple(findings), tuple(unseen))


def _finding(
    subject: Subject, policy: CheckPolicy, null: Comparison, ratio: float, interval: tuple[float, float]
) -> Finding:
    noise = policy.replicate_level * abs(math.log(ratio))
    smaller = [
        c
        for c in subject.comparisons
        if (c.metric, c.workload) == (null.metric, null.workload)
        and not isinstance(c.ratio, Absent)
        and abs(math.log(c.ratio.value)) <= noise
    ]
    names = [c.variant for c in smaller] or [null.baseline]
    cells: tuple[Cell, ...] = tuple(subject.cell(name, null.metric, null.workload) for name in names)
    unresolved = f"; unresolved: {', '.join(c.variant for c in smaller)}" if smaller else ""
    return Finding(
        check=NAME,
        severity="WARN",
        cells=cells,
        numbers={"ratio": ratio, "low": interval[0], "high": interval[1], "rounds": float(null.rounds)},
        summary=f"the baseline against itself came out {ratio:.4g} x [{interval[0]:.4g}, {interval[1]:.4g}] in "
        f"{null.metric} on {null.workload}: effects smaller than {math.expm1(noise):.2%} are unresolved{unresolved}",
        cause="cause unknown; by chance alone this happens in one study of twenty",
        remedy="Repeat the study on a quieter machine, or with more rounds, before believing effects of this size",
    )
