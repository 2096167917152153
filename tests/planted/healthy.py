"""Healthy results to plant faults in: tables as other tools print them, and studies of Assay. They refuse to be alike.

Times come from a roofline with an efficiency and a launch overhead, and are scattered with a seed; quality and sizes
come from published figures. Several models, precisions, machines, sizes and layouts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import fixtures_result as recorded
from assay.core import cost, hardware
from assay.core.figures import Figure, FigureRow, FigureTable, PrintedRatio
from assay.core.records import Absent, Comparison, Estimate, Outcome, Quality, Round, Row, Run, Samples
from assay.core.shapes import KNOWN, Shape
from assay.judge.checks.base import Subject

SIZES = {
    "S": Shape(12, 768, 3072, vocab_size=10000),
    "M": Shape(24, 1024, 4096, vocab_size=10000),
    "L": Shape(36, 1280, 5120, vocab_size=10000),
    "XL": Shape(48, 1600, 6400, vocab_size=10000),
}
BYTES = {"float32": 4.0, "tf32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.02, "int4": 0.5625}


def printed(value: float, digits: int = 4) -> float:
    """As a table prints it: to so many significant digits."""
    return float(f"{value:.{digits - 1}e}")


class Maker:
    """Collects the rows and figures of one table."""

    def __init__(self, title: str, seed: int, **facts: Any) -> None:
        self.title, self.facts = title, facts
        self.draw = random.Random(f"{title} {seed}")
        self.rows: list[FigureRow] = []
        self.found: list[Figure] = []
        self.ratios: list[PrintedRatio] = []

    def row(self, name: str, **facts: Any) -> str:
        self.rows.append(FigureRow(name=name, facts=facts))
        return name

    def add(self, row: str, metric: str, value: float, *, spread: float = 0.0, digits: int = 4) -> float:
        """A figure; with a spread it is a mean of `samples` scattered calls with its standard deviation."""
        std: float | Absent = Absent(reason="no spread is given")
        if spread:
            count = int(self.facts.get("samples", 10))
            calls = [value * self.draw.lognormvariate(0, spread) for _ in range(count)]
            value = sum(calls) / count
            std = printed(math.sqrt(sum((call - value) ** 2 for call in calls) / (count - 1)), 3)
        value = printed(value, digits)
        self.found.append(Figure(row=row, metric=metric, value=value, std=std, digits=digits))
        return value

    def table(self) -> FigureTable:
        return FigureTable(
            title=self.title,
            source=f"{self.title}.md",
            rows=tuple(self.rows),
            figures=tuple(self.found),
            facts=self.facts,
            ratios=tuple(self.ratios),
        )


def _seconds(
    shape: Shape, device: hardware.Device, dtype: str, batch: int, tokens: int, efficiency: float, times: float = 1.0
) -> float:
    peak = device.peak_flops(dtype)
    bandwidth = device.bandwidth()
    assert isinstance(peak, float)
    assert isinstance(bandwidth, float)
    flops = times * cost.forward_flops(shape.contract(), batch, tokens)
    moved = times * (shape.parameters * BYTES[dtype] + 40.0 * batch * tokens * shape.hidden_size * shape.layers)
    return max(flops / (efficiency * peak), moved / (0.7 * bandwidth)) + 16 * shape.layers * 4e-6


def training(device: str, dtype: str, seed: int, batch: int = 4, tokens: int = 512) -> FigureTable:
    """Forward and backward of four sizes, as students of a course time them."""
    made = Maker(f"training {device} {dtype}", seed, device=device, dtype=dtype, batch=batch, prompt_tokens=tokens,
                 samples=10, warmup=5, ddof=1)  # fmt: skip
    found = hardware.device(device)
    efficiency = {"float32": 0.68, "bfloat16": 0.42, "float16": 0.42}[dtype]
    for size, shape in SIZES.items():
        name = made.row(size, size=size, layers=shape.layers, hidden_size=shape.hidden_size,
                        intermediate_size=shape.intermediate_size, vocab_size=shape.vocab_size)  # fmt: skip
        forward = made.add(name, "forward_s", _seconds(shape, found, dtype, batch, tokens, efficiency), spread=0.012)
        backward = made.add(name, "backward_s", forward * made.draw.uniform(1.9, 2.1), spread=0.012)
        made.add(name, "train_step_s", (forward + backward) * made.draw.uniform(0.9995, 1.0005), spread=0.004)
    return made.table()


def precisions(device: str, model: str, seed: int, batch: int = 8, tokens: int = 512) -> FigureTable:
    """Inference of one model in the types that a device has, with its throughput, power and energy."""
    made = Maker(f"precisions {device} {model}", seed, device=device, model=model, batch=batch, prompt_tokens=tokens,
                 samples=20)  # fmt: skip
    found, shape = hardware.device(device), KNOWN[model]
    limit = found.power_w()
    assert isinstance(limit, float)
    for dtype in ("float32", "float16", "bfloat16"):
        if dtype not in found.tera_per_s:
            continue
        efficiency = 0.7 if dtype == "float32" else 0.45
        name = made.row(dtype, dtype=dtype)
        seconds = made.add(name, "forward_s", _seconds(shape, found, dtype, batch, tokens, efficiency), spread=0.015)
        made.add(name, "tok_per_s", batch * tokens / seconds)
        power = made.add(name, "power_w", limit * made.draw.uniform(0.55, 0.9), digits=4)
        made.add(name, "energy_j", power * seconds * made.draw.uniform(0.99, 1.01))
        made.add(name, "weight_bytes", shape.parameters * BYTES[dtype] * made.draw.uniform(1.001, 1.004), digits=5)
    return made.table()


def lengths(device: str, model: str, seed: int) -> FigureTable:
    """One model over prompt lengths."""
    made = Maker(f"lengths {device} {model}", seed, device=device, model=model, dtype="float32", batch=1, samples=10)
    found, shape = hardware.device(device), KNOWN[model]
    for tokens in (128, 256, 512, 1024):
        name = made.row(f"{tokens} tokens", prompt_tokens=tokens)
        seconds = made.add(name, "prefill_s", _seconds(shape, found, "float32", 1, tokens, 0.6), spread=0.012)
        made.add(name, "prefill_tok_per_s", tokens / seconds)
    return made.table()


def batches(device: str, model: str, seed: int) -> FigureTable:
    """One model over batch sizes, generating."""
    made = Maker(f"batches {device} {model}", seed, device=device, model=model, dtype="float16", samples=10,
                 prompt_tokens=256)  # fmt: skip
    found, shape = hardware.device(device), KNOWN[model]
    for batch in (1, 2, 4, 8, 16):
        name = made.row(f"batch {batch}", batch=batch)
        seconds = made.add(name, "prefill_s", _seconds(shape, found, "float16", batch, 256, 0.45), spread=0.01)
        made.add(name, "prefill_tok_per_s", batch * 256 / seconds)
    return made.table()


def compiled(device: str, seed: int) -> FigureTable:
    """Eager against compiled, two sizes, with the speed-up as printed."""
    made = Maker(f"compiled {device}", seed, device=device, dtype="bfloat16", batch=4, prompt_tokens=256, samples=10)
    found = hardware.device(device)
    for size in ("S", "L"):
        shape = SIZES[size]
        facts = {"size": size, "layers": shape.layers, "hidden_size": shape.hidden_size, "vocab_size": 10000,
                 "intermediate_size": shape.intermediate_size}  # fmt: skip
        eager = made.row(f"{size} eager", compiled=False, **facts)
        fast = made.row(f"{size} compiled", compiled=True, **facts)
        base = _seconds(shape, found, "bfloat16", 4, 256, 0.33)
        forward = {eager: made.add(eager, "forward_s", base, spread=0.01)}
        forward[fast] = made.add(fast, "forward_s", base / made.draw.uniform(1.25, 1.5), spread=0.01)
        for name in (eager, fast):
            made.add(name, "backward_s", forward[name] * made.draw.uniform(1.95, 2.2), spread=0.01)
        made.ratios.append(
            PrintedRatio(row=fast, metric="forward_s", against=eager, value=printed(forward[eager] / forward[fast], 3),
                         digits=3)
        )  # fmt: skip
    return made.table()


def decoding(device: str, model: str, seed: int, bits: tuple[str, ...] = ("float16", "int8", "int4")) -> FigureTable:
    """Decoding with quantised weights on one device: rates, sizes and quality side by side."""
    made = Maker(f"decoding {device} {model}", seed, device=device, model=model, batch=1, prompt_tokens=512,
                 new_tokens=128, samples=10, context=2048)  # fmt: skip
    found, shape = hardware.device(device), KNOWN[model]
    bandwidth = found.bandwidth()
    assert isinstance(bandwidth, float)
    base = {"llama-2-7b": 5.47, "llama-3-8b": 6.14, "tinyllama-1.1b": 7.9, "gpt2-xl": 15.1}[model]
    for dtype in bits:
        name = made.row(dtype, dtype=dtype, weight_bits={"float16": 16, "int8": 8, "int4": 4}[dtype])
        size = made.add(name, "weight_bytes", shape.parameters * BYTES[dtype] * made.draw.uniform(1.0, 1.01), digits=4)
        cache = 576 * cost.kv_bytes_per_token(shape.contract("float16"))
        step = (size + cache) / (bandwidth * made.draw.uniform(0.6, 0.72)) + 4e-4
        step = made.add(name, "tpot_s", step, spread=0.01)
        made.add(name, "decode_tok_per_s", 1 / step)
        loss = {"float16": 0.0, "int8": 0.0006, "int4": 0.021}[dtype]
        made.add(name, "perplexity", base * math.exp(loss * made.draw.uniform(0.8, 1.2)), digits=5)
    return made.table()


def perplexities(seed: int, stride: int = 1024) -> FigureTable:
    """GPT-2 in four sizes on raw WikiText-2."""
    made = Maker(f"perplexities stride {stride}", seed, dataset="wikitext-2", context=1024, stride=stride)
    known = {
        1024: {"gpt2": 29.94, "gpt2-medium": 22.3, "gpt2-large": 19.44, "gpt2-xl": 17.9},
        512: {"gpt2": 25.2, "gpt2-medium": 18.9, "gpt2-large": 16.45, "gpt2-xl": 15.2},
    }[stride]
    for model, value in known.items():
        name = made.row(model, model=model, dtype="float32")
        found = made.add(name, "perplexity", value * made.draw.uniform(0.99, 1.01))
        made.add(name, "nll_nats", math.log(found), digits=6)
    return made.table()


def contexts(seed: int) -> FigureTable:
    """GPT-2 small by the length of the window."""
    made = Maker("contexts", seed, dataset="WikiText-2", model="gpt2")
    for context, value in {1024: 29.4, 512: 35.4, 256: 43.4, 128: 53.0}.items():
        made.add(made.row(f"window {context}", context=context), "perplexity", value * made.draw.uniform(0.98, 1.02))
    return made.table()


def compute_units(chip: str, seed: int) -> FigureTable:
    """One converted model on the compute units of a phone or a laptop."""
    made = Maker(f"units {chip}", seed, device=chip, model="smollm2-135m", dtype="float16", batch=1, prompt_tokens=64,
                 samples=20)  # fmt: skip
    for units, seconds in {"CPU only": 0.061, "CPU and GPU": 0.034, "CPU and ANE": 0.017, "all": 0.0168}.items():
        name = made.row(units, compute_units=units)
        made.add(name, "prefill_s", seconds * made.draw.uniform(0.97, 1.03), spread=0.02, digits=3)
        made.add(name, "load_s", made.draw.uniform(0.6, 1.1), digits=3)
    return made.table()


def bench_rows(device: str, seed: int) -> FigureTable:
    """Prompt and generation of quantised files in one row, as llama-bench reports them."""
    made = Maker(f"llama-bench {device}", seed, device=device, model="tinyllama-1.1b", batch=1, samples=5)
    found, shape = hardware.device(device), KNOWN["tinyllama-1.1b"]
    bandwidth = found.bandwidth()
    assert isinstance(bandwidth, float)
    for dtype in ("float16", "int8", "int4"):
        size = shape.parameters * BYTES[dtype]
        name = made.row(f"tinyllama {dtype}", dtype=dtype, weight_bits={"float16": 16, "int8": 8, "int4": 4}[dtype],
                        **{"prompt_tokens@pp512": 512, "phase@pp512": "prefill", "phase@tg128": "decode",
                           "new_tokens@tg128": 128})  # fmt: skip
        made.add(name, "weight_bytes", size, digits=5)
        peak = found.tera_per_s.get("float16", found.tera_per_s["float32"])[1] * 1e12
        seconds = cost.forward_flops(shape.contract(), 1, 512) / (0.4 * peak)
        made.add(name, "prefill_tok_per_s@pp512", 512 / seconds, spread=0.01)
        made.add(name, "decode_tok_per_s@tg128", 0.62 * bandwidth / (size + 4e6), spread=0.01)
    return made.table()


def accuracies(seed: int) -> FigureTable:
    """A classifier in three precisions."""
    made = Maker("classifier", seed, dataset="SST-2", model="a classifier", samples=872)
    for dtype, value in {"float32": 0.913, "float16": 0.9128, "int8": 0.9047}.items():
        made.add(made.row(dtype, dtype=dtype), "accuracy", value + made.draw.uniform(-0.002, 0.002), digits=3)
    return made.table()


def serving(device: str, seed: int) -> FigureTable:
    """A server under three loads: latencies and rates."""
    made = Maker(f"serving {device}", seed, device=device, model="llama-3-8b", dtype="bfloat16", prompt_tokens=256,
                 new_tokens=128, samples=200)  # fmt: skip
    for users, step in {1: 0.0118, 4: 0.0126, 16: 0.0161}.items():
        name = made.row(f"{users} users", concurrency=users)
        first = made.add(name, "ttft_s", 0.031 * (1 + users / 8) * made.draw.uniform(0.98, 1.02))
        step = made.add(name, "tpot_s", step * made.draw.uniform(0.98, 1.02))
        whole = made.add(name, "end_to_end_s", first + 127 * step)
        made.add(name, "items_per_s", users / whole)
    return made.table()


# ------------------------------------------------------------------------------------------------ studies of Assay


def study(seed: int, scale: float = 1.0, rounds: int = 6, noise: float = 0.012) -> Subject:
    """A study of three variants of SmolLM2-135M with its rounds and its hidden A/A variant."""
    draw = random.Random(f"study {seed} {scale}")
    rates = {"fp32": 27.4, "bf16": 48.9, "int8": 71.3}
    prefills = {"fp32": 1180.0, "bf16": 3412.0, "int8": 2290.0}
    kl = {"bf16": 0.00041, "int8": 0.0028}
    nll = {"fp32": 3.3728, "bf16": 3.37314, "int8": 3.37405}
    taken = tuple(_round(draw, index, rates, prefills, scale, noise) for index in range(rounds))
    rows = tuple(
        _study_row(name, role, rates[name] * scale, prefills[name] * scale, nll[name], kl.get(name))
        for name, role in (("fp32", "reference"), ("bf16", "baseline"), ("int8", "candidate"))
    )
    return Subject(
        rows=rows,
        rounds=taken,
        quality=tuple(_quality(name, nll[name], kl.get(name)) for name in rates),
        comparisons=(
            _comparison("fp32", recorded.DECODE.name, 27.4 / 48.9, "worse"),
            _comparison("int8", recorded.DECODE.name, 71.3 / 48.9, "better"),
        ),
        null_estimates=(_comparison("bf16 (A/A)", recorded.DECODE.name, 1.001, "equivalent"),),
        environment=recorded.make_environment(),
        source=recorded.SOURCE.model_copy(
            update={"kind": "hf_directory", "location": "SmolLM2-135M", "quantisation": Absent(reason="not quantised")}
        ),
    )


def _estimate(value: float, spread: float = 0.008) -> Estimate:
    return Estimate(value=value, low=value * (1 - spread), high=value * (1 + spread), method="bootstrap")


def _study_row(name: str, role: str, rate: float, prefill: float, nll: float, kl: float | None) -> Row:
    built = recorded.make_artifact(name)
    metrics: dict[str, Any] = {
        "weight_bytes": float(built.weight_bytes),
        "bits_per_weight": built.bits_per_weight,
        "resident_weight_bytes": float(built.resident_weight_bytes),
        "load_s": _estimate(0.5),
        "prefill_s": _estimate(512 / prefill),
        "prefill_tok_per_s": _estimate(prefill),
        "tpot_s": _estimate(1 / rate),
        "decode_tok_per_s": _estimate(rate),
        **_metrics(nll, kl),
    }
    return Row(name=name, role=role, artifact=built, metrics=metrics, outcome=Outcome(kind="ok"))  # type: ignore[arg-type]


def _metrics(nll: float, kl: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {"nll_nats": nll, "perplexity": math.exp(nll)}
    if kl is not None:
        found |= {
            "kl_nats": kl,
            "top1_agreement": 0.987 if kl < 1e-3 else 0.967,
            "psnr_db": 46.0 if kl < 1e-3 else 37.0,
            "max_logit_difference": 0.2 if kl < 1e-3 else 0.8,
        }
    return found


def _quality(name: str, nll: float, kl: float | None) -> Quality:
    return Quality(
        study=recorded.STUDY,
        variant=name,
        artifact=recorded.make_artifact(name).digest,
        target=recorded.Target(),
        reference="fp32",
        text="prose",
        text_digest="cd" * 32,
        tokens=4096,
        context=1024,
        metrics=_metrics(nll, kl),
        sample_prompt="The old lighthouse keeper opened the door and",
        sample_text=recorded.SAMPLES_OF_TEXT["fp32"],
        outcome=Outcome(kind="ok"),
    )


def _comparison(variant: str, workload: str, ratio: float, outcome: str) -> Comparison:
    return recorded.compare("decode_tok_per_s", workload, variant, ratio, 0.01, outcome, "as the interval says")


def _round(
    draw: random.Random,
    index: int,
    rates: Mapping[str, float],
    prefills: Mapping[str, float],
    scale: float,
    noise: float,
) -> Round:
    runs: list[Run] = []
    shared = [draw.gauss(0, noise) for _ in range(24)]
    for name in (*rates, "bf16 (A/A)"):
        variant = name.removesuffix(" (A/A)")
        for workload, metric, seconds in (
            (recorded.PREFILL, "prefill_s", 512 / prefills[variant] / scale),
            (recorded.DECODE, "tpot_s", 1 / rates[variant] / scale),
        ):
            base = recorded.make_run(name, index, workload, 24)
            values = tuple(seconds * math.exp(common + draw.gauss(0, 0.004)) for common in shared)
            timed = Samples(metric=metric, values=values, block=tuple(range(24)))
            runs.append(
                base.model_copy(
                    update={
                        "samples": (timed,),
                        "facts": {
                            "threads": 2,
                            "effective_dtype": recorded.make_artifact(variant).contract.dtype,
                        },
                    }
                )
            )
    return Round(study=recorded.STUDY, index=index, order=tuple(rates), runs=tuple(runs))


# ------------------------------------------------------------------------------------------------ all of them

TABLES: Mapping[str, Callable[[int], FigureTable]] = {
    "training A100 float32": lambda seed: training("A100", "float32", seed),
    "training A100 bfloat16": lambda seed: training("A100", "bfloat16", seed, batch=8),
    "training RTX float32": lambda seed: training("RTX PRO 6000", "float32", seed, batch=8),
    "training RTX bfloat16": lambda seed: training("RTX PRO 6000", "bfloat16", seed, batch=8, tokens=1024),
    "training V100 float16": lambda seed: training("V100", "float16", seed),
    "precisions A100": lambda seed: precisions("A100", "gpt2-medium", seed),
    "precisions T4": lambda seed: precisions("T4", "gpt2", seed),
    "precisions H100": lambda seed: precisions("H100", "gpt2-xl", seed, batch=16),
    "lengths T4": lambda seed: lengths("T4", "gpt2-medium", seed),
    "lengths V100": lambda seed: lengths("V100", "gpt2-xl", seed),
    "batches A100": lambda seed: batches("A100", "gpt2-large", seed),
    "batches T4": lambda seed: batches("T4", "gpt2-medium", seed),
    "compiled A100": lambda seed: compiled("A100", seed),
    "compiled RTX": lambda seed: compiled("RTX PRO 6000", seed),
    "decoding M2 Max": lambda seed: decoding("M2 Max", "llama-2-7b", seed),
    "decoding A100": lambda seed: decoding("A100", "llama-3-8b", seed),
    "decoding M1": lambda seed: decoding("M1", "tinyllama-1.1b", seed),
    "perplexities": lambda seed: perplexities(seed),
    "perplexities stride 512": lambda seed: perplexities(seed, 512),
    "contexts": contexts,
    "units M1": lambda seed: compute_units("M1", seed),
    "units M4": lambda seed: compute_units("M4", seed),
    "llama-bench M2": lambda seed: bench_rows("M2", seed),
    "llama-bench T4": lambda seed: bench_rows("T4", seed),
    "classifier": accuracies,
    "serving A100": lambda seed: serving("A100", seed),
}
"""Tables of other tools, by name."""

STUDIES: Mapping[str, Callable[[int], Subject]] = {
    "study": lambda seed: study(seed),
    "study on a faster machine": lambda seed: study(seed, scale=1.7),
    "study with more rounds": lambda seed: study(seed, scale=0.8, rounds=12, noise=0.02),
}
"""Studies of Assay, by name."""
