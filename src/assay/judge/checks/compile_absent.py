"""Rule 11: compiled and uncompiled take the same time in every phase: compilation did not engage."""

from __future__ import annotations

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, entries, standard_error, varying
from assay.judge.checks.policy import CheckPolicy

NAME = "compile_absent"
RULE = "11"
_METRICS = ("forward_s", "backward_s", "train_step_s", "prefill_s", "tpot_s", "call_s", "optimizer_step_s")


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare rows that differ in `compiled` alone, phase by phase; phases derived by subtraction do not count."""
    findings: list[Finding] = []
    for group in varying(entries(subject), "compiled"):
        eager = [entry for entry in group if entry.fact("compiled") is False]
        compiled = [entry for entry in group if entry.fact("compiled") is True]
        for ours in compiled:
            for theirs in eager[:1]:
                findings += _equal(ours, theirs, policy)
    return Answer(tuple(findings))


def _equal(ours: Entry, theirs: Entry, policy: CheckPolicy) -> list[Finding]:
    ratios: dict[str, float] = {}
    for metric in _METRICS:
        mine, other = ours.value(metric), theirs.value(metric)
        if mine is None or other is None or mine <= 0 or other <= 0:
            continue
        error = standard_error(ours.error(metric), theirs.error(metric))
        if abs(mine - other) > max(error, policy.compile_equal * other):
            return []
        ratios[metric] = mine / other
    if not ratios:
        return []
    return [
        Finding(
            check=NAME,
            severity="WARN",
            cells=tuple(cell for entry in (ours, theirs) for cell in entry.cells(*ratios)),
            numbers={f"{metric} ratio": ratio for metric, ratio in ratios.items()},
            summary=f"{ours.name} takes what {theirs.name} takes: "
            + ", ".join(f"{metric} x {ratio:.3g}" for metric, ratio in ratios.items()),
            cause="compilation did not engage, or fell back to eager execution; neither is recorded",
            remedy="Ask the compiler (graph breaks, TORCH_LOGS), or probe it here with `assay doctor --measure`",
        )
    ]
