"""One cell's comparison by the study's own policy: the same for deciding when to stop and for judging afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from assay.core.records import Comparison, Round
from assay.core.study import Study
from assay.judge.evidence import compare

SPEED_METRICS = {
    "prefill": "prefill_tok_per_s",
    "decode": "decode_tok_per_s",
    "generate": "end_to_end_s",
    "encode": "sequences_per_s",
    "train_step": "train_tok_per_s",
}
"""The metric that decides a workload."""

_GATED = {
    "decode_tok_per_s": "min_speedup",
    "prefill_tok_per_s": "min_prefill_speedup",
    "sequences_per_s": "min_encode_speedup",
}


def compare_cell(
    study: Study, rounds: Sequence[Round], metric: str, workload: str, variant: str, baseline: str
) -> Comparison:
    """Hold a variant against the baseline on one metric of one workload.

    Where a gate asks for the metric, the study's level is divided by the number of its decisions (Bonferroni).
    """
    policy = study.measure
    return compare(
        rounds,
        metric,
        workload,
        variant,
        baseline,
        margin=policy.margin,
        alpha=policy.alpha,
        min_rounds=policy.min_rounds,
        budget=policy.max_rounds,
        family=_gate_decisions(study) if _is_gated(study, metric) else 1,
    )


def _is_gated(study: Study, metric: str) -> bool:
    return metric in _GATED and getattr(study.gate, _GATED[metric]) is not None


def _gate_decisions(study: Study) -> int:
    """Decisions that the gate takes: one per candidate and gated workload."""
    judged = {study.baseline, study.reference}
    candidates = sum(len(variant.runtimes) for variant in study.variants if variant.name not in judged)
    gated = sum(_is_gated(study, SPEED_METRICS[w.kind]) for w in study.workloads if w.kind in SPEED_METRICS)
    return max(1, candidates * gated)
