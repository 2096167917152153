"""Rule 11b: measured minus predicted time is the same over sizes or precisions: a fixed overhead dominates."""

from __future__ import annotations

from statistics import fmean

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import DTYPE_FACTS, SHAPE_FACTS, Entry, entries, varying
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import Timed, bandwidth, peak, timed

NAME = "constant_residual"
RULE = "11b"
_AXES = (SHAPE_FACTS, DTYPE_FACTS, frozenset({"batch"}), frozenset({"prompt_tokens"}))
_LEAST = 3


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Subtract the roofline from the times of rows that differ in one thing, and see whether the rest differs."""
    findings: list[Finding] = []
    found = entries(subject)
    told: set[tuple[object, ...]] = set()
    for axis in _AXES:
        for group in varying(found, *axis):
            for metric, rows in _by_metric(group).items():
                finding = _finding(metric, rows, policy)
                if finding is not None and finding.cells not in told:
                    told.add(finding.cells)
                    findings.append(finding)
    return Answer(tuple(findings))


def _by_metric(group: list[Entry]) -> dict[str, list[tuple[Timed, float]]]:
    rows: dict[str, list[tuple[Timed, float]]] = {}
    for entry in group:
        for each in timed(entry):
            roof = _roof_s(each)
            if roof is not None:
                rows.setdefault(each.metric, []).append((each, roof))
    return rows


def _roof_s(each: Timed) -> float | None:
    ceiling, width = peak(each.entry), bandwidth(each.entry)
    flops, moved = each.flops, each.bytes_moved
    parts = []
    if ceiling is not None and flops is not None:
        parts.append(flops / ceiling.value)
    if width is not None and moved is not None:
        parts.append(moved / width.value)
    return max(parts) if parts else None


def _finding(metric: str, rows: list[tuple[Timed, float]], policy: CheckPolicy) -> Finding | None:
    if len(rows) < _LEAST:
        return None
    residuals = [each.seconds - roof for each, roof in rows]
    roofs = [roof for _, roof in rows]
    mean = fmean(residuals)
    if min(residuals) <= 0 or max(residuals) - min(residuals) > policy.residual_spread * mean:
        return None
    if max(roofs) < policy.residual_roofs * min(roofs) or mean < fmean(roofs):
        return None
    return Finding(
        check=NAME,
        severity="WARN",
        cells=tuple(each.cell for each, _ in rows),
        numbers={"residual_s": mean, "least_roof_s": min(roofs), "largest_roof_s": max(roofs)},
        summary=f"{metric} of {', '.join(each.entry.name for each, _ in rows)} is the roofline's {min(roofs):.3g} to "
        f"{max(roofs):.3g} s plus nearly the same {mean:.3g} s in every row",
        cause="a fixed overhead, the same whatever is computed, takes most of the time",
        remedy="Find it with a profile of one call (launches, copies, Python) before comparing anything",
    )
