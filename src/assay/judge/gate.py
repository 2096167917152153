"""The gate for continuous integration: a number fails only where its interval lies wholly beyond the margin.

Speeds are ratios to the base variant of the same run, never times of another day. It refuses to fail on a number that a
check struck out, or on a run whose own A/A variant differed: those are inconclusive. docs/gates.md says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from assay.core.gate import GateBaseline, GateNumber, GateReport, GateTest
from assay.core.metrics import METRICS
from assay.core.records import Absent, Comparison, Contest, Estimate, Result, Row
from assay.core.study import Study
from assay.judge.verdict import touching

LEVEL = 0.01
"""Chance of any false alarm in one run of an unchanged tree: at most one in 100."""
_HARD = {"weight_bytes": 0.005, "resident_weight_bytes": 0.005, "peak_rss_bytes": 0.05}
"""Numbers without an interval, and how far each may rise: peak memory is true to a few per cent."""
_QUALITY = {"perplexity_ratio": 0.0, "kl_nats": 1e-4, "top1_agreement": 0.002}
"""Quality against the reference, and the difference below which it says nothing: a KL below 1e-4 is identical."""


def gated(study: Study) -> Study:
    """The study measured at the gate's level, divided by its decisions (Bonferroni), and over all of its rounds.

    A comparison may stop when it excludes 1; a gate asks for a loss, and needs the narrowest interval of the budget.
    """
    candidates = sum(len(v.runtimes) for v in study.variants if v.name != study.baseline)
    decisions = max(1, candidates * len(study.workloads))
    policy = study.measure.model_copy(update={"alpha": LEVEL / decisions, "null_variant": True, "stop_early": False})
    return study.model_copy(update={"measure": policy})


def baseline_of(result: Result) -> GateBaseline:
    """The numbers of a run, to hold later ones against: ratios of speeds, quality, sizes, peak memory."""
    base = next((row.name for row in result.rows if row.role == "baseline"), "")
    speeds = [
        GateNumber(row=c.variant, metric=c.metric, workload=c.workload, kind="ratio", value=c.ratio)
        for c in result.comparisons
        if isinstance(c.ratio, Estimate)
    ]
    values = [
        GateNumber(row=row.name, metric=metric, kind="value", value=value)
        for row in result.rows
        for metric in (*_HARD, *_QUALITY)
        if not isinstance(value := row.metrics.get(metric, Absent(reason="none")), Absent)
    ]
    environment = result.environment
    return GateBaseline(
        study=result.name,
        created_utc=result.created_utc,
        base=base,
        numbers=(*speeds, *values),
        machine=environment.machine.content_digest,
        toolchain=dict(environment.packages),
    )


def gate(result: Result, kept: GateBaseline | None, margin: float) -> GateReport:
    """Hold a run against a kept one, or its candidates against the base variant of the run itself.

    Args:
        result: of a study that was measured as `gated` says.
        kept: the numbers of a good run; None asks only that no candidate is slower than the base.
        margin: relative loss that is allowed; beyond it, wholly, a test fails.
    """
    tests = [_outcome(row) for row in result.rows if row.role != "null"]
    tests += [_verdict(row.name, result) for row in result.rows if row.role == "candidate" and result.gate]
    tests += [_speed(comparison, result, kept, margin) for comparison in result.comparisons]
    if kept is not None:
        bounds = [(metric, slack, 0.0) for metric, slack in _HARD.items()]
        bounds += [(metric, margin, least) for metric, least in _QUALITY.items()]
        tests += [
            _value(row, metric, result, kept, slack, least)
            for row in result.rows
            for metric, slack, least in bounds
            if metric in row.metrics and not _never_measured(row, metric, kept)
        ]
        tests += _gone(result, kept)
    return GateReport(
        study=result.name, level=LEVEL, margin=margin, tests=tuple(tests), elapsed_s=max(result.elapsed_s, 0.0)
    )


def gate_contest(contest: Contest, margin: float) -> GateReport:
    """Hold the second of two programs against the first: the tree against its base, in one run."""
    comparison = contest.comparison
    name = f"{comparison.metric} of {comparison.variant}"
    failures = [side for side in contest.sides if side.outcome.kind != "ok"]
    tests = [
        GateTest(name=f"run {side.name}", outcome="failed", said=f"{side.outcome.kind}: {side.outcome.message}")
        for side in failures
    ]
    if not failures:
        tests.append(_held(name, comparison, contest.null_comparison, None, margin))
    return GateReport(study=name, level=LEVEL, margin=margin, tests=tuple(tests), elapsed_s=contest.elapsed_s)


def speed_outcome(metric: str, now: Estimate, kept: float | Estimate, margin: float) -> str:
    """`failed` where the interval of the loss since `kept` lies wholly beyond the margin, `passed` where wholly within.

    Both are ratios to the base variant of their own run, and those runs are independent: half the width of the interval
    of the difference of their logarithms is the root of the sum of squares of both halves.
    """
    sign = 1 if METRICS[metric].better == "lower" else -1
    loss = sign * (math.log(now.value) - math.log(kept.value if isinstance(kept, Estimate) else kept))
    reach = math.hypot(_half_width(now), _half_width(kept) if isinstance(kept, Estimate) else 0.0)
    bound = math.log1p(margin)
    if loss - reach > bound:
        return "failed"
    return "passed" if loss + reach <= bound else "inconclusive"


def _half_width(ratio: Estimate) -> float:
    """Half of an interval on the logarithmic scale, on its wider side."""
    if ratio.low <= 0:
        return math.inf
    return max(math.log(ratio.high / ratio.value), math.log(ratio.value / ratio.low))


def _outcome(row: Row) -> GateTest:
    ran = row.outcome.kind == "ok"
    said = "ok" if ran else f"{row.outcome.kind.replace('_', ' ')}: {row.outcome.message}"
    return GateTest(name=f"{row.name} runs", outcome="passed" if ran else "failed", said=said)


def _verdict(name: str, result: Result) -> GateTest:
    """The study's own [gate], where it sets one."""
    found = next(verdict for verdict in result.verdicts if verdict.variant == name)
    said = "; ".join(found.reasons)
    outcome = {"pass": "passed", "fail": "failed", "failed_run": "failed"}.get(found.status, "inconclusive")
    return GateTest.model_validate({"name": f"{name} passes the study's gate", "outcome": outcome, "said": said})


def _speed(comparison: Comparison, result: Result, kept: GateBaseline | None, margin: float) -> GateTest:
    name = f"{comparison.metric} of {comparison.variant} on {comparison.workload}"
    rows = (comparison.variant, comparison.baseline)
    struck = touching(rows, comparison.metric, comparison.workload, result.findings, "ERR")
    if struck:
        said = "; ".join(f"{finding.check}: {finding.summary}" for finding in struck)
        return GateTest(name=name, outcome="inconclusive", said=f"invalid, and decides nothing: {said}")
    bound: float | Estimate | None = 1.0
    if kept is not None:
        bound = _kept(kept, comparison.variant, comparison.metric, comparison.workload)
        if bound is None:
            return GateTest(name=name, outcome="new", said="nothing is kept to hold it against")
    null = next(
        (c for c in result.null_estimates if (c.metric, c.workload) == (comparison.metric, comparison.workload)), None
    )
    return _held(name, comparison, null, bound, margin)


def _held(
    name: str, comparison: Comparison, null: Comparison | None, kept: float | Estimate | None, margin: float
) -> GateTest:
    ratio, bound = comparison.ratio, 1.0 if kept is None else kept
    if isinstance(ratio, Absent):
        return GateTest(name=name, outcome="inconclusive", said=ratio.reason)
    told = (
        f"{bound.value:.3f} [{bound.low:.3f}, {bound.high:.3f}] kept" if isinstance(bound, Estimate) else "1, the base"
    )
    said = f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] x {comparison.baseline}, against {told}"
    outcome = speed_outcome(comparison.metric, ratio, bound, margin)
    if outcome == "failed" and null is not None and isinstance(null.ratio, Estimate):
        noise = null.ratio
        if noise.low > 1 + margin or noise.high < 1 / (1 + margin):
            said += f"; but the base differed from itself in this run: [{noise.low:.3f}, {noise.high:.3f}]"
            outcome = "inconclusive"
    return GateTest.model_validate({"name": name, "outcome": outcome, "said": said})


def _kept(kept: GateBaseline, row: str, metric: str, workload: str) -> float | Estimate | None:
    return next(
        (n.value for n in kept.numbers if (n.row, n.metric, n.workload) == (row, metric, workload)),
        None,
    )


def _value(row: Row, metric: str, result: Result, kept: GateBaseline, margin: float, least: float) -> GateTest:
    """A number that no other day changes: quality, sizes, peak memory."""
    name = f"{metric} of {row.name}"
    now = row.metrics.get(metric, Absent(reason="not measured"))
    bound = _kept(kept, row.name, metric, "")
    if isinstance(now, Absent):
        return GateTest(name=name, outcome="inconclusive", said=now.reason)
    if bound is None:
        return GateTest(name=name, outcome="new", said="nothing is kept to hold it against")
    if struck := touching((row.name,), metric, "", result.findings, "ERR"):
        said = "; ".join(f"{finding.check}: {finding.summary}" for finding in struck)
        return GateTest(name=name, outcome="inconclusive", said=f"invalid, and decides nothing: {said}")
    low, high = (now.low, now.high) if isinstance(now, Estimate) else (now, now)
    old_low, old_high = (bound.low, bound.high) if isinstance(bound, Estimate) else (bound, bound)
    if METRICS[metric].better == "higher":
        failed, passed = high < old_low / (1 + margin) - least, low >= old_low / (1 + margin) - least
    else:
        failed, passed = low > old_high * (1 + margin) + least, high <= old_high * (1 + margin) + least
    outcome = "failed" if failed else "passed" if passed else "inconclusive"
    said = f"{_number(now)}, kept {_number(bound)}"
    return GateTest.model_validate({"name": name, "outcome": outcome, "said": said})


def _number(value: float | Estimate) -> str:
    if isinstance(value, Estimate):
        return f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"
    return f"{value:,.0f}" if value >= 1e4 else f"{value:.4g}"


def _never_measured(row: Row, metric: str, kept: GateBaseline) -> bool:
    """Neither then nor now, such as the reference's divergence from itself."""
    return isinstance(row.metrics[metric], Absent) and _kept(kept, row.name, metric, "") is None


def _gone(result: Result, kept: GateBaseline) -> Sequence[GateTest]:
    """Rows that were kept and are no longer in the study: said, or a variant that is removed would pass."""
    names = {row.name for row in result.rows}
    gone = dict.fromkeys(number.row for number in kept.numbers if number.row not in names)
    return [
        GateTest(name=f"{row} runs", outcome="failed", said="it is in the baseline, and no longer in the study")
        for row in gone
    ]
