"""Rule 1: a standard deviation larger than that of any non-negative samples with this mean."""

from __future__ import annotations

import math

from assay.core.metrics import METRICS
from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import entries
from assay.judge.checks.policy import CheckPolicy

NAME = "impossible_spread"
RULE = "1"
_NON_NEGATIVE = frozenset({"s", "tok/s", "1/s", "J", "W", "B", "FLOP/s"})


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Hold deviation / mean against the largest that n samples can have: all of the sum in one of them.

    A study shows medians, which that bound does not hold for; its samples are looked at one by one elsewhere.
    """
    if subject.rows:
        return Answer()
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in entries(subject):
        for figure in entry.figures():
            metric = figure.metric.partition("@")[0]
            std = entry.std(metric)
            if std is None or figure.value <= 0 or METRICS.get(metric) is None:
                continue
            if METRICS[metric].unit not in _NON_NEGATIVE:
                continue
            samples = entry.samples(metric)
            if samples is None:
                unseen["no number of samples behind the means (--samples)"] = None
                continue
            population = entry.fact("ddof") == 0
            limit = math.sqrt(max(samples - 1, 0)) if population else math.sqrt(samples)
            variation = std / figure.value
            if variation <= limit * policy.impossible_spread:
                continue
            findings.append(
                Finding(
                    check=NAME,
                    severity="ERR",
                    cells=(entry.cell(metric),),
                    numbers={"mean": figure.value, "std": std, "samples": float(samples), "largest": limit},
                    summary=f"{metric} of {entry.name}: the deviation is {variation:.3g} x the mean; {samples} values "
                    f"that are not negative reach {limit:.3g} x at most",
                    cause="mean and deviation are not of the same values, or not in the same unit",
                    remedy="Print the raw samples, and compute both from them",
                )
            )
    return Answer(tuple(findings), tuple(unseen))
