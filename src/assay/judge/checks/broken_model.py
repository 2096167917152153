"""Rule 25: predictions that are no better than chance, or not finite: the model is broken, whatever its speed."""

from __future__ import annotations

import math

from assay.core.records import Absent, Finding, Quality
from assay.judge.checks.base import Answer, Subject, number
from assay.judge.checks.figures import Entry, row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "broken_model"
RULE = "25"
_NOT_FINITE = ("finite", "nan", "infinit", "larger than any float")
_LIKELIHOOD = ("nll_nats", "perplexity", "perplexity_ratio")


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Hold likelihood, KL divergence and top-1 agreement against what a uniform guess would give."""
    findings: list[Finding] = []
    unseen: list[str] = []
    for quality in subject.quality:
        if quality.outcome.kind != "ok":
            unseen.append(f"no quality of {quality.variant}: {quality.outcome.kind.replace('_', ' ')}")
            continue
        row = subject.row(quality.variant)
        if row is None or isinstance(row.artifact, Absent):
            unseen.append(f"no vocabulary size of {quality.variant}")
            continue
        found, missing = _look(subject, policy, quality, row.artifact.contract.vocab_size)
        findings += found
        unseen += missing
    printed = _printed(subject, policy)
    return Answer((*findings, *printed.findings), (*unseen, *printed.not_checked))


def _printed(subject: Subject, policy: CheckPolicy) -> Answer:
    """The same of what another tool printed."""
    if subject.rows:
        return Answer()
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in row_entries(subject):
        ppl, nll = entry.value("perplexity"), entry.value("nll_nats")
        kl, agreement = entry.value("kl_nats"), entry.value("top1_agreement")
        if agreement is not None and agreement < policy.top1_least:
            said = f"agrees with the reference's first choice on {agreement:.1%} of the tokens"
            findings.append(_printed_finding(entry, "top1_agreement", said))
        if ppl is not None and ppl < 1:
            findings.append(_printed_finding(entry, "perplexity", f"has a perplexity of {ppl:.3g}: certainty is 1"))
            continue
        nats = nll if nll is not None else None if ppl is None else math.log(ppl)
        shape = entry.shape
        vocab = entry.amount("vocab_size") or (shape.vocab_size if shape is not None else 0)
        if not vocab:
            if nats is not None or kl is not None:
                unseen[f"no vocabulary size of {entry.name} (--model)"] = None
            continue
        chance = math.log(vocab)
        if nats is not None and nats >= chance - policy.nll_below_chance_nats:
            said = f"scores {nats:.3g} nats per token; a uniform guess over {vocab:,.0f} tokens scores {chance:.3g}"
            findings.append(_printed_finding(entry, "perplexity" if nll is None else "nll_nats", said))
        if kl is not None and kl >= policy.kl_of_chance * chance:
            said = f"is {kl:.3g} nats from its reference, of {chance:.3g} that a uniform guess would be"
            findings.append(_printed_finding(entry, "kl_nats", said))
    return Answer(tuple(findings), tuple(unseen))


def _printed_finding(entry: Entry, metric: str, said: str) -> Finding:
    return Finding(
        check=NAME,
        severity="ERR",
        cells=entry.cells(metric),
        numbers={metric: entry.value(metric) or 0.0},
        summary=f"{entry.name} {said}",
        cause="cause unknown",
        remedy="Read what the model writes; then look for an overflow, wrong scales, or a tokenizer of another model",
    )


def _look(subject: Subject, policy: CheckPolicy, quality: Quality, vocab_size: int) -> tuple[list[Finding], list[str]]:
    chance = math.log(vocab_size)
    likelihood = quality.metrics.get("nll_nats", Absent(reason="the record has no nll_nats"))
    divergence = number(quality.metrics.get("kl_nats"))
    agreement = number(quality.metrics.get("top1_agreement"))
    name = quality.variant
    findings: list[Finding] = []
    if isinstance(likelihood, Absent):
        if not any(word in likelihood.reason.lower() for word in _NOT_FINITE):
            return [], [f"no likelihood of {name}: {likelihood.reason}"]
        said = f"{name} has no likelihood: {likelihood.reason}"
        return [_finding(subject, quality, _LIKELIHOOD, {}, said)], []
    nats = number(likelihood)
    if nats is not None and nats >= chance - policy.nll_below_chance_nats:
        said = (
            f"{name} scores {nats:.3g} nats per token; a uniform guess over {vocab_size:,} tokens scores {chance:.3g}"
        )
        findings.append(_finding(subject, quality, _LIKELIHOOD, {"nll_nats": nats, "chance_nats": chance}, said))
    if divergence is not None and divergence >= policy.kl_of_chance * chance:
        said = f"{name} is {divergence:.3g} nats from the reference, of {chance:.3g} that a uniform guess would be"
        findings.append(_finding(subject, quality, ("kl_nats",), {"kl_nats": divergence, "chance_nats": chance}, said))
    if agreement is not None and agreement < policy.top1_least:
        said = f"{name} agrees with the reference's first choice on {agreement:.1%} of the tokens"
        findings.append(_finding(subject, quality, ("top1_agreement",), {"top1_agreement": agreement}, said))
    return findings, []


def _finding(
    subject: Subject, quality: Quality, metrics: tuple[str, ...], numbers: dict[str, float | str], summary: str
) -> Finding:
    random = subject.source is not None and subject.source.kind == "random"
    return Finding(
        check=NAME,
        severity="ERR",
        cells=tuple(subject.cell(quality.variant, metric) for metric in metrics),
        numbers=numbers,
        summary=summary,
        cause="the source has random weights: it predicts nothing" if random else "cause unknown",
        remedy="Judge quality on trained weights"
        if random
        else "Read the sample text; then look for an overflow (fp16), a scale of the wrong axis, weights loaded under "
        "the wrong names, or a tokenizer of another model",
    )
