"""What a decision keeps of a result: the numbers of candidate and baseline, beside what was expected of them.

It refuses numbers that the result does not hold: they are Absent, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.core.decisions import Effect, Excerpt, Expectation, Experiment
from assay.core.errors import RunError
from assay.core.records import (
    Absent,
    Comparison,
    Estimate,
    Finding,
    Machine,
    Measured,
    Result,
    Round,
    Row,
    Target,
)
from assay.core.study import Study
from assay.judge.verdict import touching


def excerpt(experiment: Experiment, result: Result, rounds: Sequence[Round], target: Target) -> Excerpt:
    """The part of an experiment's result that its decision rests on; `target` is the candidate's.

    Raises:
        RunError: candidate or baseline is no row of the result.
    """
    candidate = _row(experiment, result, experiment.candidate)
    baseline = _row(experiment, result, experiment.study.baseline)
    both = (candidate.name, baseline.name)
    machine = result.environment.machine
    runs = [run for measured in rounds for run in measured.runs if run.variant in both]
    return Excerpt(
        study=result.study,
        study_name=result.name,
        model=result.model,
        measured_utc=result.created_utc,
        complete=result.complete,
        rounds=len(rounds),
        runs=tuple(run.id for run in runs),
        baseline=baseline.name,
        candidate=candidate.name,
        target=target,
        workloads=tuple(workload.name for workload in experiment.study.workloads),
        artifacts={
            row.name: row.artifact.digest for row in (baseline, candidate) if not isinstance(row.artifact, Absent)
        },
        effects=tuple(effect(result, expected, candidate, baseline) for expected in experiment.expect),
        figures=dict(candidate.metrics),
        baseline_figures=dict(baseline.metrics),
        comparisons=tuple(c for c in result.comparisons if (c.variant, c.baseline) == both),
        noise=result.null_estimates,
        findings=tuple(f for f in result.findings if any(cell.row in both for cell in f.cells)),
        verdict=next(v for v in result.verdicts if v.variant == candidate.name),
        gate=dict(result.gate),
        outcome=candidate.outcome,
        machine=machine.content_digest,
        machine_about=_about(machine),
        policy=_policy(experiment.study),
        toolchain={**result.environment.packages, "python": result.environment.python.rpartition(" ")[2]},
    )


def effect(result: Result, expected: Expectation, candidate: Row, baseline: Row) -> Effect:
    """What was measured of an expectation, with the checks that struck it out."""
    metric, workload = expected.metric, expected.workload
    rows = (candidate.name, baseline.name) if expected.kind == "ratio" else (candidate.name,)
    outcome = ""
    value: Measured | Estimate
    if expected.kind == "value":
        value = _figure(candidate, metric, workload)
    elif compared := _compared(result.comparisons, metric, workload, candidate.name, baseline.name):
        value, outcome = compared.ratio, compared.outcome
    else:
        value = _quotient(_figure(candidate, metric, workload), _figure(baseline, metric, workload))
    on = (workload,) if workload else ("", *dict.fromkeys(c.workload for c in result.comparisons))
    struck = {_words(finding): None for name in on for finding in touching(rows, metric, name, result.findings, "ERR")}
    if candidate.outcome.kind != "ok" and isinstance(value, Absent):
        value = Absent(reason=f"{candidate.outcome.kind.replace('_', ' ')}: {candidate.outcome.message}")
    return Effect(
        metric=metric,
        workload=workload,
        kind=expected.kind,
        value=value,
        outcome=outcome,
        struck=tuple(struck),
    )


def _words(finding: Finding) -> str:
    return f"{finding.check}: {finding.summary}"


def _row(experiment: Experiment, result: Result, variant: str) -> Row:
    names = (variant, f"{variant}/{experiment.variant(variant).runtimes[0]}")
    for row in result.rows:
        if row.name in names:
            return row
    raise RunError(
        f"The result of {experiment.name!r} was asked for",
        f"it has no row {variant!r}: {', '.join(row.name for row in result.rows)}",
        f"Run it again: assay experiment run {experiment.name}",
    )


def _compared(
    comparisons: Sequence[Comparison], metric: str, workload: str, candidate: str, baseline: str
) -> Comparison | None:
    alike = [
        c
        for c in comparisons
        if (c.metric, c.variant, c.baseline) == (metric, candidate, baseline) and workload in ("", c.workload)
    ]
    return alike[0] if len(alike) == 1 else None


def _figure(row: Row, metric: str, workload: str) -> Measured | Estimate:
    for key in (f"{metric}@{workload}", metric):
        if key in row.metrics:
            return row.metrics[key]
    return Absent(reason=f"{row.name} has no {metric}{f' on {workload}' if workload else ''}")


def _quotient(candidate: Measured | Estimate, baseline: Measured | Estimate) -> Measured:
    for side in (candidate, baseline):
        if isinstance(side, Absent):
            return side
    above, below = (side.value if isinstance(side, Estimate) else side for side in (candidate, baseline))
    if isinstance(above, Absent) or isinstance(below, Absent) or below == 0:
        return Absent(reason="the baseline's value is 0")
    return above / below


def _about(machine: Machine) -> str:
    cpu = machine.cpu_model if isinstance(machine.cpu_model, str) else machine.architecture
    more = f", {', '.join(machine.accelerators)}" if machine.accelerators else ""
    return f"{cpu}, {machine.usable_cpus} CPUs, {machine.memory_bytes / 2**30:.0f} GiB, {machine.system}{more}"


def _policy(study: Study) -> dict[str, float]:
    policy = study.measure
    return {
        "margin": policy.margin,
        "alpha": policy.alpha,
        "max_rounds": float(policy.max_rounds),
        "budget_s": policy.budget_s,
    }
