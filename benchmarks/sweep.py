"""A sweep of 24 cells (8 variants x 3 workloads of a tiny model) against the fixed protocol of usual tools.

    python benchmarks/sweep.py [--quick]

The fixed protocol gives each cell a process of its own, at least 10 runs and at least 10 s of them. The sweep is one
study. Target: at most half of the fixed protocol's wall time at intervals of +-5 %; cells that stay wider are counted
as unresolved on both sides. A study compares, so its intervals are those of the ratio to the baseline; the fixed
protocol knows only the interval of a cell's own median, which says nothing of the noise between processes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

from assay import api, catalog
from assay.core.records import Absent, Comparison, Estimate, Target, Workload
from assay.core.study import MeasurePolicy, QualityPlan, Study
from assay.judge.stats.quantiles import p50
from assay.pipeline.processes import WorkerProcess
from rates import show

WIDTH = 0.05
RUNS = 10
TINY = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}
SHORT: tuple[str, ...] = ("fp32", "bf16", "fp16", "int8", "lut3-oc8", "lut4-oc8", "lut6-oc8", "lut8-oc8")
WORKLOADS: tuple[Workload, ...] = (
    Workload(kind="prefill", prompt_tokens=32, new_tokens=0),
    Workload(kind="prefill", prompt_tokens=128, new_tokens=0),
    Workload(kind="decode", prompt_tokens=16, new_tokens=32),
)


def study_of(model: Path, variants: tuple[str, ...], workloads: tuple[Workload, ...], budget_s: float) -> Study:
    return Study(
        name="sweep",
        model=str(model),
        baseline=variants[0],
        reference=variants[0],
        variants=tuple(api.variant_of(short) for short in variants),
        workloads=workloads,
        quality=QualityPlan(tokens=0),
        measure=MeasurePolicy(budget_s=budget_s, margin=WIDTH, max_rounds=20, warmup_cap_s=2),
        threads=1,
    )


def half_width(estimate: Estimate | Absent) -> float:
    """Larger reach of an interval, relative to its value; infinite where there is none."""
    if isinstance(estimate, Absent):
        return float("inf")
    return max(estimate.high - estimate.value, estimate.value - estimate.low) / estimate.value


def is_open(comparison: Comparison) -> bool:
    """Neither decided nor within +-5 %."""
    return comparison.outcome in ("inconclusive", "not_comparable") and half_width(comparison.ratio) > WIDTH


def fixed_cell(store: Path, model: Path, short: str, workload: Workload, least_s: float) -> float:
    """One cell by the fixed protocol: a process, a first call, runs until both bounds are met; its half-width."""
    directory, _ = api.build(str(model), api.transforms_of(short), "torch", store)
    artifact = catalog.exporter("torch").read_artifact(directory)
    tokens = sorted((store / "tokens").glob("*.json"))[0]
    asked = workload.model_dump(mode="json")
    seconds: list[float] = []
    with WorkerProcess(short) as worker:
        worker.ask(
            "open",
            600,
            directory=str(directory),
            target=Target(threads=1).model_dump(mode="json"),
            decoding=api.Decoding().model_dump(mode="json"),
            capacity=artifact.contract.context_length,
            batch=1,
            tokens=str(tokens),
        )
        worker.ask("first_call", 600, workload=asked)
        began = time.monotonic()
        while len(seconds) < RUNS or time.monotonic() - began < least_s:
            calls = max(1, workload.new_tokens)  # one run: a whole prompt, or all the tokens of a text
            seconds.append(median(worker.ask("block", 600, workload=asked, calls=calls)["seconds"]))
    return half_width(p50(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 cells, .2 s each: shows that it works, and no figure")
    parser.add_argument("--least", type=float, default=10.0, help="seconds of runs of a cell in the fixed protocol")
    given = parser.parse_args()
    least_s, variants, workloads = given.least, SHORT, WORKLOADS
    if given.quick:
        least_s, variants, workloads = 0.2, SHORT[:2], WORKLOADS[1:]
    cells = len(variants) * len(workloads)
    with tempfile.TemporaryDirectory() as folder:
        model, store = Path(folder) / "config.json", Path(folder) / "store"
        model.write_text(json.dumps(TINY))
        began = time.monotonic()
        result = api.run(study_of(model, variants, workloads, budget_s=max(20.0, cells * least_s / 2)), store)
        sweep_s = time.monotonic() - began
        began = time.monotonic()
        widths = [fixed_cell(store, model, short, each, least_s) for short in variants for each in workloads]
        fixed_s = time.monotonic() - began
    unresolved = sum(is_open(each) for each in result.comparisons)
    too_wide = sum(width > WIDTH for width in widths)
    rows = [
        ["one study (artifacts built)", f"{sweep_s:.0f}", f"{unresolved} of {len(result.comparisons)} ratios"],
        ["fixed protocol (artifacts there)", f"{fixed_s:.0f}", f"{too_wide} of {cells} medians"],
    ]
    show(f"{cells} cells", ["protocol", "wall time, s", "unresolved at +-5 %"], rows)
    print(f"\n  time of the study / time of the fixed protocol: {sweep_s / fixed_s:.2f} (target: at most 0.5)")


if __name__ == "__main__":
    main()
