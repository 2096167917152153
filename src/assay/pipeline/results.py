"""From the evidence of a study to its result: rows, comparisons, findings, verdicts. It measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from assay.core.records import (
    Absent,
    Comparison,
    Estimate,
    Measured,
    Outcome,
    Parity,
    Quality,
    Result,
    Row,
)
from assay.core.study import Gate, Study
from assay.judge.checks.base import Subject
from assay.judge.checks.policy import CheckPolicy, changed
from assay.judge.checks.runner import run_checks
from assay.judge.diagnosis import diagnose
from assay.judge.evidence import summarise
from assay.judge.verdict import verdict
from assay.pipeline.decisions import SPEED_METRICS, compare_cell
from assay.pipeline.plan import NULL_NAME, BuiltRow
from assay.pipeline.study_run import Evidence
from assay.pipeline.utilisation import TIMES, utilisation

_LOAD_METRICS = ("load_s", "first_call_s")


def judge(evidence: Evidence, policy: CheckPolicy | None = None) -> Result:
    """Judge a study as far as it has come, with the thresholds of a policy."""
    baseline = next((row.name for row in evidence.rows if row.plan.role == "baseline"), "")
    quality = {measured.variant: measured for measured in evidence.quality}
    rows = tuple(_row(evidence, row, quality.get(row.name)) for row in evidence.rows) + tuple(
        Row(
            name=unbuilt.plan.name,
            role=unbuilt.plan.role,
            artifact=Absent(reason=unbuilt.outcome.message),
            metrics={},
            outcome=unbuilt.outcome,
        )
        for unbuilt in evidence.unbuilt
    )
    comparisons = tuple(
        comparison
        for row in evidence.rows
        if row.name != baseline
        for comparison in _compare_with_baseline(evidence, row.name, baseline)
    )
    beside = tuple(
        comparison
        for row, own in _own_baselines(evidence.rows)
        for comparison in _compare_with_baseline(evidence, row, own)
    )
    null = tuple(_compare_with_baseline(evidence, NULL_NAME, baseline)) if _has_null(evidence) else ()
    subject = Subject(
        rows=rows,
        rounds=evidence.rounds,
        quality=evidence.quality,
        comparisons=comparisons,
        null_estimates=null,
        environment=evidence.environment,
        source=evidence.source,
        roofs=evidence.roofs,
    )
    findings, not_checked = run_checks(subject, policy)
    verdicts = tuple(verdict(row, comparisons, quality.get(row.name), evidence.study.gate, findings) for row in rows)
    return Result(
        study=evidence.digest,
        name=evidence.study.name,
        model=evidence.source,
        text=evidence.tokens.description,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        elapsed_s=evidence.elapsed_s,
        rows=rows,
        comparisons=comparisons + beside,
        quality=evidence.quality,
        verdicts=verdicts,
        findings=findings,
        not_checked=not_checked,
        thresholds=changed(policy or CheckPolicy()),
        diagnoses=diagnose(subject, findings),
        null_estimates=null,
        environment=evidence.environment,
        gate=_gate_bounds(evidence.study.gate),
        complete=evidence.complete,
    )


def _own_baselines(rows: Sequence[BuiltRow]) -> list[tuple[str, str]]:
    """Rows on other runtimes than the first, each with the baseline on its own runtime: told beside, not judged by."""
    baselines = {row.plan.runtime: row.name for row in reversed(rows) if row.plan.role == "baseline"}
    first = next((row.plan.runtime for row in rows if row.plan.role == "baseline"), "")
    return [
        (row.name, baselines[row.plan.runtime])
        for row in rows
        if row.plan.runtime != first and baselines.get(row.plan.runtime, row.name) != row.name
    ]


def _parity_note(quality: Quality | None) -> list[str]:
    """How a row's predictions compare with the first runtime's, in a sentence; nothing where that was not asked."""
    if quality is None or not isinstance(quality.parity, Parity):
        return []
    parity = quality.parity
    kl = "" if isinstance(parity.kl_nats, Absent) else f", KL {parity.kl_nats:.2g} nats, {parity.psnr_db:.0f} dB"
    if isinstance(parity.first_divergence, Absent):
        return [f"the same {parity.greedy_tokens} greedy tokens as {parity.against}{kl}"]
    margin = parity.margin_nats
    sure = margin.reason if isinstance(margin, Absent) else f"a margin of {margin:.2g} nats"
    noise = "" if isinstance(parity.noise_nats, Absent) else f" (noise {parity.noise_nats:.2g})"
    at = f"greedy token {parity.first_divergence + 1} of {parity.greedy_tokens}"
    return [f"{at} is not that of {parity.against}, at {sure}{noise}{kl}"]


def _has_null(evidence: Evidence) -> bool:
    return any(NULL_NAME in measured.order for measured in evidence.rounds)


def _compare_with_baseline(evidence: Evidence, variant: str, baseline: str) -> list[Comparison]:
    questions = [(SPEED_METRICS[w.kind], w.name) for w in evidence.workloads if w.kind in SPEED_METRICS]
    questions += [("load_s", w.name) for w in evidence.workloads if w.kind == "load"]
    return [
        compare_cell(evidence.study, evidence.rounds, metric, workload, variant, baseline)
        for metric, workload in questions
    ]


def _row(evidence: Evidence, row: BuiltRow, quality: Quality | None) -> Row:
    measured = _by_workload(evidence, row.name, summarise(evidence.rounds, row.name))
    metrics: dict[str, Measured | Estimate] = {
        **_sizes(evidence, row),
        **measured,
        **_energy(evidence, row.name, measured),
        **(quality.metrics if quality else _absent_quality(evidence.study, row.artifact.contract.head)),
        **utilisation(
            row.artifact,
            row.plan.variant.decoding,
            row.plan.runtime,
            evidence.workloads,
            measured,
            evidence.roofs,
            _dispatches(evidence, row.name),
        ),
    }
    notes = [
        *(note for change in row.artifact.changes for note in change.notes),
        *_parity_note(quality),
        *evidence.remarks,
    ]
    return Row(
        name=row.name,
        role=row.plan.role,
        artifact=row.artifact,
        metrics=metrics,
        outcome=_outcome(evidence, row.name, quality),
        notes=tuple(dict.fromkeys(notes)),
    )


def _sizes(evidence: Evidence, row: BuiltRow) -> dict[str, Measured]:
    """Sizes of the artifact, unless the engine runs weights of its own and left the artifact alone."""
    runs = [run for round_ in evidence.rounds for run in round_.runs if run.variant == row.name]
    if any(run.facts.get("runner_weights") == "own" for run in runs):
        unknown = Absent(reason="the engine runs weights of its own, and their size is not known")
        return dict.fromkeys(("weight_bytes", "bits_per_weight", "resident_weight_bytes"), unknown)
    return {
        "weight_bytes": float(row.artifact.weight_bytes),
        "bits_per_weight": row.artifact.bits_per_weight,
        "resident_weight_bytes": float(row.artifact.resident_weight_bytes),
    }


def _by_workload(
    evidence: Evidence, name: str, measured: Mapping[str, Measured | Estimate]
) -> dict[str, Measured | Estimate]:
    """Name the workload of a metric where the study has several of its kind, and say why a workload has no speed.

    A row in which the larger workload ran out of memory has one of them alone, and stands in the same columns.
    """
    found = dict(measured)
    for kind, rate in SPEED_METRICS.items():
        alike = [workload for workload in evidence.workloads if workload.kind == kind]
        for workload in alike:
            runs = [
                run
                for round_ in evidence.rounds
                for run in round_.runs
                if run.variant == name and run.workload.name == workload.name
            ]
            succeeded = any(run.outcome.kind == "ok" for run in runs)
            if runs and not succeeded and runs[0].outcome.kind in ("out_of_memory", "unsupported"):
                key = rate if len(alike) == 1 else f"{rate}@{workload.name}"
                why = runs[0].outcome
                found[key] = Absent(reason=f"{why.kind.replace('_', ' ')}: {why.message}")
            elif succeeded and len(alike) > 1:
                plain = {metric for metric in (rate, TIMES[kind]) if metric in found}
                found |= {f"{metric}@{workload.name}": found.pop(metric) for metric in plain}
    return found


def _energy(evidence: Evidence, name: str, measured: Mapping[str, Measured | Estimate]) -> dict[str, Absent]:
    """Why a row has no energy, once; nothing where it has."""
    runs = [run for round_ in evidence.rounds for run in round_.runs if run.variant == name]
    reasons = [str(run.facts["energy_absent"]) for run in runs if "energy_absent" in run.facts]
    if not reasons or any(key.partition("@")[0] == "energy_j" for key in measured):
        return {}
    return {"energy_j": Absent(reason=reasons[0])}


def _dispatches(evidence: Evidence, name: str) -> Measured:
    """Operations of one pass, as a runtime counted them."""
    runs = [run for measured in evidence.rounds for run in measured.runs if run.variant == name]
    counts = [run.facts["dispatches"] for run in runs if "dispatches" in run.facts]
    found = next((count for count in counts if isinstance(count, int)), None)
    return Absent(reason="the runtime does not count its operations") if found is None else float(found)


_QUALITY_OF = {
    "embedding": ("cosine_mean", "cosine_min"),
    "classification": ("label_agreement", "kl_nats"),
}
"""The chief figures of quality of models that do not write."""


def _absent_quality(study: Study, head: str) -> Mapping[str, Absent]:
    asked = study.quality.tokens > 0
    reason = Absent(reason="not measured yet" if asked else "the study asks for no quality (quality.tokens = 0)")
    return dict.fromkeys(_QUALITY_OF.get(head, ("perplexity", "kl_nats", "top1_agreement", "psnr_db")), reason)


def _outcome(evidence: Evidence, name: str, quality: Quality | None) -> Outcome:
    """The worst of a row's runs, as k of n attempts; a row that ran at least once is ok with its attempts."""
    runs = [run for measured in evidence.rounds for run in measured.runs if run.variant == name]
    outcomes = [run.outcome for run in runs if run.workload.kind == "load"]
    if runs and not outcomes:  # no workload of this row was worth a worker
        return runs[-1].outcome
    if quality is not None and quality.outcome.kind != "ok":
        outcomes.append(quality.outcome)
    failures = [outcome for outcome in outcomes if outcome.kind != "ok"]
    if not outcomes:
        return Outcome(kind="ok", message="not measured yet")
    worst = failures[-1] if failures else Outcome(kind="ok")
    return worst.model_copy(update={"attempts": len(outcomes), "successes": len(outcomes) - len(failures)})


def _gate_bounds(gate: Gate) -> Mapping[str, float]:
    return {name: float(bound) for name, bound in gate.model_dump().items() if bound is not None}
