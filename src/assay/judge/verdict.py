"""The verdict: a row held against the gate, bound by bound, with numbers. It refuses to judge by struck-out cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from assay.core.records import Absent, Comparison, Estimate, Finding, Measured, Outcome, Quality, Row, Verdict
from assay.core.study import Gate

State = Literal["pass", "fail", "inconclusive"]

_DEPENDS_ON = {
    "decode_tok_per_s": ("decode_tok_per_s", "tpot_s"),
    "prefill_tok_per_s": ("prefill_tok_per_s", "prefill_s"),
    "perplexity_ratio": ("perplexity_ratio", "perplexity", "nll_nats"),
    "peak_rss_bytes": ("peak_rss_bytes",),
    "sequences_per_s": ("sequences_per_s", "encode_s"),
}
"""Cells whose findings touch a metric."""
_SPEED_BOUNDS = (
    ("min_speedup", "decode_tok_per_s", "decode"),
    ("min_prefill_speedup", "prefill_tok_per_s", "prefill"),
    ("min_encode_speedup", "sequences_per_s", "encode"),
)
_QUALITY_BOUNDS = (
    ("max_kl_nats", "kl_nats", "KL", " nats", -1),
    ("max_perplexity_ratio", "perplexity_ratio", "perplexity", " x reference", -1),
    ("min_top1_agreement", "top1_agreement", "top-1 agreement", "", 1),
    ("min_cosine", "cosine_mean", "cosine", "", 1),
    ("min_label_agreement", "label_agreement", "label agreement", "", 1),
)
_SIZE_BOUNDS = (
    ("max_weight_bytes", "weight_bytes", "weights on disk"),
    ("max_peak_bytes", "peak_rss_bytes", "peak memory"),
)


@dataclass(frozen=True)
class _Bound:
    """One bound of the gate after it was asked."""

    state: State
    reason: str


def verdict(
    row: Row,
    comparisons: Sequence[Comparison],
    quality: Quality | None,
    gate: Gate,
    findings: Sequence[Finding],
) -> Verdict:
    """Say whether a row passes the gate, and why, in words with numbers.

    Args:
        row: the row.
        comparisons: any; those of this row are used.
        quality: the row's quality record, or None where it was not measured.
        gate: bounds; one that is not set is not asked.
        findings: ERR on a cell that a bound needs makes that bound inconclusive, WARN is said beside it.

    A bound passes only where its whole interval lies within, and fails only where it lies wholly beyond. One failed
    bound fails the row; otherwise one that could not be decided leaves it inconclusive.
    """
    if row.role in ("reference", "baseline"):
        return _verdict(row, row.role, [_STANDS_AS[row.role]])
    if row.outcome.kind != "ok":
        return _verdict(row, "failed_run", [_failure(row.outcome)])
    bounds = [
        *_speed(row, comparisons, gate, findings),
        *_quality(row, quality, gate, findings),
        *_sizes(row, gate, findings),
    ]
    if not bounds:
        return _verdict(row, "no_gate", _without_gate(row, comparisons))
    reasons = [bound.reason for bound in bounds]
    states = {bound.state for bound in bounds}
    if "fail" in states:
        return _verdict(row, "fail", reasons)
    return _verdict(row, "inconclusive" if "inconclusive" in states else "pass", reasons)


_STANDS_AS: dict[str, str] = {
    "reference": "quality is measured against this row",
    "baseline": "speed is measured against this row",
}


def _verdict(
    row: Row,
    status: Literal["reference", "baseline", "pass", "fail", "inconclusive", "failed_run", "no_gate"],
    reasons: Sequence[str],
) -> Verdict:
    return Verdict(variant=row.name, status=status, reasons=tuple(reasons))


def _failure(outcome: Outcome) -> str:
    attempts = f" ({outcome.successes} of {outcome.attempts} attempts succeeded)" if outcome.attempts > 1 else ""
    return f"{outcome.kind.replace('_', ' ')}: {outcome.message or 'no message'}{attempts}"


def _without_gate(row: Row, comparisons: Sequence[Comparison]) -> list[str]:
    told = [
        f"{_title(c)}: {_ratio_text(c)}, {c.outcome.replace('_', ' ')}" for c in comparisons if c.variant == row.name
    ]
    return [*told, "the study sets no gate"]


def _title(comparison: Comparison) -> str:
    return f"{comparison.metric} on {comparison.workload}"


def _ratio_text(comparison: Comparison) -> str:
    if isinstance(comparison.ratio, Absent):
        return comparison.ratio.reason
    ratio = comparison.ratio
    return f"{ratio.value:.3g} x {comparison.baseline} [{ratio.low:.3g}, {ratio.high:.3g}]"


# ---------------------------------------------------------------------------------------------- one kind of bound each


def _speed(row: Row, comparisons: Sequence[Comparison], gate: Gate, findings: Sequence[Finding]) -> list[_Bound]:
    bounds: list[_Bound] = []
    for name, metric, title in _SPEED_BOUNDS:
        least = getattr(gate, name)
        if least is None:
            continue
        mine = [c for c in comparisons if c.variant == row.name and c.metric == metric]
        if not mine:
            bounds.append(_Bound("inconclusive", f"{title}: not measured, gate >= {least:g} x: undecided"))
        for comparison in mine:
            said = title if len(mine) == 1 else comparison.workload
            bounds.append(_speed_bound(comparison, metric, said, least, findings))
    return bounds


def _speed_bound(c: Comparison, metric: str, title: str, least: float, findings: Sequence[Finding]) -> _Bound:
    text = f"{title} {_ratio_text(c)}, gate >= {least:g}"
    rows = (c.variant, c.baseline)
    struck = _struck(rows, metric, c.workload, findings)
    if struck:
        return _Bound("inconclusive", f"{text}: {struck}")
    if isinstance(c.ratio, Absent):
        return _Bound("inconclusive", f"{text}: undecided")
    doubt = _doubt(rows, metric, c.workload, findings)
    if c.ratio.low >= least:
        return _Bound("pass", f"{text}: passed{doubt}")
    if c.ratio.high < least:
        return _Bound("fail", f"{text}: failed{doubt}")
    return _Bound("inconclusive", f"{text}: undecided, {c.rounds} rounds{_would_find(c)}{doubt}")


def _would_find(comparison: Comparison) -> str:
    if isinstance(comparison.smallest_effect, Absent):
        return ""
    return f" would find {100 * comparison.smallest_effect:.2g} %"


def _quality(row: Row, quality: Quality | None, gate: Gate, findings: Sequence[Finding]) -> list[_Bound]:
    bounds: list[_Bound] = []
    for name, metric, title, unit, direction in _QUALITY_BOUNDS:
        bound = getattr(gate, name)
        if bound is None:
            continue
        value: Measured | Estimate = Absent(reason="quality was not measured")
        if quality is not None:
            if quality.outcome.kind != "ok":
                value = Absent(reason=_failure(quality.outcome))
            else:
                value = quality.metrics.get(metric, Absent(reason=f"the quality record has no {metric}"))
        bounds.append(_bounded(row, metric, title, unit, value, bound, direction, findings))
    return bounds


def _sizes(row: Row, gate: Gate, findings: Sequence[Finding]) -> list[_Bound]:
    return [
        _bounded(
            row, metric, title, " bytes", row.metrics.get(metric, Absent(reason="not measured")), bound, -1, findings
        )
        for name, metric, title in _SIZE_BOUNDS
        if (bound := getattr(gate, name)) is not None
    ]


def _bounded(
    row: Row,
    metric: str,
    title: str,
    unit: str,
    value: Measured | Estimate,
    bound: float,
    direction: int,
    findings: Sequence[Finding],
) -> _Bound:
    """Hold one number against a bound; `direction` 1 asks for at least, -1 for at most."""
    asked = f"{'>=' if direction > 0 else '<='} {_number(bound)}"
    if isinstance(value, Absent):
        return _Bound("inconclusive", f"{title} not measured ({value.reason}), gate {asked}: undecided")
    low, high = (value.low, value.high) if isinstance(value, Estimate) else (value, value)
    centre = value.value if isinstance(value, Estimate) else value
    span = f" [{_number(low)}, {_number(high)}]" if isinstance(value, Estimate) else ""
    text = f"{title} {_number(centre)}{unit}{span} {asked}"
    struck = _struck((row.name,), metric, "", findings)
    if struck:
        return _Bound("inconclusive", f"{text}: {struck}")
    doubt = _doubt((row.name,), metric, "", findings)
    worst, best = (low, high) if direction > 0 else (high, low)
    if direction * (worst - bound) >= 0:
        return _Bound("pass", f"{text}: passed{doubt}")
    if direction * (best - bound) < 0:
        return _Bound("fail", f"{text}: failed{doubt}")
    return _Bound("inconclusive", f"{text}: undecided{doubt}")


def _number(value: float) -> str:
    return f"{int(value):,}" if abs(value) >= 1e4 and float(value).is_integer() else f"{value:.3g}"


# ---------------------------------------------------------------------------------------------- findings on a cell


def touching(
    rows: Sequence[str], metric: str, workload: str, findings: Sequence[Finding], severity: str
) -> list[Finding]:
    """Findings of one severity on the cells that a metric of these rows on a workload depends on."""
    metrics = _DEPENDS_ON.get(metric, (metric,))
    return [
        finding
        for finding in findings
        if finding.severity == severity
        and any(
            cell.row in rows
            and cell.metric.partition("@")[0] in metrics
            and cell.metric.partition("@")[2] in ("", workload)
            for cell in finding.cells
        )
    ]


def _struck(rows: Sequence[str], metric: str, workload: str, findings: Sequence[Finding]) -> str:
    errors = touching(rows, metric, workload, findings, "ERR")
    return "cannot enter a verdict, " + "; ".join(f"{f.check}: {f.summary}" for f in errors) if errors else ""


def _doubt(rows: Sequence[str], metric: str, workload: str, findings: Sequence[Finding]) -> str:
    """Names of the checks that suspect it; what each found stands once among the findings."""
    names = dict.fromkeys(f.check for f in touching(rows, metric, workload, findings, "WARN"))
    return f" (suspect: {', '.join(names)})" if names else ""
