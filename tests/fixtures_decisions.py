"""An experiment, its run and decisions on it, made from the records of fixtures_result."""

from __future__ import annotations

from typing import Any

from assay.core.decisions import (
    DateTrigger,
    Decision,
    Expectation,
    Experiment,
    ExperimentRun,
    VersionTrigger,
)
from assay.core.records import Absent, Target, TransformSpec, Verdict, Workload
from assay.core.study import Gate, Study, StudyVariant
from assay.judge.excerpt import excerpt
from fixtures_result import make_result, make_rounds

BF16 = TransformSpec(kind="cast", options={"dtype": "bf16"})


def make_experiment(name: str = "int8", candidate: str = "int8", **changes: Any) -> Experiment:
    study = Study(
        name=name,
        model="smollm2-135m",
        baseline="bf16",
        reference="bf16",
        variants=(
            StudyVariant(name="bf16", transforms=(BF16,)),
            StudyVariant(name=candidate, transforms=(BF16, TransformSpec(kind="int8_weight_only"))),
        ),
        workloads=(
            Workload(kind="prefill", prompt_tokens=512, new_tokens=0),
            Workload(kind="decode", prompt_tokens=128, new_tokens=64),
        ),
        gate=Gate(min_speedup=1.05),
    )
    fields: dict[str, Any] = {
        "name": name,
        "hypothesis": "Int8 weights decode faster, since decode streams them",
        "stated": "2026-11-21",
        "candidate": candidate,
        "expect": (
            Expectation(metric="decode_tok_per_s", value=1.4, low=1.2, high=1.6, why="half of the bytes"),
            Expectation(metric="weight_bytes", value=0.5, low=0.45, high=0.6),
        ),
        "study": study,
    }
    return Experiment(**(fields | changes))


def make_run_of(experiment: Experiment, **changes: Any) -> ExperimentRun:
    evidence = excerpt(experiment, make_result(), make_rounds(2), Target(threads=0))
    return ExperimentRun(experiment=experiment, evidence=evidence.model_copy(update=changes))


def make_decision(status: str = "shipping", experiment: Experiment | None = None, **changes: Any) -> Decision:
    """A decision that breaks no rule of its status; it is not sealed."""
    experiment = experiment or make_experiment()
    run = make_run_of(experiment)
    empty = status in ("planned", "in_training")
    fields: dict[str, Any] = {
        "experiment": experiment.name,
        "status": status,
        "reason": "1.46 times as fast, and it predicts the same",
        "numbers": () if empty else run.evidence.effects,
        "decided_utc": "2026-11-23T10:00:00+00:00",
        "author": "someone",
        "hypothesis": experiment.hypothesis,
        "stated": experiment.stated,
        "expected": experiment.expect,
        "model": experiment.study.model,
        "variant": experiment.variant(experiment.candidate),
        "baseline": experiment.variant("bf16"),
        "target": Target(threads=0),
        "workloads": run.evidence.workloads,
        "evidence": Absent(reason=f"{status} carries no results") if empty else run.evidence,
        "triggers": (VersionTrigger(package="torch", at_least="99"), DateTrigger(on="2999-01-01")),
    }
    return Decision(**(fields | changes))


def failed_gate() -> Verdict:
    return Verdict(variant="int8", status="fail", reasons=("decode 1.01 x bf16, gate >= 1.05: failed",))
