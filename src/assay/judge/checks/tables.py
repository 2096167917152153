"""Figures for the checks: of a study from its own records, or as they were read of another tool.

It refuses to add a figure or a fact that no record states.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import stdev

from assay.core.figures import Figure, FigureRow, FigureTable
from assay.core.records import Absent, Estimate, Measured, Row, Run, Scalar, Workload
from assay.judge.checks.base import RATES, TIMES, Subject

_WIDTH_OF_95 = 2 * 1.959964
_DTYPE_FACTS = ("effective_dtype", "activations_dtype")
_CONTRACT_FACTS = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "gated_mlp": "gated_mlp",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "tied": "tie_word_embeddings",
    "family": "architecture",
}


def subject_of_tables(tables: Sequence[FigureTable], facts: Mapping[str, Scalar] | None = None) -> Subject:
    """A subject of another tool's figures alone: no rounds, no samples, nothing known of the machine.

    Args:
        tables: as they were read.
        facts: of the set-up, as the user stated them; a row's own facts stand above them, they above a table's.
    """
    given = dict(facts or {})
    return Subject(
        rows=(),
        rounds=(),
        quality=(),
        comparisons=(),
        null_estimates=(),
        environment=None,
        source=None,
        tables=tuple(table.model_copy(update={"facts": {**table.facts, **given}}) for table in tables),
    )


def with_tables(subject: Subject) -> Subject:
    """The subject with its own figures, where it has rows and no tables yet."""
    return subject if subject.tables or not subject.rows else replace(subject, tables=(native_table(subject),))


def native_table(subject: Subject) -> FigureTable:
    """The figures and facts of a study: one row for each of its rows, workload by workload."""
    runs = list(subject.runs())
    rows: list[FigureRow] = []
    figures: list[Figure] = []
    workloads = {run.workload.name: run.workload for run in runs}
    for row in subject.rows:
        mine = [run for run in runs if run.variant == row.name]
        rows.append(FigureRow(name=row.name, facts=_facts(row, mine)))
        figures += [
            made
            for key, value in row.metrics.items()
            if (made := _figure(row.name, key, value, mine, workloads)) is not None
        ]
    facts: dict[str, Scalar] = {"ddof": 1}
    if subject.source is not None:
        facts["model"] = subject.source.location
    return FigureTable(title="study", source="", rows=tuple(rows), figures=tuple(figures), facts=facts)


def _figure(
    row: str, key: str, value: Measured | Estimate, runs: Sequence[Run], workloads: Mapping[str, Workload]
) -> Figure | None:
    if isinstance(value, Absent):
        return None
    metric, _, named = key.partition("@")
    sampled = TIMES.get(metric, metric)
    of_workload: dict[str, list[float]] = {}
    for run in runs:
        for samples in run.samples:
            if samples.metric == sampled and (not named or run.workload.name == named):
                of_workload.setdefault(run.workload.name, []).extend(samples.steady)
    at = named or (next(iter(of_workload)) if len(of_workload) == 1 else "")
    values = of_workload.get(at, [])
    error: Measured = Absent(reason="no interval is known")
    if isinstance(value, Estimate):
        error = (value.high - value.low) / _WIDTH_OF_95
    repeated = len(values) > 1 and metric not in RATES.values()
    return Figure(
        row=row,
        metric=key if named or at not in workloads or workloads[at].kind == "load" else f"{metric}@{at}",
        value=value.value if isinstance(value, Estimate) else value,
        std=stdev(values) if repeated else Absent(reason="no spread of single calls"),
        samples=len(values) if values else Absent(reason="not sampled call by call"),
        minimum=min(values) if repeated else Absent(reason="not sampled call by call"),
        maximum=max(values) if repeated else Absent(reason="not sampled call by call"),
        error=error if isinstance(error, Absent) or math.isfinite(error) else Absent(reason="no finite interval"),
    )


def _facts(row: Row, runs: Sequence[Run]) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {"role": row.role}
    if not isinstance(row.artifact, Absent):
        artifact = row.artifact
        facts |= {name: getattr(artifact.contract, field) for name, field in _CONTRACT_FACTS.items()}
        facts |= {
            "dtype": artifact.contract.dtype,
            "parameters": artifact.parameter_count,
            "weight_bits": artifact.bits_per_weight,
            "resident_weight_bytes": artifact.resident_weight_bytes,
            "decode_weight_bytes": artifact.decode_weight_bytes,
        }
    if runs:
        facts |= {"runtime": runs[0].target.runtime, "device": runs[0].target.device}
        facts |= _known(("threads", "compiled", "requested_device", "requested_dtype", "matmul_precision"), runs)
        effective = next((run.facts[name] for run in runs for name in _DTYPE_FACTS if name in run.facts), None)
        if effective is not None:
            facts["dtype"] = str(effective)
    for workload in {run.workload.name: run.workload for run in runs}.values():
        facts |= {
            f"{name}@{workload.name}": value
            for name, value in (
                ("phase", workload.kind),
                ("batch", workload.batch),
                ("prompt_tokens", workload.prompt_tokens),
                ("new_tokens", workload.new_tokens),
            )
        }
    return facts


def _known(names: Iterable[str], runs: Sequence[Run]) -> dict[str, Scalar]:
    return {name: run.facts[name] for run in runs for name in names if name in run.facts}
