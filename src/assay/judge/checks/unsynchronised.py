"""Rule 12: time that does not grow with the calls or with the length of the prompt: the work was not waited for."""

from __future__ import annotations

import itertools

from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, entries, varying
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import Timed, peak, timed

NAME = "unsynchronised"
RULE = "12"
_AXES = ("prompt_tokens", "batch")


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare rows that differ in length, in batch or in the number of calls; twice the calls are twice the time."""
    findings: list[Finding] = []
    found = entries(subject)
    calls = False
    for group in varying(found, "calls"):
        rows = sorted((entry for entry in group if entry.amount("calls")), key=_calls)
        for fewer, more in itertools.pairwise(rows):
            calls = True
            findings += _calls_finding(fewer, more, policy)
    for axis in _AXES:
        for group in varying(found, axis):
            findings += _flat(axis, group, policy)
    timed_rows = any(timed(entry) or entry.figure("call_s") for entry in found)
    return Answer(
        tuple(findings), () if calls or subject.rows or not timed_rows else ("no time of k and of 2 k calls",)
    )


def _calls(entry: Entry) -> float:
    return entry.amount("calls") or 0.0


def _calls_finding(fewer: Entry, more: Entry, policy: CheckPolicy) -> list[Finding]:
    one, two = fewer.value("call_s"), more.value("call_s")
    if one is None or two is None or one <= 0:
        return []
    growth, asked = two / one, _calls(more) / _calls(fewer)
    if abs(growth / asked - 1) <= policy.calls_growth:
        return []
    return [
        Finding(
            check=NAME,
            severity="ERR",
            cells=(fewer.cell("call_s"), more.cell("call_s")),
            numbers={"calls_ratio": asked, "time_ratio": growth},
            summary=f"{asked:.3g} x the calls take {growth:.3g} x the time ({fewer.name}, {more.name})",
            cause="the work is not waited for, was eliminated as dead code, or its result is cached",
            remedy="Synchronise the device before each reading of the clock, use the output, and vary the input",
        )
    ]


def _flat(axis: str, group: list[Entry], policy: CheckPolicy) -> list[Finding]:
    by_metric: dict[str, list[tuple[float, Timed]]] = {}
    for entry in group:
        amount = entry.amount(axis)
        for each in timed(entry):
            if amount is not None and each.kind in ("prefill", "forward", "step"):
                by_metric.setdefault(each.metric, []).append((amount, each))
    findings = []
    for metric, rows in by_metric.items():
        rows.sort(key=lambda pair: pair[0])
        flat = [row for row in rows if row[0] >= policy.flat_work * rows[0][0] and _too_short(rows[0], row, policy)]
        if flat:
            findings.append(_finding(axis, metric, rows[0], flat))
    return findings


def _too_short(first: tuple[float, Timed], row: tuple[float, Timed], policy: CheckPolicy) -> bool:
    """Flat although the operations of the longer row alone need a good part of its time at the device's best."""
    ceiling, flops = peak(row[1].entry), row[1].flops
    if row[1].seconds > policy.flat_time * first[1].seconds:
        return False
    if ceiling is None or flops is None:
        return row[0] >= policy.flat_work_alone * first[0]
    return flops / ceiling.value > policy.flat_share * row[1].seconds


def _finding(axis: str, metric: str, first: tuple[float, Timed], flat: list[tuple[float, Timed]]) -> Finding:
    amount, last = flat[-1]
    return Finding(
        check=NAME,
        severity="ERR",
        cells=tuple(dict.fromkeys((first[1].cell, *(each.cell for _, each in flat)))),
        numbers={"work_ratio": amount / first[0], "time_ratio": last.seconds / first[1].seconds},
        summary=f"{last.entry.name} has {amount / first[0]:.3g} x the {axis.replace('_', ' ')} of "
        f"{first[1].entry.name} and takes {last.seconds / first[1].seconds:.3g} x its time ({metric})",
        cause="the work is not waited for, was eliminated as dead code, or its result is cached",
        remedy="Synchronise the device before each reading of the clock, use the output, and vary the input",
    )
