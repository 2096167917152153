"""Reads optimum-benchmark's JSON, a report alone or with its configuration, and its flat CSV. It refuses other JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from assay.core.figures import FigureTable
from assay.core.records import Scalar
from assay.judge.imports.builder import Builder, csv_rows, number, numbers, text
from assay.judge.imports.document import Document

NAME = "optimum-benchmark"
_FLAT = re.compile(r"\breport\.\w+\.latency\.mean\b")
_PHASES = ("load_model", "load", "prefill", "decode", "per_token", "forward", "call", "overall", "warmup", "train")
_TIMES = {
    "load_model": "load_s", "load": "load_s", "prefill": "prefill_s", "decode": "call_s@decode", "per_token": "tpot_s",
    "forward": "call_s", "call": "call_s", "train": "train_step_s",
}  # fmt: skip
_RATES = {
    ("prefill", "tokens/s"): "prefill_tok_per_s", ("decode", "tokens/s"): "decode_tok_per_s",
    ("forward", "samples/s"): "items_per_s", ("call", "images/s"): "items_per_s",
    ("train", "samples/s"): "items_per_s@train",
}  # fmt: skip
_BYTES = {"B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9}
_JOULES = {"kWh": 3.6e6, "Wh": 3600.0, "J": 1.0}
_DDOF = 0
"""optimum-benchmark divides by n."""


def recognises(document: Document) -> bool:
    """True for a report, alone or beside its configuration, as JSON or as the flat CSV of it."""
    if document.is_json:
        return _report(document.json) is not None
    return bool(_FLAT.search(document.head.partition("\n")[0]))


def read(document: Document) -> tuple[FigureTable, ...]:
    """One row for each benchmark, with the phases as metrics."""
    benchmarks = [document.json] if document.is_json else _from_csv(document)
    builder = Builder(document.stem, document.name, {"ddof": _DDOF})
    for benchmark in benchmarks:
        report = _report(benchmark) or {}
        config = benchmark.get("config") if isinstance(benchmark.get("config"), Mapping) else {}
        row = builder.row(text(config, "name") or document.stem, _facts(config))
        if row is None:
            break
        for phase in _PHASES:
            if isinstance(report.get(phase), Mapping):
                _phase(builder, row, phase, report[phase])
        for phase in report:
            if phase not in _PHASES:
                builder.unread(f"{str(phase)[:60]!r} of the report")
    return builder.build()


def _from_csv(document: Document) -> list[dict[str, Any]]:
    """Benchmarks from columns such as `report.prefill.latency.mean`."""
    found: list[dict[str, Any]] = []
    for row in csv_rows(document):
        nested: dict[str, Any] = {}
        for key, value in row.items():
            place = nested
            *path, last = key.split(".")[:8]
            for step in path:
                inner = place.setdefault(step, {})
                place = inner if isinstance(inner, dict) else {}
            place[last] = value
        found.append(nested)
    return found


def _report(content: Any) -> Mapping[str, Any] | None:
    if not isinstance(content, Mapping):
        return None
    report = content.get("report", content)
    if not isinstance(report, Mapping):
        return None
    parts = [report[phase] for phase in _PHASES if isinstance(report.get(phase), Mapping)]
    return report if any("latency" in part and "memory" in part for part in parts) else None


def _phase(builder: Builder, row: str, phase: str, part: Mapping[str, Any]) -> None:
    latency = part.get("latency")
    values = numbers(latency.get("values")) if isinstance(latency, Mapping) else []
    if phase in _TIMES and number(latency, "mean") is not None:
        builder.figure(
            row, _TIMES[phase], number(latency, "mean"), std=number(latency, "stdev") if len(values) != 1 else None,
            minimum=min(values) if values else None, maximum=max(values) if values else None,
            samples=number(latency, "count") or (len(values) or None), where=f"{phase}.latency.mean",
        )  # fmt: skip
        builder.recognised(f"{phase}.latency: {_TIMES[phase]}")
    elif isinstance(latency, Mapping):
        builder.unread(f"{phase}.latency: no metric of ours")
    unit = text(part, "throughput", "unit")
    if unit is not None:
        metric = _RATES.get((phase, unit))
        if metric:
            builder.figure(row, metric, number(part, "throughput", "value"), where=f"{phase}.throughput")
            builder.recognised(f"{phase}.throughput: {metric}")
        elif (phase, unit) != ("per_token", "tokens/s"):
            builder.unread(f"{phase}.throughput in {unit}")
    scale = _BYTES.get(text(part, "memory", "unit") or "")
    if scale:
        for key, metric in (("max_ram", "peak_rss_bytes"), ("max_allocated", "device_peak_bytes")):
            builder.figure(
                row, f"{metric}@{phase}", number(part, "memory", key), factor=scale, where=f"{phase}.memory.{key}"
            )
    scale = _JOULES.get(text(part, "energy", "unit") or "")
    if scale:
        builder.figure(
            row, f"energy_j@{phase}", number(part, "energy", "total"), factor=scale, where=f"{phase}.energy.total"
        )


def _facts(config: Any) -> dict[str, Scalar | None]:
    facts: dict[str, Scalar | None] = {
        "model": text(config, "backend", "model"),
        "runtime": text(config, "backend", "name"),
        "dtype": text(config, "backend", "torch_dtype") or text(config, "backend", "dtype"),
        "device": _device(config),
    }
    for name, keys in (
        ("batch", ("scenario", "input_shapes", "batch_size")),
        ("prompt_tokens", ("scenario", "input_shapes", "sequence_length")),
        ("new_tokens", ("scenario", "generate_kwargs", "max_new_tokens")),
    ):
        value = number(config, *keys)
        facts[name] = None if value is None else int(value)
    compiled = config.get("backend", {}).get("torch_compile") if isinstance(config.get("backend"), Mapping) else None
    facts["compiled"] = compiled if isinstance(compiled, bool) else None
    return facts


def _device(config: Any) -> str | None:
    asked = text(config, "backend", "device")
    environment = config.get("environment") if isinstance(config, Mapping) else None
    gpus = environment.get("gpu") if isinstance(environment, Mapping) else None
    if asked == "cpu":
        return text(config, "environment", "cpu") or asked
    if isinstance(gpus, list) and gpus and isinstance(gpus[0], str):
        return gpus[0][:200]
    return asked
