"""Rule 14: times that move with the clock: a machine that heats up, throttles or warms."""

from __future__ import annotations

from statistics import median

from assay.core.records import Absent, Finding, Run, Samples
from assay.judge.checks.base import (
    REPEATED_TIMES,
    Answer,
    Series,
    Subject,
    Symptom,
    by_workload,
    enough_rounds,
    numbers_of,
    of_rounds,
    told,
)
from assay.judge.checks.policy import CheckPolicy
from assay.judge.stats.change_point import change_point
from assay.judge.stats.paired import block_medians
from assay.judge.stats.rank import LEAST_VALUES, drift

NAME = "drift"
RULE = "14"
_SERIOUS = ("serious", "critical")


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Correlate block medians with their order in every round, and the rounds' medians with theirs."""
    symptoms: list[Symptom] = []
    unseen: list[str] = []
    for series, found in subject.samples(REPEATED_TIMES).items():
        within = [_values(samples) for _, samples in found if len(_values(samples)) >= LEAST_VALUES]
        if not within:
            unseen.append(f"no run of {series} with {LEAST_VALUES} blocks")
        centres = [median(samples.steady) for _, samples in found if samples.steady]
        symptom = _symptom(policy, series, within, centres)
        symptoms += [symptom] if symptom else []
    findings = [
        Finding(
            check=NAME,
            severity="WARN",
            cells=tuple(cell for symptom in group for cell in subject.timed_cells(symptom.series)),
            numbers=numbers_of(group),
            summary=f"{workload} drifts: {told(group)}",
            cause="cause unknown; heat, throttling, caches that fill and other tenants of the processor do this",
            remedy="Trust the ratio to the baseline, whose blocks were taken in turn, more than the times",
        )
        for workload, group in by_workload(symptoms).items()
    ]
    return Answer((*findings, *_thermal(subject)), tuple(unseen))


def _values(samples: Samples) -> list[float]:
    return list(block_medians(samples).values()) if samples.block else list(samples.steady)


def _symptom(policy: CheckPolicy, series: Series, within: list[list[float]], centres: list[float]) -> Symptom | None:
    said: list[str] = []
    numbers: dict[str, float] = {}
    drifting = [rho for values in within if (rho := _drifts(values, policy)) is not None]
    if enough_rounds(len(drifting), len(within), policy.rounds_share):
        numbers["rho"] = median(drifting)
        said.append(f"rank correlation {median(drifting):+.2f} in {len(drifting)} of {of_rounds(len(within))}")
    thirds = [_thirds(values) for values in within]
    if thirds and median(thirds) > policy.drift_thirds:
        numbers["last_over_first_third"] = median(thirds)
        said.append(f"last third of a round {median(thirds):.3g} x the first")
    between = _drifts(centres, policy)
    if between is not None:
        numbers["rho_of_rounds"] = between
        said.append(f"rank correlation of the {len(centres)} rounds' medians {between:+.2f}")
    if not said:
        return None
    said += _change(within, policy)
    return Symptom(series, ", ".join(said), numbers)


def _drifts(values: list[float], policy: CheckPolicy) -> float | None:
    found = drift(values)
    if isinstance(found, Absent) or abs(found.rho) <= policy.drift_rho or found.p_value >= policy.drift_p:
        return None
    return found.rho


def _thirds(values: list[float]) -> float:
    size = len(values) // 3
    return median(values[-size:]) / median(values[:size])


def _change(within: list[list[float]], policy: CheckPolicy) -> list[str]:
    """A change point of the last round, told beside a drift: a step and a slope have different causes."""
    found = change_point(within[-1]) if within else Absent(reason="no round is long enough")
    if isinstance(found, Absent) or found.p_value >= policy.drift_p:
        return []
    return [f"a step from {found.before:.4g} s to {found.after:.4g} s at block {found.index} of the last round"]


def _thermal(subject: Subject) -> list[Finding]:
    hot: dict[Series, Run] = {}
    for series, found in subject.samples(REPEATED_TIMES).items():
        for run, _ in found:
            if run.environment.after.thermal_state in _SERIOUS:
                hot[series] = run
    if not hot:
        return []
    state = next(iter(hot.values())).environment.after.thermal_state
    return [
        Finding(
            check=NAME,
            severity="WARN",
            cells=tuple(cell for series in hot for cell in subject.timed_cells(series)),
            numbers={"thermal_state": str(state)},
            summary=f"the machine's thermal state was {state} after a run",
            cause="the machine was hot, and lowers its clock then",
            remedy="Let it cool, and measure in shorter rounds with pauses",
        )
    ]
