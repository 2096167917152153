"""Rule 2: one cold call inside the mean: the deviation is what a single outlier of n makes."""

from __future__ import annotations

import math

from assay.core.records import Absent, Finding
from assay.judge.checks.base import REPEATED_TIMES, Answer, Subject
from assay.judge.checks.figures import Entry, entries, varying
from assay.judge.checks.policy import CheckPolicy

NAME = "cold_call"
RULE = "2"
_METRICS = tuple(sorted(REPEATED_TIMES | {"train_step_s", "ttft_s"}))


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare deviation and excess over a warm reference; without one, look for a deviation that cold calls make.

    A study's own samples are looked at one by one elsewhere, so this reads only what others printed.
    """
    if subject.rows:
        return Answer()
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    found = entries(subject)
    warm = _warm_rows(found)
    for entry in found:
        for metric in _METRICS:
            value, std, samples = entry.value(metric), entry.std(metric), entry.samples(metric)
            if value is None or std is None or value <= 0:
                continue
            if samples is None:
                unseen["no number of samples behind the means (--samples)"] = None
                continue
            reference = _reference(entry, metric, warm.get(id(entry)))
            finding = _finding(entry, metric, (value, std, samples), reference, policy)
            findings += [finding] if finding else []
    return Answer(tuple(findings), tuple(unseen))


def _warm_rows(found: list[Entry]) -> dict[int, Entry]:
    """For each row of a warm-up study the row with the most warm-up calls, all else equal."""
    best: dict[int, Entry] = {}
    for group in varying(found, "warmup"):
        warmest = max(group, key=_warmup)
        best |= {id(entry): warmest for entry in group if _warmup(entry) < _warmup(warmest)}
    return best


def _warmup(entry: Entry) -> float:
    return entry.amount("warmup") or 0.0


def _reference(entry: Entry, metric: str, warm: Entry | None) -> float | None:
    if warm is not None:
        return warm.value(metric)
    figure = entry.figure(metric)
    return None if figure is None or isinstance(figure.minimum, Absent) else figure.minimum


def _finding(
    entry: Entry, metric: str, seen: tuple[float, float, int], reference: float | None, policy: CheckPolicy
) -> Finding | None:
    value, std, samples = seen
    root, variation = math.sqrt(samples), std / value
    if samples < 2 or variation > root:
        return None
    if reference is not None and 0 < reference < value:
        ratio = std / (value - reference)
        if abs(ratio / root - 1) > policy.cold_call_match or variation < policy.noise_deviation:
            return None
        how = f"and {ratio:.3g} x its excess over the warm {reference:.4g} s, as one outlier of {samples} makes it"
        cause = "one of the timed calls was cold: compilation, allocation or caches are inside the mean"
    elif variation > policy.cold_call_variation:
        how = f"of {samples} calls"
        cause = (
            "cause unknown; one cold call inside the mean is the usual one, and without warm samples it cannot be told"
        )
    else:
        return None
    warm, first = value - std / root, value + (samples - 1) * std / root
    repair = f"; if it was one call, the others took {warm:.4g} s and it {first:.4g} s (repaired, not measured)"
    return Finding(
        check=NAME,
        severity="WARN",
        cells=(entry.cell(metric),),
        numbers={"mean_s": value, "std_s": std, "samples": float(samples)}
        | ({"repaired_s": warm, "repaired_first_s": first} if warm > 0 else {}),
        summary=f"{metric} of {entry.name}: the deviation is {variation:.0%} of the mean {how}"
        + (repair if warm > 0 else ""),
        cause=cause,
        remedy="Warm up with the shapes that are timed, and report the median and the raw samples",
    )
