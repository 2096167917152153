"""Rule 29: a file that is not as large as its parameters and bits say."""

from __future__ import annotations

from assay.core.records import Absent, Finding, TransformSpec
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, row_entries
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.work import parameter_count

NAME = "weight_size"
RULE = "29"
_KEPT_BITS = 16.0
"""Bits of an embedding that a quantised file keeps."""


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Hold bytes against parameters x bits / 8; tables may stay at 16 bits, so the upper bound lets the embedding."""
    if subject.rows:
        return Answer((*_ours(subject, policy), *_levels(subject)))
    findings: list[Finding] = []
    unseen: dict[str, None] = {}
    for entry in row_entries(subject):
        size, bits, parameters = entry.value("weight_bytes"), entry.weight_bits, parameter_count(entry)
        if size is None:
            continue
        if bits is None or parameters is None:
            unseen[f"no {'bits' if bits is None else 'parameters'} of {entry.name} (--model)"] = None
            continue
        findings += _finding(entry, size, parameters, bits, policy)
    return Answer(tuple(findings), tuple(unseen))


def _finding(entry: Entry, size: float, parameters: float, bits: float, policy: CheckPolicy) -> list[Finding]:
    shape = entry.shape
    table = shape.vocab_size * shape.hidden_size if shape is not None else 0
    kept = max(bits, _KEPT_BITS)
    least, most = parameters * bits / 8, ((parameters - table) * bits + table * kept) / 8
    half = parameters * 2
    unquantised = bits < 16 and size >= policy.size_of_half * half
    if not unquantised and policy.size_least * least <= size <= policy.size_most * most:
        return []
    return [
        Finding(
            check=NAME,
            severity="ERR" if unquantised else "WARN",
            cells=(entry.cell("weight_bytes"),),
            numbers={"bytes": size, "parameters": parameters, "bits": bits, "expected_bytes": least},
            summary=f"{entry.name} takes {size / 1e6:.4g} MB; {parameters / 1e6:.4g} M parameters at {bits:g} "
            "bits take "
            f"{least / 1e6:.4g}"
            + (f", and at 16 bits {half / 1e6:.4g}: it is as large as fp16" if unquantised else ""),
            cause="the file was not quantised, or its types are expanded on disk"
            if unquantised
            else "cause unknown; other tensors in the file, part of the model left out, another unit, or other bits",
            remedy="List the tensors of the file with their types and sizes",
        )
    ]


def _ours(subject: Subject, policy: CheckPolicy) -> list[Finding]:
    found = []
    for row in subject.rows:
        if isinstance(row.artifact, Absent) or row.role == "null":
            continue
        claims = {spec.kind: bits for spec in row.artifact.transforms if (bits := _claimed(spec)) is not None}
        for change in row.artifact.changes:
            bits = claims.get(change.kind)
            if bits is None or bits > 8 or change.bytes_after < policy.size_of_half * change.bytes_before:
                continue
            found.append(
                Finding(
                    check=NAME,
                    severity="ERR",
                    cells=(subject.cell(row.name, "weight_bytes"), subject.cell(row.name, "bits_per_weight")),
                    numbers={"bytes_before": float(change.bytes_before), "bytes_after": float(change.bytes_after)},
                    summary=f"{row.name}: {change.kind} to {bits} bits left {change.bytes_after:,} of "
                    f"{change.bytes_before:,} bytes in the layers that it changed",
                    cause="the change did not shrink what it changed",
                    remedy="List the tensors of the artifact with their types and sizes",
                )
            )
    return found


def _levels(subject: Subject) -> list[Finding]:
    """Weights in memory that have more different values than their bits: the runtime probed them once loaded."""
    names = dict.fromkeys(run.variant for run in subject.runs() if run.facts.get("weights_have_claimed_bits") is False)
    return [
        Finding(
            check=NAME,
            severity="ERR",
            cells=(subject.cell(name, "weight_bytes"), subject.cell(name, "bits_per_weight")),
            summary=f"the palettized weights of {name} have more different values than their bits",
            cause="other weights were loaded than those that were built, or the palettes were not applied",
            remedy="Build the artifact again, and compare its digest with the one that ran",
        )
        for name in names
    ]


def _claimed(spec: TransformSpec) -> int | None:
    bits = spec.options.get("bits")
    if isinstance(bits, int):
        return bits
    return 8 if spec.kind.startswith("int8") else 4 if spec.kind.startswith("int4") else None
