"""Which workers fit into memory together. It refuses to call a prediction of memory more than a least one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.core.records import Absent, Measured, Workload

SHARE = 0.9
"""Of the available memory that the workers of a round may take together."""


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
    """Whether a workload takes at least as much memory as another one: as long a prompt, sequence and batch."""
    return (
        workload.prompt_tokens >= known.prompt_tokens
        and _length(workload) >= _length(known)
        and workload.batch >= known.batch
    )


def _length(workload: Workload) -> int:
    return workload.prompt_tokens + (workload.new_tokens if workload.kind != "prefill" else 0)
