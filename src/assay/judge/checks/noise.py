"""Rule 4: samples that scatter too widely, or are too short, to be told by one number."""

from __future__ import annotations

from statistics import fmean, median, quantiles, stdev

from assay.core.records import Finding, Samples
from assay.judge.checks.base import (
    REPEATED_TIMES,
    Answer,
    Series,
    Subject,
    Symptom,
    by_workload,
    enough_rounds,
    numbers_of,
    told,
)
from assay.judge.checks.policy import CheckPolicy

NAME = "noise"
RULE = "4"
_LEAST = 5


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look at the spread of the steady samples of every run; a symptom counts where half of the rounds show it."""
    symptoms: list[Symptom] = []
    unseen: list[str] = []
    for series, found in subject.samples(REPEATED_TIMES).items():
        seen = [samples for _, samples in found if len(samples.steady) >= _LEAST and fmean(samples.steady) > 0]
        if not seen:
            unseen.append(f"no run of {series} with {_LEAST} timed samples")
            continue
        symptom = _symptom(policy, series, seen)
        symptoms += [symptom] if symptom else []
    findings = tuple(
        Finding(
            check=NAME,
            severity="WARN",
            cells=tuple(cell for symptom in group for cell in subject.timed_cells(symptom.series)),
            numbers=numbers_of(group),
            summary=f"{workload} scatters within a round: {told(group)}",
            cause="cause unknown",
            remedy="Believe the interval over rounds rather than one run, close other programs, and take more rounds",
        )
        for workload, group in by_workload(symptoms).items()
    )
    return Answer(findings, tuple(unseen))


def _symptom(policy: CheckPolicy, series: Series, seen: list[Samples]) -> Symptom | None:
    figures = [_figures(samples.steady) for samples in seen]
    limits = (
        ("deviation", "deviation / mean", policy.noise_deviation),
        ("extreme", "farthest from the mean", policy.noise_extreme),
        ("iqr", "quartile range / median", policy.noise_iqr),
    )
    numbers: dict[str, float] = {}
    said: list[str] = []
    for name, words, limit in limits:
        if enough_rounds(sum(f[name] >= limit for f in figures), len(figures), policy.rounds_share):
            numbers[name] = median(f[name] for f in figures)
            gross = ", gross" if name == "iqr" and numbers[name] > policy.noise_iqr_gross else ""
            said.append(f"{words} {numbers[name]:.0%}{gross}")
    brief = sum(min(samples.steady) < policy.noise_raw_s for samples in seen)
    if enough_rounds(brief, len(seen), policy.rounds_share):
        numbers["shortest_s"] = min(min(samples.steady) for samples in seen)
        said.append(f"single calls as short as {numbers['shortest_s']:.2g} s")
    return Symptom(series, ", ".join(said), numbers) if said else None


def _figures(values: tuple[float, ...]) -> dict[str, float]:
    mean = fmean(values)
    first, middle, third = quantiles(values, n=4, method="inclusive")
    farthest = max(max(values) - mean, mean - min(values))
    return {"deviation": stdev(values) / mean, "extreme": farthest / mean, "iqr": (third - first) / middle}
