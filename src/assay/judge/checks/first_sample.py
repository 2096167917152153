"""Rule 3: the first timed sample stands out, so compilation or a cold cache is inside the timed region."""

from __future__ import annotations

from statistics import median

from assay.core.records import Finding, Samples
from assay.judge.checks.base import REPEATED_TIMES, Answer, Series, Subject, enough_rounds, of_rounds
from assay.judge.checks.policy import CheckPolicy

NAME = "first_sample"
RULE = "3"
_LEAST = 4
"""Samples with which the rest has a median worth the name."""


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare the first sample after warm-up with the median of those that follow, in every round."""
    findings: list[Finding] = []
    unseen: list[str] = []
    for series, found in subject.samples(REPEATED_TIMES).items():
        seen = [_first_and_rest(samples) for _, samples in found if len(samples.steady) >= _LEAST]
        if not seen:
            unseen.append(f"no run of {series} with {_LEAST} timed samples")
            continue
        finding = _finding(subject, policy, series, [pair for pair in seen if pair[1] > 0])
        findings += [finding] if finding else []
    return Answer(tuple(findings), tuple(unseen))


def _first_and_rest(samples: Samples) -> tuple[float, float]:
    return samples.steady[0], median(samples.steady[1:])


def _finding(subject: Subject, policy: CheckPolicy, series: Series, seen: list[tuple[float, float]]) -> Finding | None:
    cold = [(first, rest) for first, rest in seen if first > policy.first_sample_ratio * rest]
    compiled = [
        (first, rest)
        for first, rest in cold
        if first > policy.first_sample_error_ratio * rest and first > policy.first_sample_error_s
    ]
    if not compiled and not enough_rounds(len(cold), len(seen), policy.rounds_share):
        return None
    first, rest = max(compiled or cold, key=lambda pair: pair[0] / pair[1])
    return Finding(
        check=NAME,
        severity="ERR" if compiled else "WARN",
        cells=subject.timed_cells(series),
        numbers={"first_s": first, "median_of_rest_s": rest, "ratio": first / rest, "rounds": float(len(cold))},
        summary=f"the first timed sample of {series} took {first:.4g} s, {first / rest:.3g} x the median of the rest "
        f"({rest:.4g} s), in {len(cold)} of {of_rounds(len(seen))}",
        cause="something done once, such as compilation, is inside the timed region"
        if compiled
        else "cause unknown; work done once (compilation, allocation, cold caches) is the usual one",
        remedy="Warm up longer: every shape that is timed must have run before the clock starts",
    )
