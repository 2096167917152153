"""Rule 18: a speed-up larger than what fewer bytes and faster arithmetic could give."""

from __future__ import annotations

from assay.core.records import Absent, Finding
from assay.judge.checks.base import TIMES, Answer, Subject
from assay.judge.checks.policy import CheckPolicy

NAME = "speedup_bound"
RULE = "18"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Hold rates against the ratio of the bytes that a decode step streams.

    The ratio of arithmetic peaks is not recorded, so what is bound by arithmetic (prefill) is checked only where the
    byte ratio alone allows the speed-up, and decode is held to the bytes.
    """
    findings: list[Finding] = []
    unseen: list[str] = []
    baseline = subject.baseline
    for c in subject.comparisons:
        row = subject.row(c.variant)
        if (
            c.metric not in TIMES
            or c.outcome != "better"
            or isinstance(c.ratio, Absent)
            or row is None
            or baseline is None
        ):
            continue
        if isinstance(row.artifact, Absent) or isinstance(baseline.artifact, Absent):
            unseen.append(f"no artifact of {c.variant} or of {c.baseline}")
            continue
        bytes_ratio = baseline.artifact.decode_weight_bytes / row.artifact.decode_weight_bytes
        bound = policy.speedup_over_bound * max(1.0, bytes_ratio)
        if c.ratio.low <= bound:
            continue
        if c.metric != "decode_tok_per_s" or row.artifact.contract.dtype != baseline.artifact.contract.dtype:
            unseen.append(
                f"no measured peak of {row.artifact.contract.dtype} against {baseline.artifact.contract.dtype}, so "
                f"{c.variant} at {c.ratio.value:.3g} x in {c.metric} on {c.workload} has no bound"
            )
            continue
        findings.append(
            Finding(
                check=NAME,
                severity="WARN",
                cells=(subject.cell(c.variant, c.metric, c.workload),),
                numbers={"ratio": c.ratio.value, "low": c.ratio.low, "bytes_ratio": bytes_ratio},
                summary=f"{c.variant} decodes {c.ratio.value:.3g} x as fast as {c.baseline} [{c.ratio.low:.3g}, "
                f"{c.ratio.high:.3g}], and reads {bytes_ratio:.3g} x fewer bytes in a step",
                cause="cause unknown: the bytes do not explain it, and both compute in one type",
                remedy="Look whether the baseline falls back to a slow kernel, or the variant skips work",
            )
        )
    return Answer(tuple(findings), tuple(unseen))
