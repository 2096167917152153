"""Rule 37: acceptance that its own histogram contradicts, or drafts that do not pay."""

from __future__ import annotations

import math

from assay.core.records import Cell, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, entries
from assay.judge.checks.policy import CheckPolicy

NAME = "speculation"
RULE = "37"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare mean accepted tokens by the histogram with the chained product, and tokens per verify with break-even."""
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in entries(subject):
        if entry.fact("draft_tokens") is None and entry.figure("acceptance_rate") is None:
            continue
        findings += [*_histogram(entry, policy), *_break_even(entry)]
        if entry.fact("acceptance_histogram") is None:
            unseen[f"no histogram of accepted tokens of {entry.name} (acceptance_histogram)"] = None
        if entry.amount("draft_s") is None or entry.amount("verify_s") is None or entry.amount("plain_step_s") is None:
            unseen[f"no times of draft, verify and plain step of {entry.name}"] = None
    return Answer(tuple(findings), tuple(unseen))


def _cells(entry: Entry) -> tuple[Cell, ...]:
    return entry.cells("acceptance_rate", "decode_tok_per_s", "tpot_s") or (
        Cell(row=entry.row.name, metric="acceptance_rate", table=entry.label),
    )


def _chained(entry: Entry) -> float | None:
    """Mean accepted tokens of a draft of K: the sum over i of the product of the first i rates."""
    stated = entry.fact("acceptance_by_position")
    if isinstance(stated, tuple):
        rates = [float(rate) for rate in stated]
    else:
        rate, drafted = entry.value("acceptance_rate"), entry.amount("draft_tokens")
        if rate is None or drafted is None:
            return None
        rates = [rate] * int(drafted)
    return sum(math.prod(rates[: place + 1]) for place in range(len(rates)))


def _histogram(entry: Entry, policy: CheckPolicy) -> list[Finding]:
    counts, chained = entry.fact("acceptance_histogram"), _chained(entry)
    if not isinstance(counts, tuple) or chained is None or chained <= 0:
        return []
    numbers = [float(count) for count in counts]
    total = sum(numbers)
    if total <= 0:
        return []
    mean = sum(place * count for place, count in enumerate(numbers)) / total
    if abs(mean / chained - 1) <= policy.acceptance_match:
        return []
    return [
        Finding(
            check=NAME,
            severity="ERR",
            cells=_cells(entry),
            numbers={"histogram_mean": mean, "chained": chained},
            summary=f"{entry.name}: by its histogram a draft has {mean:.3g} tokens accepted, by its rates "
            f"{chained:.3g}",
            cause="cause unknown; rates conditioned on other positions, or counted over other drafts",
            remedy="Count accepted lengths, and compute the rates from the counts",
        )
    ]


def _break_even(entry: Entry) -> list[Finding]:
    draft, verify, plain = (entry.amount(name) for name in ("draft_s", "verify_s", "plain_step_s"))
    tokens, drafted = entry.amount("tokens_per_verify"), entry.amount("draft_tokens")
    chained = _chained(entry)
    tokens = tokens if tokens is not None else None if chained is None else chained + 1
    if draft is None or verify is None or plain is None or tokens is None or drafted is None:
        return []
    needed = (drafted * draft + verify) / plain
    if tokens >= needed:
        return []
    return [
        Finding(
            check=NAME,
            severity="WARN",
            cells=_cells(entry),
            numbers={"tokens_per_verify": tokens, "break_even": needed},
            summary=f"{entry.name} gains {tokens:.3g} tokens per verify, and {needed:.3g} would pay for "
            f"{drafted:g} drafts of "
            f"{draft:.3g} s and a verify of {verify:.3g} s",
            cause="the draft costs more than the steps that it saves",
            remedy="Draft fewer tokens, or with a smaller model",
        )
    ]
