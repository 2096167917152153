"""Rules 16 and 20: more operations per second than the device can do in that type."""

from __future__ import annotations

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import entries
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import Ceiling, Timed, any_peak, missing_for_flops, missing_for_peak, peak, timed

NAME = "above_peak"
RULE = "16"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Divide the operations of each call by its time, and hold that against the peak of its type and device."""
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in entries(subject):
        ceiling = peak(entry) or any_peak(entry)
        for each in timed(entry):
            flops = each.flops
            if flops is None:
                unseen[f"no {missing_for_flops(entry)}"] = None
            elif ceiling is None:
                unseen[f"no {missing_for_peak(entry)}"] = None
            else:
                findings += _finding(each, flops, ceiling, policy)
    return Answer(tuple(findings), tuple(unseen))


def _finding(each: Timed, flops: float, ceiling: Ceiling, policy: CheckPolicy) -> list[Finding]:
    share = flops / each.seconds / ceiling.value
    surely = flops / each.longest_s / ceiling.value
    if share <= policy.near_peak:
        return []
    invalid = surely > policy.above_peak and "recalled" not in ceiling.source
    dtype = f"{each.entry.dtype} " if each.entry.dtype else ""
    return [
        Finding(
            check=NAME,
            severity="ERR" if invalid else "WARN",
            cells=(each.cell,),
            numbers={"flops": flops, "seconds": each.seconds, "peak_flops_per_s": ceiling.value, "share": share},
            summary=f"{each.entry.name}: {flops / 1e9:.4g} GFLOP in {each.seconds:.4g} s is {share:.3g} x the "
            f"{dtype}peak "
            f"of {ceiling.value / 1e12:.4g} TFLOP/s ({ceiling.source}; {each.metric})",
            cause=_cause(each, share),
            remedy="Print the effective type of one product (`assay doctor --measure` probes it), check the shape "
            "and the "
            "batch, and synchronise before the clock is read",
        )
    ]


def _cause(each: Timed, share: float) -> str:
    entry = each.entry
    if entry.dtype != "float32":
        return "cause unknown; fewer operations were done than the shape says, or the clock was read before they ended"
    tensor = peak(entry, "tf32") or peak(entry, "bfloat16")
    own = peak(entry)
    if tensor is not None and own is not None and share * own.value <= tensor.value:
        return (
            "cause unknown; TF32 or bf16 products behind the name fp32 would explain it: the device does "
            f"{tensor.value / 1e12:.4g} TFLOP/s with them"
        )
    return "cause unknown; even the device's faster types do not explain it"
