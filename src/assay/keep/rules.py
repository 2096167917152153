"""The rules of the journal: what a decision must carry to be written down. They refuse a status without its number."""

from __future__ import annotations

from assay.core.decisions import NEEDS_RUNS, NEEDS_TRIGGER, WITHOUT_RESULTS, Decision, Effect
from assay.core.records import Absent


def broken_rules(decision: Decision) -> tuple[str, ...]:
    """What a decision lacks or carries wrongly, each with what to do; empty where it may be written down."""
    status, evidence = decision.status, decision.evidence
    carries = [effect for effect in decision.numbers if not isinstance(effect.value, Absent)]
    broken: list[str] = []
    if status in WITHOUT_RESULTS:
        if decision.numbers or not isinstance(evidence, Absent):
            broken.append(
                f"{status} carries results: an idea that was measured is prototype, measured, shelved or rejected"
            )
        return tuple(broken)
    if not carries:
        said = "; ".join(f"{effect.name}: {_why(effect)}" for effect in decision.numbers)
        broken.append(f"{status} has no numeric reason ({said or 'no number'}): run the experiment, or give --number")
    for effect in decision.numbers:
        broken.extend(
            f"{effect.name} failed a check, and no decision may rest on it: {check}" for check in effect.struck
        )
    if status in NEEDS_TRIGGER and not decision.triggers:
        broken.append(
            f"{status} has no revisit trigger: say with --trigger what would reopen it, "
            "such as 'torch>=2.14', 'device=cuda', 'date=2027-06-01' or 'decode_tok_per_s>=40'"
        )
    if status in NEEDS_RUNS and isinstance(evidence, Absent):
        broken.append(f"{status} points at no runs ({evidence.reason}): `assay experiment run {decision.experiment}`")
    if status == "shipping":
        broken.extend(_shipping(decision))
    return tuple(broken)


def _shipping(decision: Decision) -> list[str]:
    evidence = decision.evidence
    if isinstance(evidence, Absent):
        return []
    broken = []
    if not evidence.gate:
        broken.append("shipping needs a passed gate, and the study sets none: write [study.gate] and run again")
    elif evidence.verdict.status != "pass":
        reasons = "; ".join(evidence.verdict.reasons)
        broken.append(f"shipping needs a passed gate, and the gate says {evidence.verdict.status}: {reasons}")
    if decision.target != evidence.target:
        broken.append(
            f"shipping needs a gate passed on the target, {_target(decision)}; the runs are on another one: "
            "run the experiment there"
        )
    return broken


def _target(decision: Decision) -> str:
    target = decision.target
    return f"{target.runtime} on {target.device} with {target.threads or 'all'} threads"


def _why(effect: Effect) -> str:
    return effect.value.reason if isinstance(effect.value, Absent) else "given"
