"""Rule 22: a variant of another type that predicts exactly as the reference does was never converted."""

from __future__ import annotations

from typing import Literal

from assay.core.records import Absent, Artifact, Finding, Quality, Row
from assay.judge.checks.base import RATES, Answer, Subject, number
from assay.judge.checks.figures import DTYPE_FACTS, Entry, row_entries, varying
from assay.judge.checks.policy import CheckPolicy

NAME = "conversion_absent"
RULE = "22"
_QUALITY = ("nll_nats", "perplexity", "perplexity_ratio", "kl_nats", "max_logit_difference", "psnr_db")


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Hold every row's predictions against the reference's, where their types or bytes of weights differ."""
    findings: list[Finding] = []
    unseen: list[str] = []
    reference = next((row for row in subject.rows if row.role == "reference"), None)
    for row in subject.rows:
        if reference is None or row.name == reference.name or row.role == "null":
            continue
        if isinstance(row.artifact, Absent) or isinstance(reference.artifact, Absent):
            unseen.append(f"no artifact of {row.name} or of {reference.name}")
            continue
        if not _converted(row.artifact, reference.artifact):
            continue
        quality = subject.quality_of(row.name)
        if quality is None or quality.outcome.kind != "ok":
            unseen.append(f"no quality of {row.name}")
            continue
        signs = _signs(policy, quality, subject.quality_of(reference.name))
        if signs:
            findings.append(_finding(subject, row, reference.name, row.artifact, reference.artifact, signs))
    return Answer((*findings, *_printed(subject, policy)), tuple(unseen))


def _printed(subject: Subject, policy: CheckPolicy) -> list[Finding]:
    """The same of what another tool printed: rows that differ in their type alone."""
    if subject.rows:
        return []
    findings: list[Finding] = []
    for entry in row_entries(subject):
        psnr, largest = entry.value("psnr_db"), entry.value("max_logit_difference")
        lossy = entry.dtype not in ("", "float32", "float64")
        if lossy and ((psnr is not None and psnr > policy.psnr_identical_db) or largest == 0):
            said = f"is {entry.dtype} and computes exactly what its reference does"
            findings.append(_same(entry, entry, ("psnr_db", "max_logit_difference"), said, "ERR"))
    for group in varying(row_entries(subject), *DTYPE_FACTS):
        for index, first in enumerate(group):
            for second in group[index + 1 :]:
                findings += _equal(first, second, policy)
    return findings


def _equal(first: Entry, second: Entry, policy: CheckPolicy) -> list[Finding]:
    if not first.dtype or not second.dtype or first.dtype == second.dtype:
        return []
    for metric in ("nll_nats", "perplexity"):
        ours, theirs = first.figure(metric), second.figure(metric)
        if ours is None or theirs is None or ours.value != theirs.value:
            continue
        digits = min(figure.digits or policy.nll_digits for figure in (ours, theirs))
        if digits >= policy.nll_digits:
            said = f"and {second.name} agree in {metric} to {digits} digits, {ours.value!r}, in different types"
            return [_same(first, second, (metric,), said, "ERR")]
        said = f"and {second.name} agree in {metric} to the {digits} digits printed: that proves nothing about equality"
        return [_same(first, second, (metric,), said, "INFO")]
    return []


def _same(
    first: Entry, second: Entry, metrics: tuple[str, ...], said: str, severity: Literal["ERR", "INFO"]
) -> Finding:
    return Finding(
        check=NAME,
        severity=severity,
        cells=tuple(dict.fromkeys((*first.cells(*metrics), *second.cells(*metrics)))),
        summary=f"{first.name} {said}",
        cause="the conversion did not reach what was run" if severity == "ERR" else "cause unknown",
        remedy="Check which file the runtime loaded and its effective type, and print the likelihood to six digits",
    )


def _converted(ours: Artifact, reference: Artifact) -> bool:
    """True where the numbers must differ: another type, or another number of bytes of the same weights."""
    return ours.contract.dtype != reference.contract.dtype or ours.weight_bytes != reference.weight_bytes


def _signs(policy: CheckPolicy, quality: Quality, reference: Quality | None) -> dict[str, float]:
    signs: dict[str, float] = {}
    for metric in ("max_logit_difference", "kl_nats"):
        value = number(quality.metrics.get(metric))
        if value == 0:
            signs[metric] = value
    psnr = number(quality.metrics.get("psnr_db"))
    if psnr is not None and psnr > policy.psnr_identical_db:
        signs["psnr_db"] = psnr
    ours = number(quality.metrics.get("nll_nats"))
    theirs = number(reference.metrics.get("nll_nats")) if reference is not None else None
    if ours is not None and theirs is not None and abs(ours - theirs) < abs(theirs) * 0.5 * 10**-policy.nll_digits:
        signs["nll_nats"] = ours
    return signs


_SAID = {
    "max_logit_difference": "the largest logit difference is exactly 0",
    "kl_nats": "the KL divergence is exactly 0",
    "psnr_db": "the PSNR of the logits is {:.0f} dB",
    "nll_nats": "the likelihoods agree to all digits that matter ({:.7g} nats)",
}


def _finding(
    subject: Subject, row: Row, reference: str, ours: Artifact, theirs: Artifact, signs: dict[str, float]
) -> Finding:
    metrics = [metric for metric in _QUALITY if metric in row.metrics]
    rates = [key for key in row.metrics if key.partition("@")[0] in RATES.values()]
    said = ", ".join(_SAID[name].format(value) for name, value in signs.items())
    return Finding(
        check=NAME,
        severity="ERR",
        cells=tuple(
            subject.cell(row.name, metric.partition("@")[0], metric.partition("@")[2])
            for metric in [*(metrics or ["kl_nats"]), *rates]
        ),
        numbers=dict(signs),
        summary=f"{row.name} predicts exactly as {reference} does: {said}",
        cause=f"the artifacts claim to differ ({ours.contract.dtype}, {ours.weight_bytes:,} B against "
        f"{theirs.contract.dtype}, {theirs.weight_bytes:,} B), so the conversion did not reach what was run",
        remedy="Check which file the runtime loaded, and its effective type in the run's facts",
    )
