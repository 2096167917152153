"""Rule 26: an accuracy that is the share of the largest class, or one minus what it should be."""

from __future__ import annotations

from statistics import median

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import DTYPE_FACTS, Entry, row_entries, varying
from assay.judge.checks.policy import CheckPolicy

NAME = "classifier"
RULE = "26"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Hold accuracies against the majority share, the expected accuracy, and the other precisions of the model."""
    scored = [entry for entry in row_entries(subject) if entry.value("accuracy") is not None]
    siblings = {
        id(entry): [e for e in group if e is not entry] for group in varying(scored, *DTYPE_FACTS) for entry in group
    }
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in scored:
        others = [value for other in siblings.get(id(entry), []) if (value := other.value("accuracy")) is not None]
        said, cause = _said(entry, others, policy)
        if said:
            findings.append(_finding(entry, said, cause))
        if entry.amount("majority_share") is None:
            unseen["no share of the largest class (majority_share)"] = None
    return Answer(tuple(findings), tuple(unseen))


def _said(entry: Entry, others: list[float], policy: CheckPolicy) -> tuple[str, str]:
    value = entry.value("accuracy") or 0.0
    if not 0 <= value <= 1:
        return f"accuracy {value:.4g} is no fraction of 1", "the unit of the column is another"
    share = entry.amount("majority_share")
    if share is not None and abs(value - share) < policy.majority_match:
        return f"accuracy {value:.4g} is the share of the largest class, {share:.4g}", "everything gets one answer"
    expected = entry.amount("expected_accuracy") or (median(others) if others else None)
    if expected is None or expected < policy.flipped_least or value >= 0.5:
        return "", ""
    if abs((1 - value) - expected) > policy.flipped_match:
        return "", ""
    of = "expected" if entry.amount("expected_accuracy") else "of the other precisions"
    return f"accuracy {value:.4g} is one minus the {expected:.4g} {of}", "cause unknown; exchanged labels give this"


def _finding(entry: Entry, said: str, cause: str) -> Finding:
    return Finding(
        check=NAME,
        severity="ERR",
        cells=(entry.cell("accuracy"),),
        numbers={"accuracy": entry.value("accuracy") or 0.0},
        summary=f"{entry.name}: {said}",
        cause=cause,
        remedy="Print ten inputs with their labels and answers, and a confusion matrix",
    )
