"""The source had lost precision before the study began, so no figure here is against the model as it was trained."""

from __future__ import annotations

import re

from assay.core.records import Absent, Artifact, Cell, Finding, Row
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.policy import CheckPolicy

NAME = "source_quantised"
RULE = "22"
_QUALITY = ("perplexity", "perplexity_ratio", "kl_nats", "top1_agreement")


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Say it once of all rows, and warn of a variant that quantises to the very bits that the source has."""
    if subject.source is None or isinstance(subject.source.quantisation, Absent):
        return Answer()
    source = subject.source.quantisation
    rows = [row for row in subject.rows if row.role != "null"]
    findings = [_all_rows(source, rows)] if rows else []
    bits = _bits(source)
    if bits is None:
        return Answer(tuple(findings), (f"no bits are known of the source type {source}",))
    findings += [
        _same_bits(source, bits, row)
        for row in rows
        if not isinstance(row.artifact, Absent) and bits in _transform_bits(row.artifact)
    ]
    return Answer(tuple(findings))


def _bits(source: str) -> int | None:
    """Bits of a GGUF type's name: `Q4_1` and `IQ4_NL` 4, `Q8_0` 8."""
    found = re.search(r"I?Q(\d)", source.upper())
    return int(found.group(1)) if found else None


def _transform_bits(artifact: Artifact) -> set[int]:
    """Bits that the transforms quantise weights to, by their option or by their name."""
    found: set[int] = set()
    for transform in artifact.transforms:
        bits = transform.options.get("bits")
        named = re.match(r"int(\d+)", transform.kind)
        if isinstance(bits, int):
            found.add(bits)
        elif named:
            found.add(int(named.group(1)))
    return found


def _cells(row: Row) -> tuple[Cell, ...]:
    return tuple(Cell(row=row.name, metric=metric) for metric in _QUALITY if metric in row.metrics)


def _all_rows(source: str, rows: list[Row]) -> Finding:
    cells = tuple(cell for row in rows for cell in _cells(row))
    return Finding(
        check=NAME,
        severity="INFO",
        cells=cells or tuple(Cell(row=row.name, metric="perplexity") for row in rows),
        numbers={"source": source},
        summary=f"the source is quantised already: the reference too holds what {source} left of the weights",
        cause=f"the weights were read from a {source} file and widened",
        remedy="For quality against the trained model, start from its unquantised weights",
    )


def _same_bits(source: str, bits: int, row: Row) -> Finding:
    return Finding(
        check=NAME,
        severity="WARN",
        cells=_cells(row) or (Cell(row=row.name, metric="perplexity"),),
        numbers={"source": source, "bits": float(bits)},
        summary=f"{row.name} quantises to {bits} bits weights that came from {source}: its loss is understated",
        cause=f"the weights lie on a {bits}-bit grid already, which another {bits}-bit grid fits too well",
        remedy="Judge this variant on a source of full precision",
    )
