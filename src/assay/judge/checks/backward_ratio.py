"""Rule 6: a backward pass that does not take about twice the forward."""

from __future__ import annotations

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import entries
from assay.judge.checks.policy import CheckPolicy

NAME = "backward_ratio"
RULE = "6"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Divide backward by forward: theory says 2, checkpointing 3, gradients of inputs alone 1."""
    findings: list[Finding] = []
    for entry in entries(subject):
        forward, backward = entry.value("forward_s"), entry.value("backward_s")
        if forward is None or backward is None or forward <= 0 or backward <= 0:
            continue
        ratio = backward / forward
        if policy.backward_least <= ratio <= policy.backward_most:
            continue
        findings.append(
            Finding(
                check=NAME,
                severity="WARN",
                cells=entry.cells("forward_s", "backward_s"),
                numbers={"forward_s": forward, "backward_s": backward, "ratio": ratio},
                summary=f"{entry.name}: backward / forward is {ratio:.3g}, outside of {policy.backward_least:g} to "
                f"{policy.backward_most:g} (two products for each of the forward's make 2)",
                cause=_cause(ratio),
                remedy="Time forward and backward apart, synchronised at both ends, after a warm-up of both",
            )
        )
    return Answer(tuple(findings))


def _cause(ratio: float) -> str:
    if 0.8 <= ratio < 1.3:
        return "cause unknown; only the gradients of inputs or of weights are computed, or a launch overhead hides both"
    if ratio < 0.8:
        return "cause unknown; the backward was not waited for, or a fixed overhead is inside the forward"
    if ratio <= 4.0:
        return "cause unknown; activations computed a second time (checkpointing) make 3"
    return "cause unknown; work that is done once (compilation, allocation) may be inside the backward"
