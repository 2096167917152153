"""Rule 8: throughput times latency is the work done, and the phases add up to the whole; otherwise one is wrong."""

from __future__ import annotations

from assay.core.metrics import METRICS
from assay.core.records import Absent, Cell, Estimate, Finding, Measured, Row, Workload
from assay.judge.checks.base import RATES, Answer, Subject
from assay.judge.checks.figures import Entry, entries, standard_error
from assay.judge.checks.policy import CheckPolicy

NAME = "throughput_latency"
RULE = "8"
_TIMED_BY = {"prefill_s": "prefill", "tpot_s": "decode", "train_step_s": "train_step"}


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
    printed = _printed(subject, policy)
    return Answer((*findings, *printed.findings), (*unseen, *printed.not_checked))


# ---------------------------------------------------------------------------------------------- figures of others


def _printed(subject: Subject, policy: CheckPolicy) -> Answer:
    """The same two questions of what another tool printed."""
    if subject.rows:
        return Answer()
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in entries(subject):
        for rate, per_call in _PRINTED_RATES.items():
            per_s = entry.value(rate)
            time = next((name for name in per_call if (entry.value(name) or 0.0) > 0), "")
            if per_s is None or not time:
                continue
            work = _work(entry, rate, time)
            if work is None:
                unseen[f"no number of tokens in a call of {entry.name} (--context, --batch)"] = None
            else:
                findings += _printed_product(entry, (rate, time), per_s * (entry.value(time) or 0.0) / work, policy)
        findings += _printed_sum(entry, policy)
    return Answer(tuple(findings), tuple(unseen))


_PRINTED_RATES = {
    "prefill_tok_per_s": ("prefill_s", "ttft_s"),
    "decode_tok_per_s": ("tpot_s",),
    "tok_per_s": ("train_step_s", "call_s", "prefill_s", "forward_s", "end_to_end_s"),
    "items_per_s": ("end_to_end_s", "call_s", "train_step_s", "forward_s"),
}
"""Rates, and the times that each may be the inverse of, the likeliest first."""


def _work(entry: Entry, rate: str, time: str) -> float | None:
    """What one call works on: tokens of all sequences, or requests that are under way at once."""
    at_once = (entry.amount("batch") or 1.0) * (entry.amount("concurrency") or 1.0)
    if rate == "items_per_s" or rate == "decode_tok_per_s":
        return at_once
    tokens = entry.amount("new_tokens") if time == "end_to_end_s" else entry.amount("prompt_tokens")
    return None if tokens is None else tokens * at_once


def _printed_product(entry: Entry, names: tuple[str, str], ratio: float, policy: CheckPolicy) -> list[Finding]:
    rate, time = names
    slack = standard_error(*(_relative(entry, name) for name in names))
    if abs(ratio - 1) <= max(policy.consistency, 2 * slack):
        return []
    return [
        _finding(
            (entry.cell(time), entry.cell(rate)),
            {rate: entry.value(rate) or 0.0, time: entry.value(time) or 0.0, "ratio": ratio},
            f"{entry.name}: {rate} {entry.value(rate):.4g} x {time} {entry.value(time):.4g} s is {ratio:.4g} x "
            "the work of a "
            "call",
            _rate_cause(entry, ratio),
        )
    ]


def _relative(entry: Entry, metric: str) -> float:
    return (entry.error(metric) or 0.0) / abs(entry.value(metric) or 1.0)


def _rate_cause(entry: Entry, ratio: float) -> str:
    for name in ("batch", "concurrency", "prompt_tokens"):
        count = entry.amount(name)
        if count is not None and count > 1 and (abs(ratio * count - 1) < 0.05 or abs(ratio / count - 1) < 0.05):
            return f"the ratio is {name.replace('_', ' ')} = {count:g}: it was counted once too often or not at all"
    for factor in (1e3, 1e-3):
        if abs(ratio / factor - 1) < 0.1:
            return "the ratio is a thousand: one of the two is in another unit"
    return "cause unknown; tokens or sequences miscounted, or the rate and the time come from different runs"


def _printed_sum(entry: Entry, policy: CheckPolicy) -> list[Finding]:
    first, step, whole = (entry.value(name) for name in ("ttft_s", "tpot_s", "end_to_end_s"))
    first = entry.value("prefill_s") if first is None else first
    new = entry.amount("new_tokens")
    if first is None or step is None or whole is None or new is None or whole <= 0:
        return []
    ratio = (first + (new - 1) * step) / whole
    if abs(ratio - 1) <= policy.consistency:
        return []
    return [
        _finding(
            entry.cells("ttft_s", "prefill_s", "tpot_s", "end_to_end_s"),
            {"sum_s": first + (new - 1) * step, "end_to_end_s": whole, "ratio": ratio},
            f"{entry.name}: the first token and {new - 1:g} steps take {first + (new - 1) * step:.4g} s, end to end "
            f"{whole:.4g} s",
            "cause unknown; a phase is left out or counted twice, or the lengths differ",
        )
    ]


# ---------------------------------------------------------------------------------------------- our own rows


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
        work = workload.batch * (1 if time == "tpot_s" else workload.prompt_tokens)
        # The median of rates is not one over the median of times where two rounds differ: what the intervals allow.
        least, ratio, most = (per_s[i] * seconds[i] / work for i in range(3))
        if abs(ratio - 1) > policy.consistency and not least <= 1 <= most:
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
