"""Rule 33: parts that must agree do not: variants of one model, a run and its artifact, lengths and the context."""

from __future__ import annotations

from assay.core.records import Absent, Artifact, Cell, Contract, Finding, Row
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import Entry, row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "contracts"
RULE = "33"

_SAME_MODEL = tuple(field for field in Contract.model_fields if field != "dtype")
_DTYPE_FACTS = ("activations_dtype", "effective_dtype")
_DTYPE_NAMES = {"fp32": "float32", "f32": "float32", "fp16": "float16", "f16": "float16", "bf16": "bfloat16"}


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare contracts between rows, between artifact and run, and with the lengths that were asked for."""
    findings: list[Finding] = []
    unseen: list[str] = []
    built = [(row, row.artifact) for row in subject.rows if not isinstance(row.artifact, Absent)]
    if len(built) < len(subject.rows):
        missing = ", ".join(row.name for row in subject.rows if isinstance(row.artifact, Absent))
        unseen.append(f"no artifact of {missing}")
    for row, artifact in built:
        findings += _against_first(subject, row, artifact, *built[0])
        findings += _against_runs(subject, row, artifact)
        findings += _against_quality(subject, row, artifact)
    if built and not any(fact in run.facts for run in subject.runs() for fact in _DTYPE_FACTS):
        unseen.append("no effective dtype in the facts of any run")
    return Answer((*findings, *_bundles(subject)), tuple(unseen))


_OF_A_BUNDLE = ("context", "mask_length", "cache_length", "vocab_size", "sliding_window", "dtype", "layers", "kv_heads")


def _bundles(subject: Subject) -> list[Finding]:
    """Parts of one bundle, stated as rows: each fact that two of them state must be the same."""
    bundles: dict[tuple[str, str], list[Entry]] = {}
    for entry in row_entries(subject):
        if entry.text("bundle"):
            bundles.setdefault((entry.label, entry.text("bundle")), []).append(entry)
    findings = []
    for (_, name), parts in bundles.items():
        stated = {fact: {p.name: str(p.fact(fact)) for p in parts if p.fact(fact) is not None} for fact in _OF_A_BUNDLE}
        unequal = [
            f"{fact.replace('_', ' ')} {', '.join(f'{value} in {part}' for part, value in values.items())}"
            for fact, values in stated.items()
            if len(set(values.values())) > 1
        ]
        cells = tuple(
            Cell(row=f.row, metric=f.metric, table=p.label)
            for p in parts
            for f in p.table.figures
            if f.row == p.row.name
        )
        if unequal and cells:
            findings.append(_finding(cells, f"the parts of {name} disagree: {'; '.join(unequal)}"))
    return findings


def _all_cells(subject: Subject, row: Row) -> tuple[Cell, ...]:
    """Every measured cell of a row: a bundle whose parts disagree has no sound number."""
    keys = [key for key, value in row.metrics.items() if not isinstance(value, Absent)]
    found = tuple(subject.cell(row.name, key.partition("@")[0], key.partition("@")[2]) for key in keys)
    return found or (Cell(row=row.name, metric="load_s"),)


def _against_first(subject: Subject, row: Row, ours: Artifact, first: Row, theirs: Artifact) -> list[Finding]:
    unequal = [
        f"{field} {getattr(ours.contract, field)} against {getattr(theirs.contract, field)}"
        for field in _SAME_MODEL
        if getattr(ours.contract, field) != getattr(theirs.contract, field)
    ]
    if not unequal:
        return []
    return [_finding(_all_cells(subject, row), f"{row.name} and {first.name} are not one model: {'; '.join(unequal)}")]


def _against_runs(subject: Subject, row: Row, artifact: Artifact) -> list[Finding]:
    said: dict[str, None] = {}
    for run in subject.runs():
        if run.variant != row.name:
            continue
        if run.artifact != artifact.digest:
            said[f"ran the artifact {run.artifact[:12]}, not {artifact.digest[:12]}"] = None
        for fact in _DTYPE_FACTS:
            effective = str(run.facts.get(fact, artifact.contract.dtype)).removeprefix("torch.")
            if _DTYPE_NAMES.get(effective, effective) != artifact.contract.dtype:
                said[f"ran with {fact} {effective}; its contract says {artifact.contract.dtype}"] = None
        workload = run.workload
        asked = workload.positions
        if workload.kind != "load" and asked > artifact.contract.context_length:
            said[f"was asked for {asked} tokens; its context holds {artifact.contract.context_length}"] = None
    return [_finding(_all_cells(subject, row), f"{row.name} {text}") for text in said]


def _against_quality(subject: Subject, row: Row, artifact: Artifact) -> list[Finding]:
    quality = subject.quality_of(row.name)
    if quality is None:
        return []
    said: list[str] = []
    if quality.artifact != artifact.digest:
        said.append(f"quality is of the artifact {quality.artifact[:12]}, not of {artifact.digest[:12]}")
    if quality.context > artifact.contract.context_length:
        said.append(f"quality used windows of {quality.context}; the context holds {artifact.contract.context_length}")
    cells = tuple(subject.cell(row.name, metric) for metric in quality.metrics) or (
        Cell(row=row.name, metric="kl_nats"),
    )
    return [_finding(cells, f"{row.name}: {text}") for text in said]


def _finding(cells: tuple[Cell, ...], summary: str) -> Finding:
    return Finding(
        check=NAME,
        severity="ERR",
        cells=cells,
        summary=summary,
        cause="parts of different builds or models were put together",
        remedy="Build the variants of a study from one source, and measure what was built",
    )
