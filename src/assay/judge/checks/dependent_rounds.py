"""Rule 14: rounds whose ratios remember each other; an interval that takes them as independent is too narrow."""

from __future__ import annotations

import math

from assay.core.records import Absent, Comparison, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.policy import CheckPolicy
from assay.judge.evidence import log_ratios
from assay.judge.stats.rank import Correlation, drift, spearman

NAME = "dependent_rounds"
RULE = "14"
_LEAST_ROUNDS = 12


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Correlate the rounds' log ratios with those of the round before, and with time."""
    findings: list[Finding] = []
    short: dict[str, None] = {}
    for c in (*subject.comparisons, *subject.null_estimates):
        logs = log_ratios(subject.rounds, c.metric, c.workload, c.variant, c.baseline)
        if len(logs) < _LEAST_ROUNDS:
            short[f"no {_LEAST_ROUNDS} rounds of {c.workload}"] = None
            continue
        neighbours, with_time = spearman(logs[:-1], logs[1:]), drift(logs)
        said = [
            f"rank correlation {found.rho:+.2f} {words}"
            for found, words in ((neighbours, "with the round before"), (with_time, "with time"))
            if not isinstance(found, Absent) and _shows(found, policy, only_positive=words != "with time")
        ]
        if said:
            findings.append(_finding(subject, c, len(logs), neighbours, said))
    return Answer(tuple(findings), tuple(short))


def _shows(found: Correlation, policy: CheckPolicy, *, only_positive: bool) -> bool:
    strength = found.rho if only_positive else abs(found.rho)
    return strength > policy.drift_rho and found.p_value < policy.drift_p


def _finding(
    subject: Subject, c: Comparison, rounds: int, neighbours: Correlation | Absent, said: list[str]
) -> Finding:
    numbers: dict[str, float | str] = {"rounds": float(rounds)}
    widening = ""
    if not isinstance(neighbours, Absent) and 0 < neighbours.rho < 1:
        factor = math.sqrt((1 + neighbours.rho) / (1 - neighbours.rho))
        numbers |= {"lag_1": neighbours.rho, "width_factor": factor}
        widening = f"; the interval should be some {factor:.2g} x as wide"
    known = subject.row(c.variant) is not None
    return Finding(
        check=NAME,
        severity="WARN",
        cells=(subject.cell(c.variant if known else c.baseline, c.metric, c.workload),),
        numbers=numbers,
        summary=f"the {rounds} rounds of {c.variant} on {c.workload} are not independent: {'; '.join(said)}{widening}",
        cause="cause unknown; something outside the turns changed one variant more than the other, and lasted",
        remedy="Spread the rounds over more time, and believe an effect only if it is larger than the widened interval",
    )
