"""Rule 18: a speed-up larger than what fewer bytes and faster arithmetic could give."""

from __future__ import annotations

from assay.core.records import Absent, Finding
from assay.judge.checks.base import TIMES, Answer, Subject
from assay.judge.checks.figures import DTYPE_FACTS, entries, varying
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import Timed, missing_for_peak, peak, timed, weight_bytes

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
    printed = _printed(subject, policy)
    return Answer((*findings, *printed.findings), (*unseen, *printed.not_checked))


def _printed(subject: Subject, policy: CheckPolicy) -> Answer:
    """The same of what another tool printed: rows that differ in their type alone, against the one with most bits."""
    if subject.rows:
        return Answer()
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for group in varying(entries(subject), *DTYPE_FACTS):
        rows = [each for entry in group if entry.weight_bits for each in timed(entry)]
        for ours in rows:
            theirs = [r for r in rows if r.metric == ours.metric]
            base = max(theirs, key=lambda r: r.entry.weight_bits or 0.0)
            if (base.entry.weight_bits or 0.0) <= (ours.entry.weight_bits or 0.0):
                continue
            bound = _bound(base, ours)
            speedup = base.seconds / ours.seconds
            if bound is None:
                unseen[f"no peaks of {base.entry.dtype} and {ours.entry.dtype} ({missing_for_peak(ours.entry)})"] = None
            elif speedup > policy.speedup_over_bound * bound:
                findings.append(_too_fast(ours, base, speedup, bound))
    return Answer(tuple(findings), tuple(unseen))


def _bound(base: Timed, ours: Timed) -> float | None:
    """The larger of the ratios of bytes and of peaks; bytes alone bound a decode step of one sequence."""
    sizes = weight_bytes(base.entry), weight_bytes(ours.entry)
    bits = (base.entry.weight_bits or 0.0) / (ours.entry.weight_bits or 1.0)
    of_bytes = sizes[0] / sizes[1] if sizes[0] and sizes[1] else bits
    peaks = peak(base.entry), peak(ours.entry)
    if peaks[0] is not None and peaks[1] is not None:
        return max(of_bytes, peaks[1].value / peaks[0].value)
    return of_bytes if ours.kind == "decode" and ours.entry.amount("batch") in (None, 1.0) else None


def _too_fast(ours: Timed, base: Timed, speedup: float, bound: float) -> Finding:
    return Finding(
        check=NAME,
        severity="WARN",
        cells=(ours.cell, base.cell),
        numbers={"speedup": speedup, "bound": bound},
        summary=f"{ours.entry.name} is {speedup:.3g} x as fast as {base.entry.name} ({ours.metric}); bytes and "
        "peaks allow "
        f"{bound:.3g} x",
        cause="cause unknown; a slow or cold baseline, or a variant that skips work",
        remedy="Look whether the baseline falls back to a slow kernel, and measure both in turns",
    )
