"""Rule 28: a perfect agreement on random weights: the comparison is vacuous."""

from __future__ import annotations

from assay.core.records import Cell, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "saturated"
RULE = "28"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look for top-1 agreement of 1 and a KL divergence of 0 where the model was never trained."""
    findings = []
    random = subject.source is not None and subject.source.kind == "random"
    for entry in row_entries(subject):
        if entry.text("role") in ("reference", "null") or not (random or entry.fact("random_weights") is True):
            continue
        agreement, divergence = entry.value("top1_agreement"), entry.value("kl_nats")
        if agreement == 1 and divergence is not None and abs(divergence) <= policy.saturated_kl:
            cells: tuple[Cell, ...] = entry.cells("top1_agreement", "kl_nats")
            findings.append(
                Finding(
                    check=NAME,
                    severity="ERR",
                    cells=cells,
                    numbers={"top1_agreement": agreement, "kl_nats": divergence},
                    summary=f"{entry.name} agrees with its reference everywhere, on random weights",
                    cause="a random model prefers one token by so much that no error shows: the agreement says nothing",
                    remedy="Compare logits in float64, or use trained weights",
                )
            )
    return Answer(tuple(findings))
