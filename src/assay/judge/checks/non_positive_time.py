"""Rule 5: a time that is not positive was never measured; one within its own error is not resolved."""

from __future__ import annotations

import math
from statistics import fmean, stdev

from assay.core.metrics import METRICS
from assay.core.records import Cell, Finding
from assay.judge.checks.base import REPEATED_TIMES, Answer, Subject
from assay.judge.checks.figures import Entry, entries, row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "non_positive_time"
RULE = "5"
_TIME_METRICS = frozenset(name for name, metric in METRICS.items() if metric.unit == "s" and name != "cpu_s")
"""CPU time is left out: its clock is coarse, and a short block may truly read 0."""


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look for samples and cells at or below zero, and for means within two standard errors of zero."""
    findings: list[Finding] = []
    for series, found in subject.samples(_TIME_METRICS).items():
        values = [value for _, samples in found for value in samples.values]
        wrong = [value for value in values if value <= 0]
        if wrong:
            findings.append(
                _impossible(
                    subject.timed_cells(series), f"{len(wrong)} of {len(values)} samples of {series}", min(wrong)
                )
            )
            continue
        steady = [value for _, samples in found for value in samples.steady]
        if series.metric in REPEATED_TIMES and len(steady) > 2:
            error = stdev(steady) / math.sqrt(len(steady))
            if fmean(steady) < policy.unresolved_errors * error:
                findings.append(
                    Finding(
                        check=NAME,
                        severity="WARN",
                        cells=subject.timed_cells(series),
                        numbers={"mean_s": fmean(steady), "standard_error_s": error},
                        summary=f"{series} took {fmean(steady):.3g} s, standard error {error:.3g} s: not resolved",
                        cause="cause unknown",
                        remedy="Take more samples, or time a longer piece of work",
                    )
                )
    sampled = {cell for finding in findings for cell in finding.cells}
    for entry in _entries(subject):
        for figure in entry.figures():
            name = figure.metric.partition("@")[0]
            cell = entry.cell(name)
            if name not in _TIME_METRICS or cell in sampled:
                continue
            sampled.add(cell)
            if figure.value <= 0:
                findings.append(_impossible((cell,), f"{name} of {entry.name}", figure.value))
            elif not subject.rows:
                findings += _unresolved(entry, name, policy)
    return Answer(tuple(findings))


def _entries(subject: Subject) -> list[Entry]:
    return [*row_entries(subject), *entries(subject)]


def _unresolved(entry: Entry, metric: str, policy: CheckPolicy) -> list[Finding]:
    value, error = entry.value(metric), entry.error(metric)
    if value is None or error is None or value >= policy.unresolved_errors * error:
        return []
    return [
        Finding(
            check=NAME,
            severity="WARN",
            cells=(entry.cell(metric),),
            numbers={"mean_s": value, "standard_error_s": error},
            summary=f"{metric} of {entry.name} is {value:.3g} s, standard error {error:.3g} s: not resolved",
            cause="cause unknown",
            remedy="Take more samples, or time a longer piece of work",
        )
    ]


def _impossible(cells: tuple[Cell, ...], what: str, value: float) -> Finding:
    return Finding(
        check=NAME,
        severity="ERR",
        cells=cells,
        numbers={"smallest_s": value},
        summary=f"{what} took {value:.3g} s: no work takes that",
        cause="a phase that was derived by subtraction, an empty timed region, or a clock that went back",
        remedy="Time the phase directly, between two readings of one monotonic clock",
    )
