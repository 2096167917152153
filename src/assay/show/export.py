"""The result for machines: its own JSON, CSV, and the JSON of llama-bench and pyperf. It refuses to invent a field.

What another tool's format asks for and Assay did not record is left out there; every other number is the recorded one,
in that format's unit.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from assay.core.metrics import METRICS
from assay.core.records import (
    Absent,
    Comparison,
    Estimate,
    Finding,
    Measured,
    Result,
    Round,
    Row,
    Run,
    Samples,
    Workload,
)
from assay.show import format as shown
from assay.show.view import comparison_of

CSV_COLUMNS = (
    "study", "name", "variant", "role", "status", "run_outcome", "source_quantisation", "metric", "workload", "unit",
    "value", "low", "high", "level", "absent_reason", "valid", "ratio", "ratio_low", "ratio_high",
    "ratio_absent_reason", "baseline", "outcome", "rounds", "smallest_effect", "findings",
)  # fmt: skip
"""One line of CSV is one number: a variant and a metric. Units are SI, as recorded; a fraction has the unit 1."""

_RATES = {"prefill": ("prefill_tok_per_s", "prefill_s"), "decode": ("decode_tok_per_s", "tpot_s")}


def to_json(result: Result) -> str:
    """The whole record; `Result.from_json` reads it back."""
    return result.model_dump_json(indent=2) + "\n"


def to_csv(result: Result) -> str:
    """One line for each variant and metric, with the columns `CSV_COLUMNS`; the null variant is among them."""
    file = io.StringIO()
    writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in result.rows:
        for key, value in row.metrics.items():
            writer.writerow(_csv_line(result, row, key, value))
        if not row.metrics:
            writer.writerow(_csv_variant(result, row))
    return file.getvalue()


def to_llama_bench_json(result: Result, rounds: Sequence[Round] = ()) -> str:
    """Prefill and decode speeds as llama-bench's JSON: a list with one object for each variant and test.

    `avg_ts` is the number that the table shows, `avg_ns` the same as the time of the test. `samples_*` and `stddev_*`
    come from the rounds' steady samples and are left out without rounds. A decode sample is one token's step, brought
    to the `n_gen` tokens of the test. What only Assay knows stands under `assay`.
    """
    tests = [
        _llama_bench_test(result, row, key, value, rounds)
        for row in result.rows
        if row.role != "null"
        for key, value in row.metrics.items()
        if not isinstance(value, Absent) and shown.base_metric(key) in {rate for rate, _ in _RATES.values()}
    ]
    return json.dumps([test for test in tests if test], indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_pyperf_json(result: Result, rounds: Sequence[Round]) -> str:
    """The raw times of all rounds as pyperf's JSON: one benchmark for each variant, workload and time, one run a round.

    Warm-up values stand apart, as pyperf keeps them. Runs without a steady value cannot be written there; their
    number is in the benchmark's metadata.
    """
    runs_by_name: dict[str, list[tuple[Run, Samples]]] = {}
    for measured in rounds:
        for run in measured.runs:
            for samples in run.samples:
                if samples.metric in METRICS and METRICS[samples.metric].unit == "s":
                    name = f"{run.variant}: {run.workload.name}: {samples.metric}"
                    runs_by_name.setdefault(name, []).append((run, samples))
    benchmarks = [_pyperf_benchmark(name, runs) for name, runs in runs_by_name.items()]
    machine = result.environment.machine
    metadata: dict[str, Any] = {
        "cpu_count": machine.logical_cpus,
        "platform": f"{machine.system}-{machine.release}-{machine.architecture}",
        "python_version": result.environment.python,
        "assay_study": result.study,
        "assay_name": result.name,
    }
    if isinstance(machine.cpu_model, str):
        metadata["cpu_model_name"] = machine.cpu_model
    suite = {"version": "1.0", "metadata": metadata, "benchmarks": [each for each in benchmarks if each["runs"]]}
    return json.dumps(suite, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


# ------------------------------------------------------------------------------------------------- CSV


def _csv_variant(result: Result, row: Row) -> dict[str, str]:
    verdict = next((verdict for verdict in result.verdicts if verdict.variant == row.name), None)
    quantisation = result.model.quantisation
    return {
        "study": result.study,
        "name": result.name,
        "variant": row.name,
        "role": row.role,
        "status": verdict.status if verdict else "",
        "run_outcome": row.outcome.kind,
        "source_quantisation": quantisation if isinstance(quantisation, str) else "",
    }


def _csv_line(result: Result, row: Row, key: str, value: Measured | Estimate) -> dict[str, str]:
    metric = shown.base_metric(key)
    about = _findings_about(result, row.name, key)
    compared = comparison_of(result, row.name, key)
    return {
        **_csv_variant(result, row),
        "metric": metric,
        "workload": shown.workload_of(key) or (compared.workload if compared else ""),
        "unit": METRICS[metric].unit if metric in METRICS else "",
        **_csv_value(value),
        "valid": "false" if any(finding.severity == "ERR" for finding in about) else "true",
        "findings": "; ".join(f"{finding.severity} {finding.check}" for finding in about),
        **(_csv_comparison(compared) if compared else {}),
    }


def _csv_value(value: Measured | Estimate) -> dict[str, str]:
    match value:
        case Absent():
            return {"absent_reason": value.reason}
        case Estimate():
            bounds = {"low": value.low, "high": value.high, "level": value.level}
            return {"value": repr(value.value), **{name: repr(bound) for name, bound in bounds.items()}}
        case _:
            return {"value": repr(value)}


def _csv_comparison(compared: Comparison) -> dict[str, str]:
    written = {
        "baseline": compared.baseline,
        "outcome": compared.outcome,
        "rounds": str(compared.rounds),
    }
    if not isinstance(compared.smallest_effect, Absent):
        written["smallest_effect"] = repr(compared.smallest_effect)
    if isinstance(compared.ratio, Absent):
        return {**written, "ratio_absent_reason": compared.ratio.reason}
    ratio = compared.ratio
    return {
        **written,
        "ratio": repr(ratio.value),
        "ratio_low": repr(ratio.low),
        "ratio_high": repr(ratio.high),
    }


def _findings_about(result: Result, row: str, key: str) -> list[Finding]:
    metrics = {key, shown.base_metric(key)}
    return [
        finding
        for finding in result.findings
        if any(cell.row == row and cell.metric in metrics for cell in finding.cells)
    ]


# ------------------------------------------------------------------------------------------------- llama-bench


def _llama_bench_test(
    result: Result, row: Row, key: str, value: float | Estimate, rounds: Sequence[Round]
) -> dict[str, Any]:
    rate = shown.base_metric(key)
    kind, sampled = next((kind, sampled) for kind, (metric, sampled) in _RATES.items() if metric == rate)
    found = list(_runs_of(rounds, row.name, kind, shown.workload_of(key)))
    workload = found[0].workload if found else _workload_by_name(result, row, key, kind)
    tokens_per_s = value.value if isinstance(value, Estimate) else value
    compared = comparison_of(result, row.name, key)
    artifact = row.artifact
    test: dict[str, Any] = {
        "build_commit": f"assay {result.environment.packages.get('assay', '')}".strip(),
        "model_filename": result.model.location,
        "n_threads": result.environment.threads,
        "test_time": result.created_utc,
        "avg_ts": tokens_per_s,
        "assay": {
            "variant": row.name,
            "study": result.study,
            "valid": not any(finding.severity == "ERR" for finding in _findings_about(result, row.name, key)),
            "outcome": compared.outcome if compared else row.role,
        },
    }
    if isinstance(result.environment.machine.cpu_model, str):
        test["cpu_info"] = result.environment.machine.cpu_model
    if not isinstance(artifact, Absent):
        test["model_type"] = f"{artifact.contract.architecture} {row.name}"
        test["model_size"] = artifact.weight_bytes
        test["model_n_params"] = artifact.parameter_count
    if found:
        test["backends"] = found[0].target.runtime
    if workload is not None:
        is_decode = kind == "decode"
        tokens = workload.batch * (workload.new_tokens if is_decode else workload.prompt_tokens)
        test["n_prompt"] = 0 if is_decode else workload.prompt_tokens
        test["n_gen"] = workload.new_tokens if is_decode else 0
        test["n_depth"] = workload.prompt_tokens if is_decode else 0
        test["avg_ns"] = round(1e9 * tokens / tokens_per_s)
        calls = workload.new_tokens if is_decode else 1
        seconds = [calls * time_s for run in found for time_s in _steady(run, sampled)]
        test |= _llama_bench_samples(seconds, tokens)
    return test


def _llama_bench_samples(seconds: Sequence[float], tokens: int) -> dict[str, Any]:
    if not seconds:
        return {}
    rates = [tokens / time_s for time_s in seconds]
    samples: dict[str, Any] = {"samples_ns": [round(1e9 * time_s) for time_s in seconds], "samples_ts": rates}
    if len(seconds) > 1:
        samples["stddev_ns"] = round(1e9 * statistics.stdev(seconds))
        samples["stddev_ts"] = statistics.stdev(rates)
    return samples


def _runs_of(rounds: Sequence[Round], variant: str, kind: str, workload: str) -> Iterator[Run]:
    for measured in rounds:
        for run in measured.runs:
            if (run.variant, run.workload.kind) == (variant, kind) and workload in ("", run.workload.name):
                yield run


def _steady(run: Run, metric: str) -> tuple[float, ...]:
    samples = run.samples_of(metric)
    return () if isinstance(samples, Absent) else samples.steady


def _workload_by_name(result: Result, row: Row, key: str, kind: str) -> Workload | None:
    """Without rounds, the lengths are read from the workload's own name, such as `decode 128+64 x2`."""
    compared = comparison_of(result, row.name, key)
    others = [other.workload for other in result.comparisons if other.metric == shown.base_metric(key)]
    name = shown.workload_of(key) or (compared.workload if compared else next(iter(others), ""))
    words = name.split()
    if len(words) < 2 or words[0] != kind:
        return None
    prompt, _, new = words[1].partition("+")
    batch = words[2].removeprefix("x") if len(words) > 2 else "1"
    if not (prompt.isdigit() and batch.isdigit() and (new.isdigit() or not new)):
        return None
    return Workload(
        kind="decode" if kind == "decode" else "prefill",
        prompt_tokens=int(prompt),
        new_tokens=int(new or 0),
        batch=int(batch),
    )


# ------------------------------------------------------------------------------------------------- pyperf


def _pyperf_benchmark(name: str, runs: Sequence[tuple[Run, Samples]]) -> dict[str, Any]:
    with_values = [(run, samples) for run, samples in runs if samples.steady]
    first = runs[0][0]
    metadata: dict[str, Any] = {
        "name": name,
        "unit": "second",
        "loops": 1,
        "assay_variant": first.variant,
        "assay_workload": first.workload.name,
        "assay_runtime": first.target.runtime,
    }
    if len(with_values) < len(runs):
        metadata["assay_runs_without_steady_values"] = len(runs) - len(with_values)
    return {"metadata": metadata, "runs": [_pyperf_run(run, samples) for run, samples in with_values]}


def _pyperf_run(run: Run, samples: Samples) -> dict[str, Any]:
    metadata: dict[str, Any] = {"date": run.started_utc, "assay_run": run.id, "assay_round": run.round}
    if not isinstance(run.memory.peak_bytes, Absent):
        metadata["mem_max_rss"] = int(run.memory.peak_bytes)
    if not isinstance(run.environment.before.load_average, Absent):
        metadata["load_avg_1min"] = run.environment.before.load_average
    written: dict[str, Any] = {"metadata": metadata, "values": list(samples.steady)}
    if samples.warmup:
        written["warmups"] = [[1, time_s] for time_s in samples.values[: samples.warmup]]
    return written
