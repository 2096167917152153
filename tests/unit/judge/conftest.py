"""Records to judge, made from a few numbers: rounds with known effects, artifacts, rows, subjects."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from assay.core.records import (
    Absent,
    Artifact,
    Change,
    Comparison,
    Contract,
    Decoding,
    Environment,
    Estimate,
    Load,
    Machine,
    Memory,
    ModelSource,
    Outcome,
    Quality,
    Round,
    Row,
    Run,
    Samples,
    Target,
    TransformSpec,
    Workload,
)
from assay.judge.checks.base import Subject
from assay.judge.checks.tables import with_tables

UNKNOWN = Absent(reason="not read in this test")
DECODE = Workload(kind="decode", prompt_tokens=128, new_tokens=64)
PREFILL = Workload(kind="prefill", prompt_tokens=512, new_tokens=0)
LOAD = Workload(kind="load")
TIME_OF = {"decode": "tpot_s", "prefill": "prefill_s", "generate": "end_to_end_s", "load": "load_s"}
SOURCE = ModelSource(kind="hf_directory", location="a model", digest="ab" * 32)


def load_state(**changes: Any) -> Load:
    fields: dict[str, Any] = {
        "load_average": 0.3,
        "psi_cpu_some_avg10": 0.5,
        "steal_fraction": 0.0,
        "available_bytes": 2e10,
        "frequency_hz": UNKNOWN,
        "temperature_c": UNKNOWN,
        "thermal_state": UNKNOWN,
    }
    return Load(**{**fields, **changes})


def machine(**changes: Any) -> Machine:
    fields: dict[str, Any] = {
        "system": "Linux",
        "release": "6.1",
        "architecture": "x86_64",
        "cpu_model": "A processor",
        "isa": ("avx2", "avx512f", "avx512_bf16", "amx_bf16"),
        "logical_cpus": 2,
        "usable_cpus": 2,
        "cache_bytes": {"L2": 2097152},
        "memory_bytes": 24 * 2**30,
        "cgroup_memory_bytes": UNKNOWN,
        "hypervisor": UNKNOWN,
        "governor": UNKNOWN,
        "accelerators": (),
    }
    return Machine(**{**fields, **changes})


def environment(**changes: Any) -> Environment:
    fields: dict[str, Any] = {
        "machine": machine(),
        "python": "CPython 3.11.7",
        "packages": {"torch": "2.13.0", "assay": "0.1.0"},
        "threads": 2,
        "thread_settings": {},
        "git_revision": UNKNOWN,
        "before": load_state(),
        "after": load_state(),
    }
    return Environment(**{**fields, **changes})


def contract(**changes: Any) -> Contract:
    fields: dict[str, Any] = {
        "architecture": "llama",
        "context_length": 2048,
        "sliding_window": UNKNOWN,
        "vocab_size": 49152,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "gated_mlp": True,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }
    return Contract(**{**fields, **changes})


def artifact(
    name: str,
    weight_bytes: int = 269_030_016,
    *,
    resident_bytes: int = 0,
    transforms: Sequence[TransformSpec] = (),
    notes: Sequence[str] = (),
    **contract_changes: Any,
) -> Artifact:
    return Artifact(
        digest=(name.encode().hex() * 64)[:64],
        format="torch",
        source=SOURCE,
        transforms=tuple(transforms),
        files=(),
        changes=tuple(
            Change(kind=t.kind, modules=("model",), bytes_before=2, bytes_after=1, notes=tuple(notes))
            for t in transforms
        ),
        contract=contract(**contract_changes),
        parameter_count=134_515_008,
        weight_bytes=weight_bytes,
        resident_weight_bytes=resident_bytes or weight_bytes,
        decode_weight_bytes=resident_bytes or weight_bytes,
        toolchain={},
    )


def run(
    variant: str,
    samples: Sequence[Samples],
    *,
    index: int = 0,
    workload: Workload = DECODE,
    env: Environment | None = None,
    facts: Mapping[str, Any] | None = None,
    outcome: Outcome | None = None,
    target: Target | None = None,
    memory: Mapping[str, Any] | None = None,
) -> Run:
    return Run(
        id=f"{variant}/{workload.name}/{index}",
        study="5a" * 32,
        round=index,
        variant=variant,
        artifact=(variant.encode().hex() * 64)[:64],
        target=target or Target(),
        decoding=Decoding(),
        workload=workload,
        samples=tuple(samples),
        facts=dict(facts or {"threads": 2}),
        environment=env or environment(),
        memory=Memory(**{**dict.fromkeys(Memory.model_fields, UNKNOWN), **(memory or {})}),
        outcome=outcome or Outcome(kind="ok"),
        started_utc="2026-01-01T00:00:00+00:00",
    )


def timed(metric: str, values: Sequence[float], *, warmup: Sequence[float] = (), per_block: int = 1) -> Samples:
    """Samples in turns of `per_block` calls; warm-up blocks have negative numbers, as the pipeline gives them."""
    before = -1 - len(warmup)
    return Samples(
        metric=metric,
        values=(*warmup, *values),
        block=(*(before + i for i in range(len(warmup))), *(i // per_block for i in range(len(values)))),
        warmup=len(warmup),
    )


def rounds_of(
    effects: Mapping[str, float],
    count: int,
    *,
    seed: int = 0,
    spread: float = 0.01,
    turns: int = 12,
    seconds: float = 0.02,
    workload: Workload = DECODE,
    **run_options: Any,
) -> tuple[Round, ...]:
    """Rounds in which each variant takes `seconds * exp(effect)`, with noise between rounds and a shared drift."""
    draw = random.Random(seed)
    metric = TIME_OF[workload.kind]
    found = []
    for index in range(count):
        shared = [draw.gauss(0, 0.05) for _ in range(turns)]
        runs = []
        for variant, effect in effects.items():
            level = effect + draw.gauss(0, spread)
            values = [seconds * 2.718281828459045 ** (level + s + draw.gauss(0, 0.002)) for s in shared]
            samples = (
                timed(metric, values) if workload.kind != "load" else Samples(metric=metric, values=tuple(values[:1]))
            )
            runs.append(run(variant, [samples], index=index, workload=workload, **run_options))
        found.append(Round(study="5a" * 32, index=index, order=tuple(effects), runs=tuple(runs)))
    return tuple(found)


def row(name: str, role: str = "candidate", built: Artifact | Absent | None = None, **metrics: Any) -> Row:
    return Row(
        name=name,
        role=role,  # type: ignore[arg-type]
        artifact=built or artifact(name),
        metrics=metrics,
        outcome=Outcome(kind="ok"),
    )


def comparison(variant: str, ratio: tuple[float, float, float] | Absent, outcome: str, **changes: Any) -> Comparison:
    fields: dict[str, Any] = {
        "metric": "decode_tok_per_s",
        "workload": DECODE.name,
        "variant": variant,
        "baseline": "bf16",
        "ratio": ratio
        if isinstance(ratio, Absent)
        else Estimate(value=ratio[0], low=ratio[1], high=ratio[2], method="test"),
        "rounds": 12,
        "method": "test",
        "outcome": outcome,
        "reason": "test",
        "margin": 0.02,
        "smallest_effect": 0.013,
    }
    return Comparison(**{**fields, **changes})


def quality(variant: str, outcome: Outcome | None = None, context: int = 1024, **metrics: Any) -> Quality:
    return Quality(
        study="5a" * 32,
        variant=variant,
        artifact=(variant.encode().hex() * 64)[:64],
        target=Target(),
        reference="fp32",
        text="prose",
        text_digest="cd" * 32,
        tokens=4096,
        context=context,
        metrics=metrics,
        sample_prompt="",
        sample_text=UNKNOWN,
        outcome=outcome or Outcome(kind="ok"),
    )


def subject(**changes: Any) -> Subject:
    """A study of three sound rows, in which no check should find anything worse than INFO."""
    rows = (
        row("fp32", "reference", artifact("fp32", 538_060_032, dtype="float32"), tpot_s=0.04, decode_tok_per_s=25.0),
        row("bf16", "baseline", tpot_s=0.02, decode_tok_per_s=50.0),
        row("int8", built=artifact("int8", 163_301_376), tpot_s=0.016, decode_tok_per_s=62.5),
    )
    whole = Subject(
        rows=rows,
        rounds=rounds_of({"fp32": 0.69, "bf16": 0.0, "int8": -0.22}, 6),
        quality=(
            quality("fp32", nll_nats=3.37, perplexity=29.1),
            quality("bf16", nll_nats=3.3712, kl_nats=4e-4, psnr_db=45.0, max_logit_difference=0.2, top1_agreement=0.99),
            quality("int8", nll_nats=3.39, kl_nats=3e-3, psnr_db=38.0, max_logit_difference=0.9, top1_agreement=0.96),
        ),
        comparisons=(
            comparison("fp32", (0.5, 0.49, 0.51), "worse"),
            comparison("int8", (1.25, 1.22, 1.28), "better"),
        ),
        null_estimates=(comparison("A/A", (1.001, 0.99, 1.012), "equivalent"),),
        environment=environment(),
        source=SOURCE,
    )
    return with_tables(replace(whole, **changes))


@dataclass(frozen=True)
class Make:
    """The functions above, for tests that cannot import this file."""

    load_state = staticmethod(load_state)
    machine = staticmethod(machine)
    environment = staticmethod(environment)
    artifact = staticmethod(artifact)
    run = staticmethod(run)
    timed = staticmethod(timed)
    rounds_of = staticmethod(rounds_of)
    row = staticmethod(row)
    comparison = staticmethod(comparison)
    quality = staticmethod(quality)
    subject = staticmethod(subject)
    decode: Workload = DECODE
    prefill: Workload = PREFILL
    load: Workload = LOAD


@pytest.fixture(scope="session")
def make() -> Make:
    """Makes records; see `Make`."""
    return Make()
