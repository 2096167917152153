"""Faults that were written with the rules in view: each rule has to find what it was made for, among healthy rows.

They refuse to be obvious: each leaves all other figures as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fixtures_result as recorded
from assay.core.figures import Figure, FigureTable
from assay.core.records import Absent, Estimate, Load, Roofs, Run, Samples, Workload
from assay.judge.checks.base import Subject
from planted.blind import Edit, copied, figures, scaled, stated

Change = Callable[[Subject], Subject]


def fact(row: str, **facts: Any) -> Edit:
    """Facts of one row."""
    return lambda table: table.model_copy(
        update={
            "rows": tuple(
                each.model_copy(update={"facts": {**each.facts, **facts}}) if each.name == row else each
                for each in table.rows
            )
        }
    )


def spread(row: str, metric: str, share: float) -> Edit:
    """A deviation of that share of the mean."""
    return lambda table: figures(
        table,
        lambda f: f.model_copy(update={"std": share * f.value}) if (f.row, f.metric) == (row, metric) else f,
    )


def added(row: str, **metrics: float) -> Edit:
    """Further figures of a row."""
    return lambda table: table.model_copy(
        update={"figures": (*table.figures, *(Figure(row=row, metric=name, value=v) for name, v in metrics.items()))}
    )


def both(*edits: Edit) -> Edit:
    """One edit after another."""

    def edit(table: FigureTable) -> FigureTable:
        for each in edits:
            table = each(table)
        return table

    return edit


def flat_layers(table: FigureTable) -> FigureTable:
    """Times that follow the number of layers alone."""
    layers = {row.name: int(row.facts["layers"]) for row in table.rows}  # type: ignore[call-overload]
    return figures(
        table,
        lambda f: (
            f.model_copy(update={"value": 4.1e-3 * layers[f.row], "std": 2e-5}) if f.metric == "forward_s" else None
        ),
    )


def same_overhead(table: FigureTable) -> FigureTable:
    """A fixed second in each call."""
    return figures(
        table,
        lambda f: f.model_copy(update={"value": f.value + 1.0}) if f.metric == "prefill_s" else None,
    )


INFORMED: dict[str, tuple[str, Edit]] = {
    "a deviation in other units": ("training RTX bfloat16", spread("M", "backward_s", 40.0)),
    "a scattered mean": ("training A100 float32", spread("M", "forward_s", 0.17)),
    "a fallback that kept its label": ("precisions A100", fact("float16", requested_device="cuda", device="cpu")),
    "another type than asked": ("precisions H100", fact("bfloat16", requested_dtype="bf16", dtype="fp32")),
    "an idle device": ("batches A100", added("batch 16", utilisation=0.01)),
    "tf32 before it existed": ("training V100 float16", stated(dtype="tf32")),
    "a constant power": ("precisions A100", lambda t: figures(
        t, lambda f: f.model_copy(update={"value": 250.0}) if f.metric == "power_w" else None
        if f.metric == "energy_j" else f)),
    "a power below idle": ("precisions T4", fact("float16", idle_w=69.0)),
    "a window of one update": ("precisions A100", fact("float16", energy_window_s=0.2, counter_period_s=0.1)),
    "operations that cost nothing": ("precisions H100", both(
        scaled("float16", "energy_j", 0.1), lambda t: figures(t, lambda f: None if f.metric == "power_w" else f))),
    "a peak with sparsity": ("batches A100", added("batch 16", achieved_flops_per_s=600e12)),
    "a mask of another length": ("units M4", both(
        fact("CPU only", bundle="smol", mask_length=2048), fact("all", bundle="smol", mask_length=8192))),
    "acceptance against its histogram": ("serving A100", both(
        fact("1 users", draft_tokens=3, acceptance_histogram=(60, 20, 10, 10)), added("1 users", acceptance_rate=0.8))),
    "drafts that cost too much": ("serving A100", both(
        fact("4 users", draft_tokens=4, draft_s=0.01, verify_s=0.014, plain_step_s=0.0126),
        added("4 users", acceptance_rate=0.6))),
    "calibrated on noise": ("decoding M2 Max", fact("int4", calibration_source="random", calibration_samples=128)),
    "all units slower than one": ("units M1", scaled("all", "prefill_s", 1.5)),
    "fast without the accelerator": ("units M1", fact(
        "CPU and ANE", compute_units="CPU and ANE", cpu_ops=980, ane_ops=20)),
    "overhead in place of products": ("training A100 bfloat16", flat_layers),
    "a second in every call": ("batches T4", same_overhead),
    "fewer bits and slower": ("precisions H100", both(
        scaled("float16", "forward_s", 12.0), scaled("float16", "tok_per_s", 1 / 12.0),
        scaled("float16", "energy_j", 12.0))),
    "a speed-up beyond the peaks": ("precisions T4", both(
        scaled("float32", "forward_s", 9.0), scaled("float32", "tok_per_s", 1 / 9.0),
        scaled("float32", "energy_j", 9.0))),
    "one answer to everything": ("classifier", both(stated(majority_share=0.5092), lambda t: figures(
        t, lambda f: f.model_copy(update={"value": 0.5092}) if f.row == "int8" else f))),
    "half of the batch": ("batches A100", scaled("batch 8", "prefill_s", 0.5)),
    "a shorter prompt behind the label": ("lengths T4", both(
        scaled("512 tokens", "prefill_s", 0.4), scaled("512 tokens", "prefill_tok_per_s", 2.5))),
    "no better than chance": ("perplexities", lambda t: figures(
        t, lambda f: f.model_copy(update={"value": 41000.0 if f.metric == "perplexity" else math.log(41000.0)})
        if f.row == "gpt2-xl" else f)),
    "a likelihood in bits": ("perplexities", scaled("gpt2-medium", "nll_nats", 1 / math.log(2))),
    "the same likelihood in another type": ("perplexities", lambda t: t.model_copy(update={
        "rows": (*t.rows, t.rows[0].model_copy(update={"name": "gpt2 fp16", "facts": {**t.rows[0].facts,
                                                                                  "dtype": "fp16"}})),
        "figures": (*t.figures, *(f.model_copy(update={"row": "gpt2 fp16", "digits": 6})
                                  for f in t.figures if f.row == "gpt2" and f.metric == "nll_nats"))})),
    "weights without their embedding": ("precisions A100", scaled("float32", "weight_bytes", 0.8)),
    "one of two phases compiled away": ("compiled RTX", copied("S compiled", "S eager")),
    "kilobytes among bytes": ("decoding M2 Max", scaled("int8", "weight_bytes", 1e-3)),
    "a rate beyond memory": ("llama-bench M2", scaled("tinyllama int4", "decode_tok_per_s", 6.0)),
    "a prompt rate beyond the peak": ("llama-bench T4", scaled("tinyllama int8", "prefill_tok_per_s", 4.0)),
}  # fmt: skip
"""By name: the healthy table it was made from, and what was done to it."""


# ------------------------------------------------------------------------------------------------ in studies of Assay


def runs(change: Callable[[Run], Run]) -> Change:
    """Every run as `change` gives it back."""
    return lambda subject: replace(
        subject,
        rounds=tuple(r.model_copy(update={"runs": tuple(change(run) for run in r.runs)}) for r in subject.rounds),
    )


def values(variant: str, metric: str, change: Callable[[tuple[float, ...]], tuple[float, ...]]) -> Change:
    """The samples of one variant's metric."""

    def of(run: Run) -> Run:
        if run.variant != variant:
            return run
        changed = tuple(
            Samples(metric=s.metric, values=change(s.values), block=s.block, warmup=s.warmup)
            if s.metric == metric
            else s
            for s in run.samples
        )
        return run.model_copy(update={"samples": changed})

    return runs(of)


def metrics(name: str, **changed: Any) -> Change:
    """Cells of one row, and of its quality record."""

    def edit(subject: Subject) -> Subject:
        rows = tuple(
            row.model_copy(update={"metrics": {**row.metrics, **changed}}) if row.name == name else row
            for row in subject.rows
        )
        quality = tuple(
            q.model_copy(update={"metrics": {**q.metrics, **{k: v for k, v in changed.items() if k in q.metrics}}})
            if q.variant == name
            else q
            for q in subject.quality
        )
        return replace(subject, rows=rows, quality=quality)

    return edit


def contract(name: str, **changed: Any) -> Change:
    """The contract of one row's artifact."""

    def edit(subject: Subject) -> Subject:
        rows = []
        for row in subject.rows:
            artifact = row.artifact
            if row.name == name and not isinstance(artifact, Absent):
                built = artifact.model_copy(update={"contract": artifact.contract.model_copy(update=changed)})
                row = row.model_copy(update={"artifact": built})
            rows.append(row)
        return replace(subject, rows=tuple(rows))

    return edit


def facts(variant: str, **changed: Any) -> Change:
    """Facts of one variant's runs."""
    return runs(
        lambda run: run.model_copy(update={"facts": {**run.facts, **changed}}) if run.variant == variant else run
    )


def after(**changed: Any) -> Change:
    """The state of the machine after each run."""

    def of(run: Run) -> Run:
        load: Load = run.environment.after.model_copy(update=changed)
        return run.model_copy(update={"environment": run.environment.model_copy(update={"after": load})})

    return runs(of)


def ceilings(flops: float, bandwidth: float) -> Change:
    """What the machine was measured to do."""
    roofs = Roofs(
        name="a machine",
        kind="measured",
        source="here",
        flops_per_s={"float32": flops, "bfloat16": flops},
        bytes_per_s=bandwidth,
        dispatch_floor_s={},
    )
    return lambda subject: replace(subject, roofs=roofs, environment=_small_cache(subject))


def _small_cache(subject: Subject) -> Any:
    assert subject.environment is not None
    machine = subject.environment.machine.model_copy(update={"cache_bytes": {"L3": 3_000_000}})
    return subject.environment.model_copy(update={"machine": machine})


def compared(ratio: float, outcome: str, variant: str = "int8") -> Change:
    """The comparison of a variant came out otherwise."""
    changed = recorded.compare("decode_tok_per_s", recorded.DECODE.name, variant, ratio, 0.01, outcome, "")
    return lambda s: replace(s, comparisons=tuple(changed if c.variant == variant else c for c in s.comparisons))


def null(ratio: float) -> Change:
    """The baseline against itself came out at that ratio."""
    changed = recorded.compare("decode_tok_per_s", recorded.DECODE.name, "bf16 (A/A)", ratio, 0.01, "better", "")
    return lambda s: replace(s, null_estimates=(changed,))


def twin(subject: Subject) -> Subject:
    """The baseline under another name, as a candidate."""
    row = subject.rows[1].model_copy(update={"name": "bf16 tuned", "role": "candidate"})
    again = tuple(
        r.model_copy(
            update={
                "runs": (
                    *r.runs,
                    *(run.model_copy(update={"variant": "bf16 tuned"}) for run in r.runs if run.variant == "bf16"),
                )
            }
        )
        for r in subject.rounds
    )
    return replace(subject, rows=(*subject.rows, row), rounds=again)


def random_weights(subject: Subject) -> Subject:
    """A model that was never trained, on which int8 agrees everywhere."""
    assert subject.source is not None
    changed = metrics("int8", kl_nats=0.0, top1_agreement=1.0)(subject)
    return replace(changed, source=subject.source.model_copy(update={"kind": "random"}))


def longer(subject: Subject) -> Subject:
    """A decode that asks for more tokens than the context holds."""
    asked = Workload(kind="decode", prompt_tokens=8192, new_tokens=64, text_digest="cd" * 32)
    return runs(lambda run: run.model_copy(update={"workload": asked}) if run.workload.kind == "decode" else run)(
        subject
    )


STUDIES: dict[str, tuple[str, Change]] = {
    "a clock that went back": ("study", values("int8", "tpot_s", lambda v: (*v[:-1], -1e-4))),
    "compiled in the first timed call": ("study", values("bf16", "prefill_s", lambda v: (30 * v[0] + 1, *v[1:]))),
    "a cold first call": ("study", values("int8", "tpot_s", lambda v: (2.5 * v[0], *v[1:]))),
    "a machine that heats up": ("study", values("bf16", "tpot_s", lambda v: tuple(
        x * (1 + 0.02 * i) for i, x in enumerate(v)))),
    "calls that scatter": ("study", values("fp32", "tpot_s", lambda v: tuple(
        x * (1.5 if i % 3 == 0 else 0.8) for i, x in enumerate(v)))),
    "a rate of other calls": ("study on a faster machine", metrics("int8", decode_tok_per_s=300.0)),
    "a model that broke": ("study", metrics("int8", nll_nats=10.7, perplexity=math.exp(10.7))),
    "a conversion that did not happen": ("study", metrics("int8", kl_nats=0.0, psnr_db=230.0)),
    "the reference's likelihood": ("study with more rounds", metrics("bf16", nll_nats=3.3728,
                                                                        perplexity=math.exp(3.3728))),
    "another model's vocabulary": ("study", contract("int8", vocab_size=50257)),
    "a shorter context in one part": ("study", contract("int8", context_length=2048)),
    "float32 behind bf16": ("study", facts("bf16", effective_dtype="float32")),
    "a draft left in the cache": ("study", facts("int8", rejected_draft_changed_cache=True)),
    "a cache off by one chunk": ("study", facts("int8", chunk_edge_difference=4.0)),
    "another program on the machine": ("study", after(psi_cpu_some_avg10=40.0)),
    "a hypervisor that took time": ("study on a faster machine", after(steal_fraction=0.12)),
    "a hot machine": ("study", after(thermal_state="serious")),
    "noise above the effect": ("study", null(1.09)),
    "a speed-up that bytes do not explain": ("study", compared(4.0, "better")),
    "fewer bits and worse": ("study with more rounds", compared(0.7, "worse")),
    "one configuration twice": ("study", twin),
    "agreement on random weights": ("study", random_weights),
    "more products than the machine can": ("study", ceilings(3e11, 1e12)),
    "more bytes than the memory can": ("study on a faster machine", ceilings(1e14, 6e9)),
    "more tokens than the context": ("study", longer),
    "better than the reference": ("study", metrics(
        "int8", perplexity_ratio=Estimate(value=0.96, low=0.95, high=0.97, method="block bootstrap"))),
    "a step of nothing": ("study", metrics("bf16", first_call_s=0.0)),
}  # fmt: skip
"""By name: the healthy study it was made from, and what was done to it."""
