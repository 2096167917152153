"""A judged study as the demo makes it, with everything that a report must cope with. Shared by the tests of `show`
and `keep`.

Four variants and the hidden null; absent numbers with reasons; findings of all three severities; a variant that failed;
generated text in several scripts, with markup and control characters that must not become live.
"""

from __future__ import annotations

import random

import pytest

from assay.core.records import (
    Absent,
    Artifact,
    Ceilings,
    Cell,
    Change,
    Comparison,
    Contract,
    Decoding,
    Environment,
    Estimate,
    Finding,
    Load,
    Machine,
    Memory,
    ModelSource,
    Outcome,
    Quality,
    Result,
    Round,
    Row,
    Run,
    Samples,
    Target,
    TransformSpec,
    Verdict,
    Workload,
)

STUDY = "5a" * 32
PARAMETERS = 134_515_008
SOURCE = ModelSource(kind="gguf", location="SmolLM2-135M-Instruct.Q4_1.gguf", digest="ab" * 32, quantisation="Q4_1")
PREFILL = Workload(kind="prefill", prompt_tokens=512, new_tokens=0, text_digest="cd" * 32)
DECODE = Workload(kind="decode", prompt_tokens=128, new_tokens=64, text_digest="cd" * 32)
LOAD = Workload(kind="load")

HOSTILE_TEXT = (
    'the lamp. <script>window.hacked = true</script><img src=x onerror="window.hacked=true">\n'
    "灯台守は扉を開けた。 الحارس فتح الباب 🗼👩‍🚀 é | `code` ~~no~~ ``` end\x1b[31m red\x07 \u202e right"
)
SAMPLES_OF_TEXT = {
    "fp32": "the wind came in first, carrying salt and the sound of gulls. He had kept the light for thirty years.",
    "bf16": "the wind came in first, carrying salt and the sound of gulls. He had kept the light for thirty years.",
    "int8": "the wind came in, carrying salt, and behind it a boy with a lantern who would not say his name.",
    "lut4-oc8": HOSTILE_TEXT,
}

_BYTES = {"fp32": 538_060_032, "bf16": 269_030_016, "int8": 163_301_376, "lut4-oc8": 96_214_080}
_PEAK = {"fp32": 912e6, "bf16": 561e6, "int8": 462e6, "lut4-oc8": 568e6}
_PREFILL_TOK_PER_S = {"fp32": 1180.0, "bf16": 3412.0, "int8": 2290.0, "lut4-oc8": 3390.0}
_DECODE_TOK_PER_S = {"fp32": 27.4, "bf16": 48.9, "int8": 71.3, "lut4-oc8": 48.6}
_KL = {"bf16": 0.00041, "int8": 0.0028, "lut4-oc8": 0.604}
_PERPLEXITY = {"fp32": 29.16, "bf16": 29.17, "int8": 29.08, "lut4-oc8": 52.51}
_TOP1 = {"bf16": 0.9871, "int8": 0.9672, "lut4-oc8": 0.5731}
_TRANSFORMS = {
    "fp32": (),
    "bf16": (TransformSpec(kind="cast", options={"dtype": "bf16"}),),
    "int8": (TransformSpec(kind="int8_weight_only", options={"granularity": "channel"}),),
    "lut4-oc8": (TransformSpec(kind="palettize", options={"bits": 4, "output_channels": 8}),),
}


def make_environment() -> Environment:
    load = Load(
        load_average=0.42,
        psi_cpu_some_avg10=1.3,
        steal_fraction=0.002,
        available_bytes=21.4e9,
        frequency_hz=Absent(reason="the guest does not see the clock of its processor"),
        temperature_c=Absent(reason="no thermal zone"),
        thermal_state=Absent(reason="no thermal zone"),
    )
    machine = Machine(
        system="Linux",
        release="6.1",
        architecture="x86_64",
        cpu_model="Intel Xeon <Sapphire Rapids> & friends",
        isa=("avx2", "avx512f", "avx512_vnni", "amx_bf16", "amx_int8"),
        logical_cpus=2,
        usable_cpus=2,
        cache_bytes={"L1d": 49152, "L2": 2097152, "L3": 110100480},
        memory_bytes=25_276_514_304,
        cgroup_memory_bytes=Absent(reason="no limit is set"),
        hypervisor="KVM",
        governor=Absent(reason="no cpufreq in this guest"),
        accelerators=(),
    )
    return Environment(
        machine=machine,
        python="3.11.7",
        packages={"assay": "0.1.0", "torch": "2.13.0", "numpy": "2.3.5"},
        threads=2,
        thread_settings={"OMP_NUM_THREADS": "2"},
        git_revision=Absent(reason="not a git checkout"),
        before=load,
        after=load,
    )


def make_ceilings() -> Ceilings:
    load = make_environment().before
    return Ceilings(
        machine=make_environment().machine.content_digest,
        measured_utc="2026-11-22T00:50:00+00:00",
        elapsed_s=14.2,
        threads=2,
        flops_per_s={"float32": 4.6e11, "bfloat16": 1.9e12, "float16": Absent(reason="no kernel")},
        cache_bytes_per_s={"gemv": 9e10},
        memory_bytes_per_s={"gemv": 2.1e10, "triad": 1.8e10},
        dispatch_floor_s={"torch": 1e-6},
        clock_resolution_s=1e-9,
        noise=0.011,
        cpu_share=0.99,
        contention=(),
        before=load,
        after=load,
    )


def make_artifact(name: str) -> Artifact:
    resident = _BYTES["bf16"] if name.startswith("lut") else _BYTES[name]
    changes = (
        (Change(kind=_TRANSFORMS[name][0].kind, modules=("model.layers.0",), bytes_before=2, bytes_after=1),)
        if _TRANSFORMS[name]
        else ()
    )
    contract = Contract(
        architecture="llama",
        context_length=8192,
        sliding_window=Absent(reason="the model has none"),
        vocab_size=49152,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        hidden_size=576,
        intermediate_size=1536,
        gated_mlp=True,
        tie_word_embeddings=True,
        dtype="float32" if name == "fp32" else "bfloat16",
    )
    return Artifact(
        digest=(name.encode().hex() * 32)[:64],
        format="torch",
        source=SOURCE,
        transforms=_TRANSFORMS[name],
        files=(),
        changes=changes,
        contract=contract,
        parameter_count=PARAMETERS,
        weight_bytes=_BYTES[name],
        resident_weight_bytes=resident,
        decode_weight_bytes=resident,
        toolchain={"torch": "2.13.0"},
    )


def _estimate(value: float, spread: float, method: str = "bootstrap of the rounds' medians") -> Estimate:
    return Estimate(value=value, low=value * (1 - spread), high=value * (1 + spread), method=method)


def _row(name: str, role: str) -> Row:
    no_reference = Absent(reason="fp32 is the reference itself")
    artifact = make_artifact(name)
    metrics = {
        "weight_bytes": float(artifact.weight_bytes),
        "resident_weight_bytes": float(artifact.resident_weight_bytes),
        "bits_per_weight": artifact.bits_per_weight,
        "load_s": _estimate(0.62 if name == "fp32" else 0.34, 0.08),
        "first_call_s": _estimate(0.181, 0.2),
        "prefill_tok_per_s": _estimate(_PREFILL_TOK_PER_S[name], 0.03),
        "decode_tok_per_s": _estimate(_DECODE_TOK_PER_S[name], 0.02),
        "peak_rss_bytes": _PEAK[name],
        "perplexity": _estimate(_PERPLEXITY[name], 0.04, "block bootstrap over 512 tokens"),
        "kl_nats": _estimate(_KL[name], 0.09, "mean and its standard error") if name in _KL else no_reference,
        "kl_p99_nats": _KL[name] * 9 if name in _KL else no_reference,
        "top1_agreement": _TOP1.get(name, no_reference),
        "energy_j": Absent(reason="this machine has no energy counter"),
        "mbu": 0.61,
    }
    notes = ("palettes are expanded to bf16 at load: smaller on disk, not in memory",) if name == "lut4-oc8" else ()
    return Row(
        name=name,
        role=role,  # type: ignore[arg-type]
        artifact=artifact,
        metrics=metrics,
        outcome=Outcome(kind="ok"),
        notes=notes,
    )


def _failed_row() -> Row:
    reason = "int4-g32 did not run: unsupported"
    return Row(
        name="int4-g32",
        role="candidate",
        artifact=Absent(reason=reason),
        metrics={"decode_tok_per_s": Absent(reason=reason), "weight_bytes": Absent(reason=reason)},
        outcome=Outcome(
            kind="unsupported", message="torch on cpu has no kernel for int4 groups of 32", attempts=2, successes=0
        ),
    )


def compare(
    metric: str, workload: str, variant: str, ratio: float, spread: float, outcome: str, reason: str
) -> Comparison:
    return Comparison(
        metric=metric,
        workload=workload,
        variant=variant,
        baseline="bf16",
        ratio=Estimate(value=ratio, low=ratio - spread, high=ratio + spread, method="confidence sequence"),
        rounds=12,
        method="confidence sequence over rounds' median log ratios",
        outcome=outcome,  # type: ignore[arg-type]
        reason=reason,
        margin=0.02,
        smallest_effect=0.031,
    )


def _comparisons() -> tuple[Comparison, ...]:
    prefill, decode = PREFILL.name, DECODE.name
    return (
        compare("prefill_tok_per_s", prefill, "fp32", 0.346, 0.011, "worse", "the interval lies below 1"),
        compare("decode_tok_per_s", decode, "fp32", 0.561, 0.012, "worse", "the interval lies below 1"),
        compare("prefill_tok_per_s", prefill, "int8", 0.671, 0.014, "worse", "the interval lies below 1"),
        compare("decode_tok_per_s", decode, "int8", 1.458, 0.027, "better", "the interval lies above 1"),
        compare("prefill_tok_per_s", prefill, "lut4-oc8", 0.994, 0.029, "inconclusive", "the budget of time is spent"),
        compare("decode_tok_per_s", decode, "lut4-oc8", 0.995, 0.012, "equivalent", "the interval is inside 2 %"),
    )


def _null_estimates() -> tuple[Comparison, ...]:
    return (
        compare("prefill_tok_per_s", PREFILL.name, "bf16 (A/A)", 1.004, 0.014, "equivalent", "inside the margin"),
        compare("decode_tok_per_s", DECODE.name, "bf16 (A/A)", 0.998, 0.009, "equivalent", "inside the margin"),
    )


def _findings() -> tuple[Finding, ...]:
    return (
        Finding(
            check="contended",
            severity="WARN",
            cells=tuple(Cell(row=name, metric="prefill_tok_per_s") for name in ("bf16", "int8")),
            numbers={"psi_cpu_some_avg10": 6.2},
            summary="some process waited for a CPU in 6.2 % of the time (limit 5 %)",
            cause="two other processes were runnable",
            remedy="Close other programs and repeat",
        ),
        Finding(
            check="quality_out_of_range",
            severity="ERR",
            cells=(Cell(row="lut4-oc8", metric="decode_tok_per_s"), Cell(row="lut4-oc8", metric="prefill_tok_per_s")),
            numbers={"top1_agreement": 0.5731, "limit": 0.9},
            summary="top-1 agreement is 57.3 %, below 90 %: the parity gate failed, so its speed is struck out",
            cause="palettes of 16 entries lose too much of these weights",
            remedy="Use 6 bits, or fewer output channels for each palette",
        ),
        Finding(
            check="slower_precision",
            severity="INFO",
            cells=(Cell(row="int8", metric="prefill_tok_per_s"),),
            summary="int8 prefill runs at 0.67 x bf16",
            cause="torch's int8 kernel re-expands weights above 32 tokens",
            remedy="Expected here; measure with another runtime",
        ),
    )


def _quality(name: str) -> Quality:
    absent = Absent(reason="fp32 is the reference itself")
    return Quality(
        study=STUDY,
        variant=name,
        artifact=make_artifact(name).digest,
        target=Target(),
        reference="fp32",
        text="prose carried by Assay",
        text_digest="cd" * 32,
        tokens=4096,
        context=1024,
        metrics={"perplexity": _PERPLEXITY[name], "kl_nats": _KL.get(name, absent)},
        sample_prompt="The old lighthouse keeper opened the door and",
        sample_text=SAMPLES_OF_TEXT[name],
        outcome=Outcome(kind="ok"),
    )


def _verdicts() -> tuple[Verdict, ...]:
    return (
        Verdict(variant="fp32", status="reference", reasons=("quality is compared with it",)),
        Verdict(variant="bf16", status="baseline", reasons=("speed is compared with it",)),
        Verdict(
            variant="int8",
            status="pass",
            reasons=("decode x1.458 (at least 1.05 was asked)", "KL 0.0028 nats (at most 0.01 was asked)"),
        ),
        Verdict(
            variant="lut4-oc8",
            status="fail",
            reasons=("KL 0.604 nats (at most 0.01 was asked)", "decode speed is invalid: quality_out_of_range"),
        ),
        Verdict(variant="int4-g32", status="failed_run", reasons=("unsupported: no kernel for int4 groups of 32",)),
    )


def make_result() -> Result:
    rows = (
        _row("fp32", "reference"),
        _row("bf16", "baseline"),
        _row("int8", "candidate"),
        _row("lut4-oc8", "candidate"),
        _failed_row(),
        _row("bf16", "null").model_copy(update={"name": "bf16 (A/A)"}),
    )
    return Result(
        study=STUDY,
        name="demo",
        model=SOURCE,
        text="prose carried by Assay, 5,120 tokens of plain English",
        created_utc="2026-11-22T01:02:03+00:00",
        elapsed_s=274.0,
        rows=rows,
        comparisons=_comparisons(),
        quality=tuple(_quality(name) for name in _BYTES),
        verdicts=_verdicts(),
        findings=_findings(),
        not_checked=("roofline: the machine's ceilings were not measured",),
        null_estimates=_null_estimates(),
        environment=make_environment(),
        gate={"min_speedup": 1.05, "max_kl_nats": 0.01},
        complete=False,
    )


def make_run(name: str, round_index: int, workload: Workload, count: int = 24) -> Run:
    """One worker: the first values are slow, as a real warm-up is."""
    source = random.Random(f"{name} {round_index} {workload.name}")
    variant = "bf16" if name == "bf16 (A/A)" else name
    if workload.kind == "prefill":
        metric, steady_s = "prefill_s", 512 / _PREFILL_TOK_PER_S[variant]
    else:
        metric, steady_s = "tpot_s", 1 / _DECODE_TOK_PER_S[variant]
    warmup = 4
    values = tuple(
        steady_s * (1 + (1.5 * 0.4**place if place < warmup else 0)) * source.lognormvariate(0, 0.02)
        for place in range(count)
    )
    memory = Memory(
        before_bytes=2.1e8,
        load_peak_bytes=_PEAK[variant],
        after_load_bytes=_PEAK[variant],
        peak_bytes=_PEAK[variant],
        peak_anonymous_bytes=_PEAK[variant],
        file_mapped_bytes=1.2e8,
        kv_cache_bytes=8.8e6,
        device_peak_bytes=Absent(reason="the device is the CPU"),
    )
    return Run(
        id=f"{name}-{workload.kind}-{round_index}",
        study=STUDY,
        round=round_index,
        variant=name,
        artifact=make_artifact(variant).digest,
        target=Target(threads=2),
        decoding=Decoding(),
        workload=workload,
        samples=(
            Samples(
                metric=metric,
                values=values,
                block=tuple(range(count)),
                started_s=tuple(10.0 * round_index + 0.1 * place for place in range(count)),
                warmup=warmup,
            ),
        ),
        facts={"threads": 2, "dtype": "bfloat16"},
        environment=make_environment(),
        memory=memory,
        outcome=Outcome(kind="ok"),
        started_utc=f"2026-11-22T01:0{round_index}:00+00:00",
    )


def make_rounds(count: int = 3) -> tuple[Round, ...]:
    names = ("fp32", "bf16", "int8", "lut4-oc8", "bf16 (A/A)")
    return tuple(
        Round(
            study=STUDY,
            index=index,
            order=names,
            runs=tuple(make_run(name, index, workload) for name in names for workload in (PREFILL, DECODE)),
        )
        for index in range(count)
    )


@pytest.fixture(scope="session")
def result() -> Result:
    return make_result()


@pytest.fixture(scope="session")
def rounds() -> tuple[Round, ...]:
    return make_rounds()


@pytest.fixture(scope="session")
def ceilings() -> Ceilings:
    return make_ceilings()
