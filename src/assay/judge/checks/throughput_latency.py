"""Rule 8: throughput times latency is the work done, and the phases add up to the whole; otherwise one is wrong."""

from __future__ import annotations

from assay.core.metrics import METRICS
from assay.core.records import Absent, Cell, Estimate, Finding, Measured, Row, Workload
from assay.judge.checks.base import RATES, Answer, Subject
from assay.judge.checks.policy import CheckPolicy

NAME = "throughput_latency"
RULE = "8"
_TIMED_BY = {"prefill_s": "prefill", "tpot_s": "decode"}


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Multiply each rate with its time, and add prefill and decode up to generate where all three were measured."""
    findings: list[Finding] = []
    unseen: list[str] = []
    workloads = _workloads(subject)
    for row in subject.rows:
        for workload in workloads:
            findings += _product(subject, policy, row, workload)
            if workload.kind == "generate":
                found = _sum(subject, policy, row, workload, workloads)
                findings += [found] if isinstance(found, Finding) else []
                unseen += [found] if isinstance(found, str) else []
    return Answer(tuple(findings), tuple(unseen))


def _workloads(subject: Subject) -> tuple[Workload, ...]:
    return tuple({run.workload.name: run.workload for run in subject.runs()}.values())


def _bounds(value: Measured | Estimate | None) -> tuple[float, float, float] | None:
    if value is None or isinstance(value, Absent):
        return None
    return (value.low, value.value, value.high) if isinstance(value, Estimate) else (value, value, value)


def _product(subject: Subject, policy: CheckPolicy, row: Row, workload: Workload) -> list[Finding]:
    findings: list[Finding] = []
    for time, rate in RATES.items():
        if _TIMED_BY[time] != workload.kind:
            continue
        seconds, per_s = (
            _bounds(subject.value(row, time, workload.name)),
            _bounds(subject.value(row, rate, workload.name)),
        )
        if seconds is None or per_s is None:
            continue
        work = workload.batch * (workload.prompt_tokens if time == "prefill_s" else 1)
        ratio = per_s[1] * seconds[1] / work
        if abs(ratio - 1) > policy.consistency:
            findings.append(
                _finding(
                    (subject.cell(row.name, time, workload.name), subject.cell(row.name, rate, workload.name)),
                    {"tok_per_s": per_s[1], "seconds": seconds[1], "tokens": float(work), "ratio": ratio},
                    f"{row.name} on {workload.name}: {per_s[1]:.4g} tok/s x {seconds[1]:.4g} s is {ratio:.3g} x "
                    f"the {work} tokens of a call",
                    "tokens or sequences miscounted, or the rate and the time come from different runs",
                )
            )
    return findings


def _sum(
    subject: Subject, policy: CheckPolicy, row: Row, workload: Workload, workloads: tuple[Workload, ...]
) -> Finding | str | None:
    whole = _bounds(subject.value(row, "end_to_end_s", workload.name))
    if whole is None:
        return None
    prefill = next((w for w in workloads if w.kind == "prefill" and _same(w, workload)), None)
    decode = next((w for w in workloads if w.kind == "decode" and _same(w, workload)), None)
    if prefill is None or decode is None or decode.new_tokens != workload.new_tokens:
        return f"no prefill and decode of the same lengths as {workload.name}, so nothing to add up"
    first = _bounds(subject.value(row, "prefill_s", prefill.name))
    step = _bounds(subject.value(row, "tpot_s", decode.name))
    if first is None or step is None:
        return f"no prefill_s or tpot_s of {row.name} to add up to {workload.name}"
    low, middle, high = (first[i] + (workload.new_tokens - 1) * step[i] for i in range(3))
    slack = 1 + policy.consistency
    if low <= slack * whole[2] and whole[0] <= slack * high:
        return None
    return _finding(
        tuple(
            subject.cell(row.name, metric, name)
            for metric, name in (
                ("prefill_s", prefill.name),
                ("tpot_s", decode.name),
                ("end_to_end_s", workload.name),
            )
        ),
        {"sum_s": middle, "end_to_end_s": whole[1], "ratio": middle / whole[1]},
        f"{row.name}: prefill + {workload.new_tokens - 1} steps take {middle:.4g} s, {workload.name} {whole[1]:.4g} s",
        "a phase is not synchronised, is timed twice, or works on other lengths than the whole",
    )


def _same(part: Workload, whole: Workload) -> bool:
    return part.prompt_tokens == whole.prompt_tokens and part.batch == whole.batch


def _finding(cells: tuple[Cell, ...], numbers: dict[str, float | str], summary: str, cause: str) -> Finding:
    return Finding(
        check=NAME,
        severity="ERR",
        cells=tuple(cell for cell in cells if cell.metric.partition("@")[0] in METRICS),
        numbers=numbers,
        summary=summary,
        cause=cause,
        remedy="Compute the rate from the very times that are shown, and count tokens x batch once",
    )
