"""Rule 14: times that move with the clock: a machine that heats up, throttles or warms."""

from __future__ import annotations

from statistics import median

from assay.core.records import Absent, Finding, Run, Samples
from assay.judge.checks.base import REPEATED_TIMES, Answer, Series, Subject, enough_rounds
from assay.judge.checks.policy import CheckPolicy
from assay.judge.stats.change_point import change_point
from assay.judge.stats.paired import block_medians
from assay.judge.stats.rank import LEAST_VALUES, drift

NAME = "drift"
RULE = "14"
_SERIOUS = ("serious", "critical")


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Correlate block medians with their order in every round, and the rounds' medians with theirs."""
    findings: list[Finding] = []
    unseen: list[str] = []
    for series, found in subject.samples(REPEATED_TIMES).items():
        within = [_values(samples) for _, samples in found if len(_values(samples)) >= LEAST_VALUES]
        if not within:
            unseen.append(f"no run of {series} with {LEAST_VALUES} blocks")
        centres = [median(samples.steady) for _, samples in found if samples.steady]
        finding = _finding(subject, policy, series, within, centres)
        findings += [finding] if finding else []
    hot = _thermal(subject)
    return Answer((*findings, *hot), tuple(unseen))


def _values(samples: Samples) -> list[float]:
    return list(block_medians(samples).values()) if samples.block else list(samples.steady)


def _finding(
    subject: Subject, policy: CheckPolicy, series: Series, within: list[list[float]], centres: list[float]
) -> Finding | None:
    said: list[str] = []
    numbers: dict[str, float | str] = {}
    drifting = [rho for values in within if (rho := _drifts(values, policy)) is not None]
    if enough_rounds(len(drifting), len(within), policy.rounds_share):
        numbers["rho"] = median(drifting)
        said.append(f"rank correlation with time {median(drifting):+.2f} in {len(drifting)} of {len(within)} rounds")
    thirds = [_thirds(values) for values in within]
    if thirds and median(thirds) > policy.drift_thirds:
        numbers["last_over_first_third"] = median(thirds)
        said.append(
            f"the last third of a round takes {median(thirds):.3g} x the first (median of {len(thirds)} rounds)"
        )
    between = _drifts(centres, policy)
    if between is not None:
        numbers["rho_of_rounds"] = between
        said.append(f"rank correlation of the {len(centres)} rounds' medians with time {between:+.2f}")
    if not said:
        return None
    said += _change(within, policy)
    return Finding(
        check=NAME,
        severity="WARN",
        cells=subject.timed_cells(series),
        numbers=numbers,
        summary=f"{series} drifts: " + "; ".join(said),
        cause="cause unknown; heat, throttling, caches that fill and other tenants of the processor do this",
        remedy="Trust the ratio to the baseline, whose blocks were taken in turn, more than the times; warm up longer",
    )


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
    return [f"in the last round it steps from {found.before:.4g} s to {found.after:.4g} s at block {found.index}"]


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
