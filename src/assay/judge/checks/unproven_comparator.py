"""Rule 38: an "equal" of a comparator that was never seen to find a difference."""

from __future__ import annotations

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "unproven_comparator"
RULE = "38"
_EQUAL = {"kl_nats": 0.0, "max_logit_difference": 0.0, "top1_agreement": 1.0}


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look for perfect equality, and for a planted fault that the same comparator had to find before."""
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in row_entries(subject):
        if entry.text("role") in ("reference", "null"):
            continue
        equal = [metric for metric, value in _EQUAL.items() if entry.value(metric) == value]
        if not equal:
            continue
        proved = entry.fact("planted_fault_found")
        if proved is None:
            unseen[f"no planted fault that the comparator of {entry.name} had to find (planted_fault_found)"] = None
        elif proved is False:
            findings.append(_finding(entry, equal))
    return Answer(tuple(findings), tuple(unseen))


def _finding(entry: Entry, equal: list[str]) -> Finding:
    return Finding(
        check=NAME,
        severity="ERR",
        cells=entry.cells(*equal),
        summary=f"{entry.name} is called equal to its reference ({', '.join(equal)}) by a comparator that missed "
        "a planted "
        "fault",
        cause="the comparator compares an output with itself, or not at all",
        remedy="Let it find a changed weight before it says equal",
    )
