"""Rules 5 and 7: phases that were derived by subtraction, and phases that do not add up to the whole."""

from __future__ import annotations

import math

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, entries, standard_error
from assay.judge.checks.policy import CheckPolicy

NAME = "phase_sum"
RULE = "7"
_PARTS = ("forward_s", "backward_s")
_WHOLE = "train_step_s"
_OPTIMIZER = "optimizer_step_s"
"""Inside the whole where it is timed beside the others."""


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Add forward and backward up; where one of them is the difference of the others, the sum proves nothing."""
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in entries(subject):
        values = [entry.value(metric) for metric in (*_PARTS, _WHOLE)]
        forward, backward, whole = values
        derived = derived_phase(entry, policy)
        if derived:
            findings.append(_derived(entry, derived))
        if forward is None or backward is None or whole is None:
            if forward is not None and backward is not None:
                unseen["no time of the whole step beside forward and backward"] = None
        elif not derived and whole > 0:
            findings += _sum(entry, forward + backward, whole, policy)
    return Answer(tuple(findings), tuple(unseen))


def derived_phase(entry: Entry, policy: CheckPolicy) -> str:
    """The phase that was computed by subtraction: its deviation is the hypotenuse of the others'; empty for none."""
    stds = {metric: entry.std(metric) for metric in (*_PARTS, _WHOLE)}
    if any(std is None or std <= 0 for std in stds.values()):
        return ""
    known = {metric: std for metric, std in stds.items() if std is not None}
    for metric, std in known.items():
        others = [value for name, value in known.items() if name != metric]
        if metric != _WHOLE and abs(std / math.hypot(*others) - 1) < policy.derived_match:
            return metric
    return ""


def _derived(entry: Entry, phase: str) -> Finding:
    return Finding(
        check=NAME,
        severity="INFO",
        cells=(entry.cell(phase),),
        numbers={"std_s": entry.std(phase) or 0.0},
        summary=f"{phase} of {entry.name} was not timed: its deviation is that of a difference of two others",
        cause="it was derived by subtraction of means, so its sum with the others is right whatever was timed",
        remedy="Time the phase directly, with the device synchronised at both ends",
    )


def _sum(entry: Entry, both: float, whole: float, policy: CheckPolicy) -> list[Finding]:
    parts = (*_PARTS, *((_OPTIMIZER,) if entry.figure(_OPTIMIZER) is not None else ()))
    error = standard_error(*(entry.error(metric) for metric in (*parts, _WHOLE)))
    step = entry.value(_OPTIMIZER) or 0.0
    gap = both + step - whole
    if abs(gap) <= max(policy.phase_sum * whole, 2 * error):
        return []
    return [
        Finding(
            check=NAME,
            severity="ERR",
            cells=entry.cells(*parts, _WHOLE),
            numbers={"parts_s": both + step, "whole_s": whole, "gap_s": gap, "error_s": error},
            summary=f"{entry.name}: {' + '.join(f'{name} {entry.value(name):.4g} s' for name in parts)} is "
            f"{gap / whole:+.1%} off the whole of {whole:.4g} s",
            cause="a phase is not synchronised, was timed with other sizes, or the whole holds more than the two"
            if gap < 0
            else "a phase is timed twice, or the whole was timed without a synchronisation",
            remedy="Synchronise at both ends of each phase, and time all three in the same calls",
        )
    ]
