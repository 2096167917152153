"""Rule 11a: the hidden A/A variant differs from the baseline, so smaller effects of this study are unresolved."""

from __future__ import annotations

import math

from assay.core.records import Absent, Cell, Comparison, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, entries, standard_error
from assay.judge.checks.policy import CheckPolicy

NAME = "replicates"
RULE = "11a"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look whether the interval of the baseline against itself excludes equality."""
    if not subject.rows:
        return Answer(tuple(_printed(subject, policy)))
    if not subject.null_estimates:
        return Answer(not_checked=("no hidden A/A variant (the baseline against itself)",))
    findings: list[Finding] = []
    unseen: list[str] = []
    for null in subject.null_estimates:
        if isinstance(null.ratio, Absent):
            unseen.append(f"no interval of the A/A variant for {null.metric} on {null.workload}: {null.ratio.reason}")
        elif null.outcome in ("better", "worse"):
            findings.append(_finding(subject, policy, null, null.ratio.value, (null.ratio.low, null.ratio.high)))
    return Answer(tuple(findings), tuple(unseen))


def _printed(subject: Subject, policy: CheckPolicy) -> list[Finding]:
    """The same configuration in several tables of other tools: same name, same facts, other figures."""
    groups: dict[object, list[Entry]] = {}
    for entry in entries(subject):
        names = {key.partition("@")[0] for key in (*entry.row.facts, *entry.table.facts)}
        facts = frozenset((name, entry.fact(name)) for name in names)
        groups.setdefault((entry.row.name.casefold().strip(), entry.workload, facts), []).append(entry)
    findings: list[Finding] = []
    for group in groups.values():
        metrics = dict.fromkeys(figure.metric.partition("@")[0] for entry in group for figure in entry.figures())
        for metric in metrics if len({entry.label for entry in group}) > 1 else ():
            findings += _disagree(metric, [entry for entry in group if (entry.value(metric) or 0.0) > 0], policy)
    return findings


def _disagree(metric: str, group: list[Entry], policy: CheckPolicy) -> list[Finding]:
    if len(group) < 2:
        return []
    low = min(group, key=lambda entry: entry.value(metric) or 0.0)
    high = max(group, key=lambda entry: entry.value(metric) or 0.0)
    least, most = low.value(metric) or 0.0, high.value(metric) or 0.0
    errors = low.error(metric), high.error(metric)
    allowed = policy.replicate_margin * least if None in errors else 2 * standard_error(*errors)
    if most - least <= max(allowed, policy.replicate_floor * least):
        return []
    return [
        Finding(
            check=NAME,
            severity="WARN",
            cells=tuple(entry.cell(metric) for entry in group),
            numbers={"least": least, "most": most, "ratio": most / least},
            summary=f"{low.row.name} is one configuration in {len(group)} tables, and its {metric} runs from "
            f"{least:.4g} to "
            f"{most:.4g}: effects smaller than {most / least - 1:.2%} are unresolved, whatever their own errors say",
            cause="cause unknown; something that no table records changed between the runs",
            remedy="Interleave what is compared in one run, and repeat it",
        )
    ]


def _finding(
    subject: Subject, policy: CheckPolicy, null: Comparison, ratio: float, interval: tuple[float, float]
) -> Finding:
    noise = policy.replicate_level * abs(math.log(ratio))
    smaller = [
        c
        for c in subject.comparisons
        if (c.metric, c.workload) == (null.metric, null.workload)
        and not isinstance(c.ratio, Absent)
        and abs(math.log(c.ratio.value)) <= noise
    ]
    names = [c.variant for c in smaller] or [null.baseline]
    cells: tuple[Cell, ...] = tuple(subject.cell(name, null.metric, null.workload) for name in names)
    unresolved = f"; unresolved: {', '.join(c.variant for c in smaller)}" if smaller else ""
    return Finding(
        check=NAME,
        severity="WARN",
        cells=cells,
        numbers={"ratio": ratio, "low": interval[0], "high": interval[1], "rounds": float(null.rounds)},
        summary=f"the baseline against itself came out {ratio:.4g} x [{interval[0]:.4g}, {interval[1]:.4g}] in "
        f"{null.metric} on {null.workload}: effects smaller than {math.expm1(noise):.2%} are unresolved{unresolved}",
        cause="cause unknown; by chance alone this happens in one study of twenty",
        remedy="Repeat the study on a quieter machine, or with more rounds, before believing effects of this size",
    )
