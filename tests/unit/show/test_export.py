import csv
import io
import json
import math
import statistics

import pytest

from assay.core.records import Absent, Estimate, Result, Round
from assay.show import export
from assay.show.export import CSV_COLUMNS, to_csv, to_json, to_llama_bench_json, to_pyperf_json


def test_json_is_the_whole_record(result: Result) -> None:
    assert Result.from_json(to_json(result)) == result


def test_csv_has_every_number_and_every_reason(result: Result) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(result))))
    assert tuple(lines[0]) == CSV_COLUMNS
    by_cell = {(line["variant"], line["metric"]): line for line in lines}
    for row in result.rows:
        for key, value in row.metrics.items():
            line = by_cell[(row.name, key)]
            match value:
                case Absent():
                    assert (line["value"], line["absent_reason"]) == ("", value.reason)
                case Estimate():
                    written = tuple(float(line[name]) for name in ("value", "low", "high", "level"))
                    assert written == (value.value, value.low, value.high, value.level)
                case _:
                    assert float(line["value"]) == value
    struck = by_cell[("lut4-oc8", "decode_tok_per_s")]
    assert (struck["valid"], struck["findings"]) == ("false", "ERR quality_out_of_range")
    good = by_cell[("int8", "decode_tok_per_s")]
    assert (good["valid"], good["outcome"], good["ratio"], good["workload"]) == (
        "true", "better", "1.458", "decode 128+64",
    )  # fmt: skip
    assert by_cell[("int4-g32", "weight_bytes")]["run_outcome"] == "unsupported"


def test_a_variant_without_metrics_still_has_a_line(result: Result) -> None:
    bare = result.rows[4].model_copy(update={"metrics": {}})
    lines = list(csv.DictReader(io.StringIO(to_csv(result.model_copy(update={"rows": (bare,)})))))
    assert [(line["variant"], line["status"]) for line in lines] == [("int4-g32", "failed_run")]


def test_llama_bench_json(result: Result, rounds: tuple[Round, ...]) -> None:
    tests = json.loads(to_llama_bench_json(result, rounds))
    assert len(tests) == 8
    decode = next(test for test in tests if test["assay"]["variant"] == "int8" and test["n_gen"])
    assert (decode["n_prompt"], decode["n_gen"], decode["n_depth"]) == (0, 64, 128)
    assert decode["avg_ts"] == 71.3
    assert math.isclose(decode["avg_ns"], 64e9 / 71.3, rel_tol=1e-9)
    steady = [run.samples[0].steady for r in rounds for run in r.runs if run.id.startswith("int8-decode")]
    rates = [1 / time_s for values in steady for time_s in values]
    assert decode["samples_ts"] == pytest.approx(rates)
    assert decode["stddev_ts"] == pytest.approx(statistics.stdev(rates))
    assert decode["samples_ns"] == pytest.approx([64e9 / rate for rate in rates], abs=1)
    assert decode["assay"] == {"variant": "int8", "study": result.study, "valid": True, "outcome": "better"}
    prefill = next(test for test in tests if test["assay"]["variant"] == "lut4-oc8" and test["n_prompt"])
    assert (prefill["n_prompt"], prefill["n_gen"], prefill["n_depth"]) == (512, 0, 0)
    assert prefill["assay"]["valid"] is False


def test_llama_bench_json_without_rounds_has_the_lengths_but_no_samples(result: Result) -> None:
    for test in json.loads(to_llama_bench_json(result)):
        assert test["avg_ts"] > 0
        assert test["avg_ns"] > 0
        assert {"n_prompt", "n_gen", "n_depth"} <= set(test)
        assert not {"samples_ns", "stddev_ts"} & set(test)


def test_pyperf_json(result: Result, rounds: tuple[Round, ...]) -> None:
    suite = json.loads(to_pyperf_json(result, rounds))
    assert suite["version"] == "1.0"
    names = [benchmark["metadata"]["name"] for benchmark in suite["benchmarks"]]
    assert "int8: decode 128+64: tpot_s" in names
    assert len(names) == len(set(names)) == 10
    for benchmark in suite["benchmarks"]:
        assert len(benchmark["runs"]) == len(rounds)
        for run in benchmark["runs"]:
            assert len(run["values"]) == 20
            assert len(run["warmups"]) == 4
            assert all(loops == 1 for loops, _ in run["warmups"])


def test_pyperf_says_how_many_runs_never_settled(result: Result, rounds: tuple[Round, ...]) -> None:
    run = rounds[0].runs[0]
    samples = run.samples[0].model_copy(update={"warmup": len(run.samples[0].values)})
    never = rounds[0].model_copy(update={"runs": (run.model_copy(update={"samples": (samples,)}),)})
    suite = json.loads(to_pyperf_json(result, (never, rounds[1])))
    first = next(b for b in suite["benchmarks"] if b["metadata"]["name"].startswith(f"{run.variant}: prefill"))
    assert first["metadata"]["assay_runs_without_steady_values"] == 1
    assert len(first["runs"]) == 1


def test_pyperf_itself_reads_it(result: Result, rounds: tuple[Round, ...]) -> None:
    pyperf = pytest.importorskip("pyperf", reason="pyperf is not installed; its reader checks our writer where it is")
    suite = pyperf.BenchmarkSuite.loads(to_pyperf_json(result, rounds))
    benchmark = suite.get_benchmark("int8: decode 128+64: tpot_s")
    assert benchmark.get_nvalue() == 20 * len(rounds)
    assert benchmark.get_unit() == "second"


def test_exports_name_no_public_function_twice() -> None:
    assert {name for name in vars(export) if name.startswith("to_")} == {
        "to_json", "to_csv", "to_llama_bench_json", "to_pyperf_json",
    }  # fmt: skip
