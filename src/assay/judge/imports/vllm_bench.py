"""Reads what vLLM's benchmarks write: serving, latency and throughput, as JSON or as printed. It refuses other JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from assay.core.figures import FigureTable
from assay.core.records import Scalar
from assay.judge.imports.builder import Builder, number, numbers, text
from assay.judge.imports.document import Document

NAME = "vllm-bench"
_PRINTED = re.compile(r"^=+ Serving Benchmark Result =+\s*$", re.MULTILINE)
_LINE = re.compile(r"^\s*#?\s*([A-Z][\w /().%-]{2,60}):\s+([\d.]+)\s*$")
_SPREADS = (("ttft", "ttft_s"), ("tpot", "tpot_s"), ("itl", "tpot_s@inter-token"), ("e2el", "end_to_end_s"))
_NAMES = {
    "Successful requests": "completed", "Benchmark duration (s)": "duration",
    "Total input tokens": "total_input_tokens",
    "Total generated tokens": "total_output_tokens", "Request throughput (req/s)": "request_throughput",
    "Output token throughput (tok/s)": "output_throughput", "Maximum request concurrency": "max_concurrency",
}  # fmt: skip


def recognises(document: Document) -> bool:
    """True for the keys of one of the three benchmarks, or the printed frame."""
    if not document.is_json:
        return bool(_PRINTED.search(document.text))
    return any(_kind(each) for each in _entries(document.json)[:3])


def read(document: Document) -> tuple[FigureTable, ...]:
    """One row for each result."""
    builder = Builder(document.stem, document.name)
    entries = _entries(document.json) if document.is_json else _printed(document.text)
    for place, entry in enumerate(entries, 1):
        kind = _kind(entry)
        row = (
            builder.row(text(entry, "model_id") or text(entry, "label") or f"run {place}", _facts(entry))
            if kind
            else None
        )
        if row is None:
            builder.unread(f"entry {place}: not recognised")
            continue
        _READ[kind](builder, row, entry)
    builder.recognised("mean, std of ttft, tpot, itl, e2el in ms; throughputs of requests and output tokens")
    return builder.build()


def _entries(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _kind(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return ""
    if "mean_ttft_ms" in entry or {"request_throughput", "output_throughput"} <= set(entry):
        return "serve"
    if "avg_latency" in entry and "latencies" in entry:
        return "latency"
    return "throughput" if {"elapsed_time", "requests_per_second"} <= set(entry) else ""


def _serve(builder: Builder, row: str, entry: Mapping[str, Any]) -> None:
    completed = number(entry, "completed")
    for key, metric in _SPREADS:
        builder.figure(
            row, metric, number(entry, f"mean_{key}_ms"), factor=1e-3, std=number(entry, f"std_{key}_ms"),
            samples=completed if key in ("ttft", "e2el") else None, where=f"mean_{key}_ms",
        )  # fmt: skip
    builder.figure(row, "items_per_s", number(entry, "request_throughput"), where="request_throughput")
    builder.figure(row, "tok_per_s@output", number(entry, "output_throughput"), where="output_throughput")


def _latency(builder: Builder, row: str, entry: Mapping[str, Any]) -> None:
    values = numbers(entry.get("latencies"))
    if values:
        builder.sampled(row, "end_to_end_s", values, where="latencies")
    else:
        builder.figure(row, "end_to_end_s", number(entry, "avg_latency"), where="avg_latency")


def _throughput(builder: Builder, row: str, entry: Mapping[str, Any]) -> None:
    builder.figure(row, "items_per_s", number(entry, "requests_per_second"), where="requests_per_second")
    builder.figure(row, "tok_per_s@input and output", number(entry, "tokens_per_second"), where="tokens_per_second")


_READ = {"serve": _serve, "latency": _latency, "throughput": _throughput}


def _facts(entry: Mapping[str, Any]) -> dict[str, Scalar | None]:
    completed = number(entry, "completed")
    facts: dict[str, Scalar | None] = {"model": text(entry, "model_id"), "runtime": text(entry, "backend") or "vllm"}
    concurrency = number(entry, "max_concurrency")
    facts["concurrency"] = None if concurrency is None else int(concurrency)
    facts["duration_s"] = number(entry, "duration") or number(entry, "elapsed_time")
    for name, key in (("prompt_tokens", "total_input_tokens"), ("new_tokens", "total_output_tokens")):
        total = number(entry, key)
        if total is not None and completed and total % completed == 0:
            facts[name] = int(total // completed)
    return facts


def _printed(content: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for part in _PRINTED.split(content)[1:200]:
        entry: dict[str, Any] = {}
        for line in part.splitlines()[:80]:
            pair = _LINE.match(line[:200])
            if pair and len(pair[2]) < 30 and pair[2].count(".") <= 1 and pair[2] != ".":
                entry[_NAMES.get(pair[1].strip(), _key(pair[1]))] = float(pair[2])
        found.append(entry)
    return found


def _key(name: str) -> str:
    spread = re.fullmatch(r"(Mean|Median|Std|P99) (TTFT|TPOT|ITL|E2EL) \(ms\)", name.strip())
    return f"{spread[1].lower()}_{spread[2].lower()}_ms" if spread else name.strip()
