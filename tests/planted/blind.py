"""Faults that were written from the healthy results alone, before the rules on figures were written or read.

What their author knew: the healthy results of `healthy.py`, the specification's list of suspicions, which had to be
read first, and the fifteen checks on a study's own records. No check of a pasted table existed then. None of these
faults has been changed to suit a rule since. They refuse to say which rule should see them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from assay.core.figures import FigureRow, FigureTable

Edit = Callable[[FigureTable], FigureTable]


def figures(table: FigureTable, change: Callable[[Any], Any]) -> FigureTable:
    """The table with every figure as `change` gives it back; None leaves it out."""
    kept = (change(figure) for figure in table.figures)
    return table.model_copy(update={"figures": tuple(figure for figure in kept if figure is not None)})


def scaled(row: str, metric: str, factor: float, *, spread: bool = True) -> Edit:
    """One cell times a factor, its spread too."""

    def change(figure: Any) -> Any:
        if figure.row != row or figure.metric.partition("@")[0] != metric:
            return figure
        std = figure.std * factor if spread and isinstance(figure.std, float) else figure.std
        return figure.model_copy(update={"value": figure.value * factor, "std": std})

    return lambda table: figures(table, change)


def column(metric: str, factor: float) -> Edit:
    """A whole column times a factor."""
    return lambda table: figures(
        table,
        lambda f: f.model_copy(update={"value": f.value * factor}) if f.metric.partition("@")[0] == metric else f,
    )


def relabelled(names: dict[str, str]) -> Edit:
    """Figures under other rows' names, while the facts of the rows stay where they were."""
    return lambda table: figures(table, lambda f: f.model_copy(update={"row": names.get(f.row, f.row)}))


def stated(**facts: Any) -> Edit:
    """Another fact about the whole table, in every row that states it too."""

    def edit(table: FigureTable) -> FigureTable:
        rows = tuple(
            FigureRow(name=row.name, facts={**row.facts, **{k: v for k, v in facts.items() if k in row.facts}})
            for row in table.rows
        )
        return table.model_copy(update={"rows": rows, "facts": {**table.facts, **facts}})

    return edit


def copied(target: str, origin: str) -> Edit:
    """The figures of one row pasted into another."""

    def change_all(table: FigureTable) -> FigureTable:
        source = {f.metric: f for f in table.figures if f.row == origin}
        return figures(
            table,
            lambda f: (
                source[f.metric].model_copy(update={"row": target}) if f.row == target and f.metric in source else f
            ),
        )

    return change_all


def cold_first(row: str, metric: str, times: float, samples: int = 10) -> Edit:
    """The first of n calls took `times` as long as the others and stayed in the mean and the deviation."""

    def change(figure: Any) -> Any:
        if figure.row != row or figure.metric != metric:
            return figure
        mean = figure.value * (samples - 1 + times) / samples
        std = figure.value * (times - 1) / samples**0.5
        return figure.model_copy(update={"value": mean, "std": std})

    return lambda table: figures(table, change)


BLIND: dict[str, tuple[str, Edit]] = {
    "two sizes change places": ("training A100 float32", relabelled({"S": "XL", "XL": "S"})),
    "milliseconds read as seconds": ("training A100 bfloat16", column("forward_s", 1000.0)),
    "one cell in other units": ("training RTX float32", scaled("M", "backward_s", 1000.0)),
    "compilation in the first timed call": ("training A100 float32", cold_first("S", "forward_s", 60.0)),
    "a backward below zero": ("training V100 float16", scaled("S", "backward_s", -0.02)),
    "a backward that timed the forward": ("training RTX bfloat16", scaled("L", "backward_s", 0.49)),
    "a whole without its backward": ("training A100 float32", scaled("L", "train_step_s", 0.34)),
    "tokens counted without the batch": ("precisions A100", column("tok_per_s", 1 / 8)),
    "one row counted the batch twice": ("precisions H100", scaled("float16", "tok_per_s", 16.0)),
    "tf32 behind the name fp32": ("precisions A100", lambda t: column("tok_per_s", 5.0)(
        figures(t, lambda f: f.model_copy(update={"value": f.value / 5.0, "std": f.std / 5.0})
                if f.row == "float32" and f.metric == "forward_s" else f))),
    "energy of the idle machine": ("precisions T4", column("energy_j", 0.2)),
    "power in milliwatts": ("precisions H100", column("power_w", 1000.0)),
    "no device synchronisation": ("lengths V100", lambda t: figures(
        t, lambda f: f.model_copy(update={"value": 0.0021, "std": 0.00002}) if f.metric == "prefill_s" else None)),
    "a cached answer for the longest": ("lengths T4", scaled("1024 tokens", "prefill_s", 0.04)),
    "the batch was not passed on": ("batches A100", lambda t: figures(
        t, lambda f: next(g for g in t.figures if g.row == "batch 1" and g.metric == f.metric).model_copy(
            update={"row": f.row}) if f.metric == "prefill_s" else f)),
    "compilation did nothing": ("compiled A100", lambda t: copied("L compiled", "L eager")(t)),
    "a speed-up from another table": ("compiled RTX", lambda t: t.model_copy(
        update={"ratios": tuple(r.model_copy(update={"value": r.value * 1.3}) for r in t.ratios)})),
    "int4 that was never quantised": ("decoding M2 Max", scaled("int4", "weight_bytes", 3.55)),
    "decoding faster than memory": ("decoding A100", lambda t: scaled("int8", "tpot_s", 0.2)(
        scaled("int8", "decode_tok_per_s", 5.0)(t))),
    "padding scored as text": ("perplexities", scaled("gpt2", "perplexity", 7.2)),
    "a perplexity in base two": ("perplexities stride 512", scaled("gpt2-large", "perplexity", 0.35)),
    "a window four times as short": ("contexts", scaled("window 1024", "perplexity", 1.48)),
    "labels flipped": ("classifier", lambda t: figures(
        t, lambda f: f.model_copy(update={"value": 1 - f.value}) if f.row == "int8" else f)),
    "a per cent as a fraction": ("classifier", scaled("float16", "accuracy", 0.01)),
    "the neural engine never ran": ("units M1", lambda t: copied("CPU and ANE", "CPU only")(t)),
    "another device's numbers": ("training A100 bfloat16", stated(device="T4")),
    "a decode that counts the prompt": ("decoding M1", column("decode_tok_per_s", 5.0)),
    "requests counted per second and user": ("serving A100", scaled("16 users", "items_per_s", 1 / 16)),
    "an end to end without the first token": ("serving A100", scaled("4 users", "end_to_end_s", 0.8)),
    "a quantised variant better than its source": ("decoding A100", scaled("int4", "perplexity", 0.9)),
}  # fmt: skip
"""By name: the healthy table it was made from, and what was done to it."""
