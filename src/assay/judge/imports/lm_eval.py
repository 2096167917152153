"""Reads the results of the lm-evaluation-harness. It refuses scores whose meaning it does not know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from assay.core.figures import FigureTable
from assay.core.records import Scalar
from assay.judge.imports import facts as stated
from assay.judge.imports.builder import Builder, number, text
from assay.judge.imports.document import Document

NAME = "lm-eval"
_SCORES = {
    "acc": "accuracy", "exact_match": "accuracy", "acc_norm": "accuracy@normalised", "perplexity": "perplexity",
    "word_perplexity": "perplexity@word", "f1": "accuracy@f1", "pass@1": "accuracy",
}  # fmt: skip
_QUIET = frozenset({"alias", "samples", "name", "sample_len", "sample_count"})


def recognises(document: Document) -> bool:
    """True for results by task whose keys are `score,filter`."""
    if not document.is_json or not isinstance(document.json, Mapping):
        return False
    results = document.json.get("results")
    return isinstance(results, Mapping) and any(
        isinstance(task, Mapping) and any("," in str(key) for key in task) for task in results.values()
    )


def read(document: Document) -> tuple[FigureTable, ...]:
    """One row for each task."""
    content = document.json
    facts = _facts(content)
    builder = Builder(
        str(facts.get("model", document.stem)), document.name, {k: v for k, v in facts.items() if v is not None}
    )
    for task, scores in content["results"].items():
        if not isinstance(scores, Mapping):
            builder.unread(f"{str(task)[:60]}: no scores")
            continue
        row = builder.row(str(task)[:100], {"dataset": str(task)[:100]})
        if row is None:
            break
        for key in scores:
            _score(builder, row, str(key), scores)
    return builder.build()


def _score(builder: Builder, row: str, key: str, scores: Mapping[str, Any]) -> None:
    name, _, filtered = key.partition(",")
    if name.endswith("_stderr") or name in _QUIET:
        return
    if name not in _SCORES:
        builder.unread(f"{row}: {key[:60]} is no metric of ours")
        return
    metric = _SCORES[name]
    if filtered not in ("none", "") and "@" not in metric:
        metric = f"{metric}@{filtered[:40]}"
    error = number(scores, f"{name}_stderr,{filtered}") if filtered else number(scores, f"{name}_stderr")
    builder.figure(row, metric, number(scores, key), error=error, where=f"results.{row}.{key[:60]}")
    builder.recognised(f"{name}: {metric}")


def _facts(content: Mapping[str, Any]) -> dict[str, Scalar | None]:
    arguments = content.get("config", {}).get("model_args") if isinstance(content.get("config"), Mapping) else None
    written = dict(re.findall(r"(\w+)=([^,=]{1,100})", arguments[:2000])) if isinstance(arguments, str) else {}
    if isinstance(arguments, Mapping):
        written = {str(key): str(value)[:100] for key, value in arguments.items()}
    batch = number(content, "config", "batch_size")
    dtype = written.get("dtype")
    return {
        "model": text(content, "model_name") or written.get("pretrained"),
        "dtype": stated.dtype_in(dtype) if dtype else None,
        "device": text(content, "config", "device"),
        "batch": int(batch) if batch else None,
        "runtime": text(content, "model_source") or text(content, "config", "model"),
    }
