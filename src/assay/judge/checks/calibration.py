"""Rule 35: a conversion that was calibrated on random text, or on too little of it."""

from __future__ import annotations

from assay.core.records import Cell, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "calibration"
RULE = "35"
_CALIBRATED_BITS = 8.5
"""Bits at and below which a conversion may have been calibrated."""
_QUALITY = ("perplexity", "nll_nats", "kl_nats", "top1_agreement", "accuracy")


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Read the number and the origin of the calibration samples that a row states."""
    findings: list[Finding] = []
    for entry in row_entries(subject):
        count, source = entry.fact("calibration_samples"), entry.text("calibration_source")
        said = []
        if source and "random" in source.casefold():
            said.append(f"calibrated on {source}")
        if isinstance(count, int | float) and not isinstance(count, bool) and count < policy.calibration_samples:
            said.append(f"calibrated on {count:g} samples")
        if said:
            findings.append(_finding(entry, ", ".join(said)))
    unstated = [
        entry.name
        for entry in row_entries(subject)
        if not subject.rows  # a transform of ours that is calibrated states it
        and (entry.weight_bits or 32.0) <= _CALIBRATED_BITS
        and entry.fact("calibration_samples") is None
    ]
    return Answer(tuple(findings), (f"no calibration samples of {', '.join(unstated)}",) if unstated else ())


def _finding(entry: Entry, said: str) -> Finding:
    cells = entry.cells(*_QUALITY) or (Cell(row=entry.row.name, metric="perplexity", table=entry.label),)
    return Finding(
        check=NAME,
        severity="WARN",
        cells=cells,
        summary=f"{entry.name} was {said}",
        cause="scales that were chosen on text unlike the model's own fit other activations",
        remedy="Calibrate on some hundred texts of the kind that the model will read",
    )
