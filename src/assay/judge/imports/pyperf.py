"""Reads pyperf's JSON: benchmarks with their runs' raw values. It refuses values that are no seconds."""

from __future__ import annotations

from collections.abc import Mapping

from assay.core.figures import FigureTable
from assay.core.records import Scalar
from assay.judge.imports import facts as stated
from assay.judge.imports.builder import Builder, numbers, text
from assay.judge.imports.document import Document

NAME = "pyperf"


def recognises(document: Document) -> bool:
    """True for a suite of benchmarks with runs."""
    if not document.is_json or not isinstance(document.json, Mapping):
        return False
    benchmarks = document.json.get("benchmarks")
    return isinstance(benchmarks, list) and any(
        isinstance(b, Mapping) and isinstance(b.get("runs"), list) for b in benchmarks
    )


def read(document: Document) -> tuple[FigureTable, ...]:
    """One row for each benchmark: mean, spread and extremes of all its values."""
    content = document.json
    common = content.get("metadata")
    builder = Builder(document.stem, document.name, {"ddof": 1})
    for place, benchmark in enumerate(content["benchmarks"], 1):
        if not isinstance(benchmark, Mapping):
            builder.unread(f"benchmark {place}: no benchmark")
            continue
        runs = benchmark.get("runs")
        kept = [run for run in runs if isinstance(run, Mapping)] if isinstance(runs, list) else []
        values = [value for run in kept for value in numbers(run.get("values"))]
        own = benchmark.get("metadata")
        name = text(own, "name") or text(common, "name") or f"benchmark {place}"
        unit = text(own, "unit") or text(common, "unit") or "second"
        if not values or unit != "second":
            builder.unread(f"{name}: {'no values' if not values else f'values in {unit}'}")
            continue
        facts: dict[str, Scalar | None] = {
            "samples": len(values),
            "device": text(common, "cpu_model_name"),
            **stated.label_facts(name),
        }
        row = builder.row(name, facts)
        if row is not None:
            builder.sampled(row, "call_s", values, where=f"benchmark {place}, values")
    builder.recognised("values of all runs: time per call (mean computed here), warm-up values left out")
    return builder.build()
