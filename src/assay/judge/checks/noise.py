"""Rule 4: samples that scatter too widely, or are too short, to be told by one number."""

from __future__ import annotations

from statistics import fmean, median, quantiles, stdev

from assay.core.records import Finding, Samples
from assay.judge.checks.base import REPEATED_TIMES, Answer, Series, Subject, enough_rounds
from assay.judge.checks.policy import CheckPolicy

NAME = "noise"
RULE = "4"
_LEAST = 5


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look at the spread of the steady samples of every run; a symptom counts where half of the rounds show it."""
    findings: list[Finding] = []
    unseen: list[str] = []
    for series, found in subject.samples(REPEATED_TIMES).items():
        seen = [samples for _, samples in found if len(samples.steady) >= _LEAST and fmean(samples.steady) > 0]
        if not seen:
            unseen.append(f"no run of {series} with {_LEAST} timed samples")
            continue
        finding = _finding(subject, policy, series, seen)
        findings += [finding] if finding else []
    return Answer(tuple(findings), tuple(unseen))


def _finding(subject: Subject, policy: CheckPolicy, series: Series, seen: list[Samples]) -> Finding | None:
    figures = [_figures(samples.steady) for samples in seen]
    limits = {
        "deviation": policy.noise_deviation,
        "extreme": policy.noise_extreme,
        "iqr": policy.noise_iqr,
    }
    told = {
        "deviation": "standard deviation / mean",
        "extreme": "farthest sample from the mean / mean",
        "iqr": "interquartile range / median",
    }
    numbers: dict[str, float | str] = {}
    said: list[str] = []
    for name, limit in limits.items():
        if enough_rounds(sum(f[name] >= limit for f in figures), len(figures), policy.rounds_share):
            typical = median(f[name] for f in figures)
            numbers[name] = typical
            gross = " (gross)" if name == "iqr" and typical > policy.noise_iqr_gross else ""
            said.append(f"{told[name]} {typical:.2g}{gross}")
    shortest = min(min(samples.steady) for samples in seen)
    brief = sum(min(samples.steady) < policy.noise_raw_s for samples in seen)
    if enough_rounds(brief, len(seen), policy.rounds_share):
        numbers["shortest_s"] = shortest
        said.append(f"single calls as short as {shortest:.2g} s")
    if not said:
        return None
    return Finding(
        check=NAME,
        severity="WARN",
        cells=subject.timed_cells(series),
        numbers=numbers,
        summary=f"{series} scatters: " + ", ".join(said) + f" (median of {len(seen)} rounds)",
        cause="cause unknown",
        remedy="Believe the interval over rounds rather than one run, close other programs, and take more rounds",
    )


def _figures(values: tuple[float, ...]) -> dict[str, float]:
    mean = fmean(values)
    first, middle, third = quantiles(values, n=4, method="inclusive")
    farthest = max(max(values) - mean, mean - min(values))
    return {"deviation": stdev(values) / mean, "extreme": farthest / mean, "iqr": (third - first) / middle}
