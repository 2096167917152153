"""Weights that are small on disk and larger in memory: a palette or a packed type without a kernel of its own."""

from __future__ import annotations

from assay.core.records import Absent, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.policy import CheckPolicy

NAME = "palettes_expanded"
RULE = "29"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare the bytes on disk with those in memory, row by row."""
    findings: list[Finding] = []
    unseen: list[str] = []
    for row in subject.rows:
        if row.role == "null":
            continue
        if isinstance(row.artifact, Absent):
            unseen.append(f"no artifact of {row.name}")
            continue
        artifact = row.artifact
        if artifact.resident_weight_bytes <= policy.expanded_bytes * artifact.weight_bytes:
            continue
        notes = "; ".join(dict.fromkeys(note for change in artifact.changes for note in change.notes))
        rate = [key for key in row.metrics if key.partition("@")[0] == "decode_tok_per_s"]
        findings.append(
            Finding(
                check=NAME,
                severity="INFO",
                cells=tuple(
                    subject.cell(row.name, key.partition("@")[0], key.partition("@")[2])
                    for key in ("weight_bytes", "resident_weight_bytes", *rate)
                ),
                numbers={
                    "weight_bytes": float(artifact.weight_bytes),
                    "resident_weight_bytes": float(artifact.resident_weight_bytes),
                },
                summary=f"{row.name} takes {artifact.weight_bytes / 1e6:.4g} MB on disk and "
                f"{artifact.resident_weight_bytes / 1e6:.4g} MB in memory: smaller files, not faster steps",
                cause=notes or "the weights are widened at load",
                remedy="For less memory choose a format whose kernel reads packed weights, such as int8 weight-only",
            )
        )
    return Answer(tuple(findings), tuple(unseen))
