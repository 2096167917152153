"""Rule 38: a speed of a runtime that does not say what the first runtime says of the same variant."""

from __future__ import annotations

from assay.core.records import Absent, Artifact, Cell, Finding, Measured, Parity, Row
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.policy import CheckPolicy

NAME = "parity"
RULE = "38"
_SPEEDS = frozenset({"prefill_s", "prefill_tok_per_s", "tpot_s", "decode_tok_per_s", "end_to_end_s", "ttft_s"})


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Strike out the speeds of rows whose logits or greedy tokens are off by more than rounding explains."""
    findings: list[Finding] = []
    unseen: list[str] = []
    for quality in subject.quality:
        row = subject.row(quality.variant)
        if row is None:
            continue
        if isinstance(quality.parity, Absent):
            if quality.parity.reason.startswith(UNMEASURED):
                unseen.append(f"{row.name}: {quality.parity.reason}")
            continue
        wrong = fault(quality.parity, _bound(subject, row, quality.parity, policy))
        if wrong:
            findings.append(_finding(row, quality.parity, wrong))
    return Answer(tuple(findings), tuple(unseen))


UNMEASURED = "no parity"
"""How a reason begins where parity was wanted and could not be measured."""


def fault(parity: Parity, most_kl_nats: float) -> str:
    """What no rounding explains, in words; empty where parity holds."""
    for name, figure in (("over a window", parity.kl_nats), ("through the KV cache", parity.kl_steps_nats)):
        if isinstance(figure, float) and figure > most_kl_nats:
            return f"a KL divergence of {figure:.3g} nats {name}, of {most_kl_nats:g} that rounding explains"
    if isinstance(parity.first_divergence, Absent):
        return ""
    at = f"greedy token {parity.first_divergence} of {parity.greedy_tokens} is another"
    if isinstance(parity.margin_nats, Absent):
        return f"{at}: {parity.margin_nats.reason}"
    if isinstance(parity.noise_nats, Absent):
        least = _TIE_WITHOUT_LOGITS_NATS
        tie = parity.margin_nats <= least
        return "" if tie else f"{at}, at a margin of {parity.margin_nats:.3g} nats, which is no tie ({least:g} nats)"
    if parity.margin_nats <= parity.noise_nats:
        return ""
    return f"{at}, at a margin of {parity.margin_nats:.3g} nats above a noise of {parity.noise_nats:.3g}"


_TIE_WITHOUT_LOGITS_NATS = 0.5
"""Margin up to which an engine without logits may choose another token: it keeps its own noise to itself."""


def _bound(subject: Subject, row: Row, parity: Parity, policy: CheckPolicy) -> float:
    anchor = subject.row(parity.against)
    both = [each.artifact for each in (row, anchor) if each is not None]
    exact = all(isinstance(artifact, Artifact) and artifact.contract.dtype == "float32" for artifact in both)
    return policy.parity_kl_float32_nats if exact else policy.parity_kl_nats


def _finding(row: Row, parity: Parity, wrong: str) -> Finding:
    speeds = [metric for metric in row.metrics if metric.partition("@")[0] in _SPEEDS]
    figures: dict[str, Measured] = {
        "kl_nats": parity.kl_nats,
        "kl_steps_nats": parity.kl_steps_nats,
        "noise_nats": parity.noise_nats,
        "margin_nats": parity.margin_nats,
    }
    return Finding(
        check=NAME,
        severity="ERR",
        cells=tuple(Cell(row=row.name, metric=metric) for metric in (speeds or ["decode_tok_per_s"])),
        numbers={name: value for name, value in figures.items() if isinstance(value, float)},
        summary=f"{row.name} does not say what {parity.against} says: {wrong}",
        cause="cause unknown",
        remedy="Compare layer by layer from the first token that differs; look at positions, the mask, the KV cache "
        "after a rewind, and scales of the wrong axis. Until then the speed is that of another computation",
    )
