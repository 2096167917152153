"""Which workers fit into memory together. It refuses to call a prediction of memory more than a least one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.core import cost
from assay.core.records import Absent, Measured, Outcome, Round, Workload
from assay.pipeline.plan import BuiltRow, cached_batch

SHARE = 0.9
"""Of the available memory that the workers of a round may take together."""

SKIPPED = "skipped: "
"""How the message of a workload begins that was not tried."""

Cells = dict[tuple[str, str], Outcome]
"""Outcomes by the names of a row and a workload."""


def together(baseline: str, others: Sequence[str], needs: Mapping[str, Measured], available: Measured) -> list[str]:
    """The baseline and as many of the others, first come first served, as fit; all of them where a size is unknown.

    The baseline alone means that not even two fit.

    Args:
        baseline: always in; empty where there is none, and then the first of the others is.
        others: in the order of preference.
        needs: bytes of each one's worker.
        available: bytes that are free before any is started.
    """
    everyone = [name for name in (baseline, *others) if name]
    if isinstance(available, Absent):
        return everyone
    taken: list[str] = []
    used = 0.0
    for name in everyone:
        need = needs.get(name, 0.0)
        size = 0.0 if isinstance(need, Absent) else need
        if not taken or used + size <= SHARE * available:
            taken.append(name)
            used += size
    return taken


def groups(
    baseline: str, others: Sequence[str], needs: Mapping[str, Measured], available: Measured
) -> tuple[tuple[str, ...], ...]:
    """The rounds' members: one group where all fit, else several, the baseline in each."""
    found: list[tuple[str, ...]] = []
    left = list(others)
    while left:
        group = together(baseline, left, needs, available)
        chosen = [name for name in group if name != baseline] or left[:1]
        found.append(tuple(name for name in (baseline, *chosen) if name))
        left = [name for name in left if name not in chosen]
    return tuple(found) or ((baseline,),)


def fits(names: Sequence[str], needs: Mapping[str, Measured], available: Measured) -> bool:
    """Whether the workers of these rows fit together, as far as sizes are known."""
    return list(names) == together("", names, needs, available) and (
        isinstance(available, Absent) or len(names) != 1 or not _exceeds(needs.get(names[0], 0.0), available)
    )


def _exceeds(need: Measured, available: float) -> bool:
    return not isinstance(need, Absent) and need > available


def at_least(workload: Workload, known: Workload) -> bool:
    """Whether a workload takes at least as much memory as another one: as long a prompt, sequence and batch.

    Training takes more than anything else of its size, so that it tells nothing of the rest.
    """
    return (
        (known.kind != "train_step" or workload.kind == "train_step")
        and workload.prompt_tokens >= known.prompt_tokens
        and workload.positions >= known.positions
        and workload.batch >= known.batch
    )


def skipped_after(name: str) -> Outcome:
    """What is said of a workload that takes no less memory than one that had too little."""
    return Outcome(kind="out_of_memory", message=f"{SKIPPED}{name} was already out of memory", successes=0)


def not_tried(
    rounds: Sequence[Round], rows: Sequence[BuiltRow], workloads: Sequence[Workload], capacity: int, available: Measured
) -> Cells:
    """What is left out of the next round: no smaller than what ran out of memory, or needing more than there is.

    Args:
        rounds: so far.
        rows: that take part.
        workloads: of the round.
        capacity: tokens of the KV cache.
        available: bytes that are free before any worker is started.
    """
    found: Cells = {}
    for row in rows:
        failed = [
            run.workload
            for measured in rounds
            for run in measured.runs
            if run.variant == row.name
            and run.workload.kind != "load"
            and run.outcome.kind == "out_of_memory"
            and not run.outcome.message.startswith(SKIPPED)
        ]
        for workload in workloads:
            cause = next((known for known in failed if at_least(workload, known)), None)
            need = cost.session_bytes(row.artifact, workload, capacity, workload.batch)
            if cause is not None:
                found[row.name, workload.name] = skipped_after(cause.name)
            elif not isinstance(available, Absent) and need > available:
                sizes = f"{need / 1e9:.3g} GB are needed at least, {available / 1e9:.3g} GB are available"
                found[row.name, workload.name] = Outcome(kind="out_of_memory", message=f"{SKIPPED}{sizes}", successes=0)
    return found


def needs_of(
    rounds: Sequence[Round], rows: Sequence[BuiltRow], workloads: Sequence[Workload], capacity: int
) -> dict[str, Measured]:
    """Bytes of each row's worker: the peak that was measured, or the least that is predicted before there is one."""
    batch = cached_batch(workloads)
    needs: dict[str, Measured] = {}
    for row in rows:
        memories = [run.memory for measured in rounds for run in measured.runs if run.variant == row.name]
        peaks = [size for memory in memories for size in (memory.load_peak_bytes, memory.peak_bytes)]
        seen = [size for size in peaks if not isinstance(size, Absent)]
        sizes = [cost.session_bytes(row.artifact, workload, capacity, batch) for workload in workloads]
        needs[row.name] = float(max(seen, default=max(sizes, default=row.artifact.resident_weight_bytes)))
    return needs


def taken(rounds: Sequence[Round], names: Sequence[str]) -> int:
    """Rounds that every one of these rows has had."""
    return min((sum(name in measured.order for measured in rounds) for name in names), default=len(rounds))


def members(
    rounds: Sequence[Round], rows: Sequence[BuiltRow], needs: Mapping[str, Measured], available: Measured
) -> tuple[BuiltRow, ...]:
    """The rows of the next round: all, or the baseline and as many as fit, those with the fewest rounds first.

    Where not even two fit they are two all the same, and have to be loaded in turn.
    """
    baseline = next((row.name for row in rows if row.plan.role == "baseline"), "")
    others = sorted((row.name for row in rows if row.name != baseline), key=lambda name: taken(rounds, [name]))
    names = together(baseline, others, needs, available)
    if names == [baseline]:
        names += others[:1]
    return tuple(row for row in rows if row.name in names)
