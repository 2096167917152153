"""A layer at which a variant strays from the reference: its output is much further off than the layer's before it."""

from __future__ import annotations

from itertools import pairwise

from assay.core.records import Absent, Finding, Quality
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.policy import CheckPolicy

NAME = "layer_drop"
RULE = "29"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Look for the largest step down of the PSNR by layer, and for the first layer below the faithful ones."""
    findings: list[Finding] = []
    unseen: list[str] = []
    for quality in subject.quality:
        row = subject.row(quality.variant)
        if row is None or row.role == "reference":
            continue
        if isinstance(quality.layers, Absent):
            unseen.append(f"no layers of {quality.variant}: {quality.layers.reason}")
            continue
        found = _strayed(subject, quality, policy)
        findings += [found] if found is not None else []
    return Answer(tuple(findings), tuple(dict.fromkeys(unseen)))


def _strayed(subject: Subject, quality: Quality, policy: CheckPolicy) -> Finding | None:
    assert not isinstance(quality.layers, Absent)
    steps = [(before.psnr_db - after.psnr_db, before, after) for before, after in pairwise(quality.layers)]
    if not steps:
        return None
    fall, before, after = max(steps, key=lambda step: step[0])
    if fall < policy.layer_fall_db:
        return None
    below = next((layer for layer in quality.layers if layer.psnr_db < policy.layer_faithful_db), None)
    first = (
        f"the first below {policy.layer_faithful_db:g} dB is {below.layer} ({below.psnr_db:.1f} dB)"
        if below is not None
        else f"none is below {policy.layer_faithful_db:g} dB"
    )
    return Finding(
        check=NAME,
        severity="INFO",
        cells=(subject.cell(quality.variant, "psnr_db"),),
        numbers={"fall_db": fall, "before_db": before.psnr_db, "after_db": after.psnr_db},
        summary=f"{quality.variant} strays at {after.layer}: {after.psnr_db:.1f} dB behind {before.psnr_db:.1f} dB; "
        f"{first}",
        cause="what that layer adds is large against what its weights or its type can still hold; which weight it is "
        "was not recorded",
        remedy=f"Leave {after.layer} in a wider type (the option `names` of a transform), and look again",
    )
