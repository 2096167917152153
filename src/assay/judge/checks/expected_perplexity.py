"""Rules 23 and 24: a perplexity far from what is published for this model, text and window, or from its own NLL."""

from __future__ import annotations

import math

from assay.core import expected
from assay.core.records import Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "expected_perplexity"
RULE = "23"
_LN2 = math.log(2)


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Match model, text, context and stride with the table of published values, and perplexity with exp(NLL)."""
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in row_entries(subject):
        value = entry.value("perplexity")
        if value is None or value <= 0:
            continue
        findings += _own_likelihood(entry, value, policy)
        missing = _missing(entry)
        if missing:
            unseen[f"no {missing}"] = None
            continue
        context = int(entry.amount("context") or 0)
        stride = int(entry.amount("stride") or context)
        known = expected.perplexities(
            entry.model_name, expected.canonical_dataset(entry.text("dataset")), context, stride
        )
        if not known:
            unseen[f"no published perplexity of {entry.model_name} in windows of {context} every {stride} tokens"] = (
                None
            )
            continue
        findings += _far(entry, value, known, policy)
    return Answer(tuple(findings), tuple(unseen))


def _missing(entry: Entry) -> str:
    if not entry.model_name:
        return f"published perplexity of the model of {entry.name} (--model)"
    if not expected.canonical_dataset(entry.text("dataset")):
        return f"text of {entry.name} that the table of published perplexities has (--dataset)"
    if entry.amount("context") is None:
        return f"length of the windows of {entry.name} (--context)"
    return ""


def _own_likelihood(entry: Entry, value: float, policy: CheckPolicy) -> list[Finding]:
    nll = entry.value("nll_nats")
    if nll is None or abs(math.log(value) - nll) <= policy.perplexity_of_nll:
        return []
    base = (
        "2 to the power of the NLL: one of the two is in bits"
        if abs(math.log(value) / (nll * _LN2) - 1) < policy.perplexity_of_nll
        else "cause unknown; means of different tokens, or a mean of the perplexities of single texts"
    )
    return [
        Finding(
            check=NAME,
            severity="ERR",
            cells=entry.cells("perplexity", "nll_nats"),
            numbers={"perplexity": value, "exp_nll": math.exp(min(nll, 700.0))},
            summary=f"{entry.name}: the perplexity is {value:.4g}, and exp of its own {nll:.4g} nats is "
            f"{math.exp(min(nll, 700.0)):.4g}",
            cause=base,
            remedy="Sum the NLL over all scored tokens, divide by their number, and take exp once",
        )
    ]


def _far(entry: Entry, value: float, known: tuple[expected.Expected, ...], policy: CheckPolicy) -> list[Finding]:
    nearest = min(known, key=lambda each: abs(math.log(value / each.perplexity)))
    distance = math.log(value / nearest.perplexity)
    slack = policy.perplexity_computed if nearest.tag == "computed" else 0.0
    if abs(distance) <= policy.perplexity_warn + slack:
        return []
    return [
        Finding(
            check=NAME,
            severity="ERR" if abs(distance) > policy.perplexity_error + slack else "WARN",
            cells=entry.cells("perplexity", "nll_nats"),
            numbers={"perplexity": value, "expected": nearest.perplexity, "log_ratio": distance},
            summary=f"{entry.name}: perplexity {value:.4g}, where {nearest.model} has {nearest.perplexity:g} "
            f"({nearest.tag}: "
            f"{nearest.source}): {distance:+.2f} nats",
            cause=_cause(entry, value, nearest),
            remedy="Score the published recipe once (text, join, window, stride, BOS), and only then your own",
        )
    ]


def _cause(entry: Entry, value: float, nearest: expected.Expected) -> str:
    """Which known mistakes give this number; none of them is recorded, so none is the cause."""
    named: list[str] = []
    own = {
        e.context: e.perplexity for e in expected.PERPLEXITIES if (e.model, e.source) == (nearest.model, expected.CURVE)
    }
    named += [
        f"windows of {context} give {known:g}"
        for context, known in own.items()
        if context != nearest.context and abs(math.log(value / known)) < 0.08
    ]
    if abs(math.log(value) / (math.log(nearest.perplexity) * _LN2) - 1) < 0.04:
        named.append(f"2 to the power of the NLL in nats gives {2 ** math.log(nearest.perplexity):.3g}")
    if value > nearest.perplexity:
        named.append(
            "padded targets that are scored, a pad token at the end, a mean of the perplexities of single lines, a "
            "missing or double BOS, or words in the place of tokens make it larger"
        )
    else:
        named.append("only the second half of each window scored, or windows that overlap, make it smaller")
    return f"cause unknown; {'; '.join(named)}"
