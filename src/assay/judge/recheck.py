"""Holds an old decision against a new measurement. It refuses to call a number changed while its intervals overlap."""

from __future__ import annotations

from assay.core.decisions import Decision, Effect, Excerpt, Recheck
from assay.core.records import Absent, Estimate

_EXACT = 0.02
"""Relative difference beyond which numbers without an interval, such as sizes, count as changed."""


def recheck(decision: Decision, now: Excerpt) -> Recheck:
    """Whether what a decision rests on was found again.

    It holds where the gate says the same and no number moved; it does not where the gate turned from pass to fail or
    back, or a number moved out of both intervals; otherwise it is undecided.

    Raises:
        ValueError: the decision rests on no measurement.
    """
    then = decision.evidence
    if isinstance(then, Absent):
        raise ValueError(f"{decision.id} rests on no measurement")
    pairs = [(old, new) for old in then.effects for new in now.effects if old.name == new.name]
    moved = [f"{old.name} moved out of both intervals" for old, new in pairs if _moved(old, new)]
    open_ = [f"{new.name}: {_why_open(new)}" for _, new in pairs if _why_open(new)]
    before, after = then.verdict.status, now.verdict.status
    turned = {before, after} == {"pass", "fail"} or ("failed_run" in {before, after} and before != after)
    if turned:
        moved.append(f"the gate said {before} and says {after}: {'; '.join(now.verdict.reasons)}")
    elif before != after:
        open_.append(f"the gate said {before} and says {after}: {'; '.join(now.verdict.reasons)}")
    missing = [old.name for old in then.effects if old.name not in {new.name for new in now.effects}]
    open_ += [f"{name} is no longer expected by experiment.toml" for name in missing]
    holds: bool | Absent = False if moved else Absent(reason="; ".join(open_)) if open_ or not pairs else True
    if isinstance(holds, Absent) and not open_:
        holds = Absent(reason="no number was measured both times")
    return Recheck(
        experiment=decision.experiment,
        status=decision.status,
        decided_utc=decision.decided_utc,
        holds=holds,
        reasons=tuple(moved + open_),
        then=tuple(old for old, _ in pairs),
        now=tuple(new for _, new in pairs),
        gate_then=before,
        gate_now=after,
    )


def _moved(old: Effect, new: Effect) -> bool:
    if isinstance(old.value, Absent) or isinstance(new.value, Absent):
        return False
    if not isinstance(old.value, Estimate) or not isinstance(new.value, Estimate):
        first, second = (v.value if isinstance(v, Estimate) else v for v in (old.value, new.value))
        return abs(second - first) > _EXACT * abs(first)
    return new.value.low > old.value.high or new.value.high < old.value.low


def _why_open(new: Effect) -> str:
    """Why a new number cannot speak; empty where it can."""
    return new.value.reason if isinstance(new.value, Absent) else "; ".join(new.struck)
