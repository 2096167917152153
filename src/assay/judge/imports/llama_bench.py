"""Reads llama-bench's JSON, JSON lines and CSV, and what Assay exports in that form. It refuses other JSON.

The Markdown that llama-bench prints is a table like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.core.figures import FigureTable
from assay.core.records import Scalar
from assay.judge.imports import facts as stated
from assay.judge.imports.builder import Builder, csv_rows, number, numbers, text
from assay.judge.imports.document import Document

NAME = "llama-bench"
_METRICS = {
    "generate": ("tok_per_s", "end_to_end_s"),
    "prefill": ("prefill_tok_per_s", "prefill_s"),
    "decode": ("decode_tok_per_s", "call_s@decode"),
}
_KEYS = frozenset({"n_prompt", "n_gen", "avg_ts"})


def recognises(document: Document) -> bool:
    """True for a list of tests."""
    if document.is_json:
        content = document.json
        return isinstance(content, list) and any(
            isinstance(each, Mapping) and set(each) >= _KEYS for each in content[:5]
        )
    first = document.head.partition("\n")[0]
    return set(first.replace('"', "").split(",")) >= _KEYS


def read(document: Document) -> tuple[FigureTable, ...]:
    """One row for each test."""
    tests = document.json if document.is_json else csv_rows(document)
    builder = Builder(document.stem, document.name, {"ddof": 1})
    for place, test in enumerate(tests):
        if isinstance(test, Mapping) and set(test) >= _KEYS:
            _test(builder, test, place)
        else:
            builder.unread(f"entry {place + 1}: no test of llama-bench")
    builder.recognised("avg_ts with stddev_ts: prefill or decode in tokens per second, by n_prompt and n_gen")
    builder.recognised("avg_ns with stddev_ns: time of the whole test")
    return builder.build()


def _test(builder: Builder, test: Mapping[str, Any], place: int) -> None:
    prompt, new = (int(number(test, key) or 0) for key in ("n_prompt", "n_gen"))
    depth = int(number(test, "n_depth") or 0)
    title = " + ".join([*([f"pp{prompt}"] if prompt else []), *([f"tg{new}"] if new else [])])
    title += f" @ d{depth}" if depth else ""
    model = text(test, "model_type") or text(test, "model_filename") or "model"
    gpu, cpu, layers = text(test, "gpu_info"), text(test, "cpu_info"), number(test, "n_gpu_layers")
    raw = numbers(test.get("samples_ns"))
    facts: dict[str, Scalar | None] = {
        "model": model,
        "dtype": stated.dtype_in(model),
        "runtime": f"llama.cpp {text(test, 'backends') or ''}".strip(),
        "device": gpu if gpu and layers != 0 else cpu,
        "threads": _whole(test, "n_threads"),
        "batch": 1,
        "prompt_tokens": prompt or depth or None,
        "new_tokens": new or None,
        "parameters": _whole(test, "model_n_params"),
        "phase": "generate" if prompt and new else "prefill" if prompt else "decode",
        "samples": len(raw) or None,
    }
    row = builder.row(f"{model}, {title}", facts)
    if row is None:
        return
    rate, time = _METRICS[str(facts["phase"])]
    rates = numbers(test.get("samples_ts"))
    several = len(raw) != 1
    builder.figure(
        row, rate, number(test, "avg_ts"), std=number(test, "stddev_ts") if several else None,
        minimum=min(rates) if rates else None, maximum=max(rates) if rates else None, samples=len(rates) or None,
        where=f"entry {place + 1}, avg_ts",
    )  # fmt: skip
    builder.figure(
        row, time, number(test, "avg_ns"), factor=1e-9, std=number(test, "stddev_ns") if several else None,
        minimum=min(raw) if raw else None, maximum=max(raw) if raw else None, samples=len(raw) or None,
        where=f"entry {place + 1}, avg_ns",
    )  # fmt: skip
    builder.figure(row, "weight_bytes", number(test, "model_size"), where=f"entry {place + 1}, model_size")


def _whole(test: Mapping[str, Any], key: str) -> int | None:
    value = number(test, key)
    return None if value is None else int(value)
