"""What a table says: roles of columns, units, orientation, facts of prose, and what is left unread."""

from __future__ import annotations

import pytest

from assay.core.errors import InputError
from assay.core.figures import FigureTable
from assay.core.records import Absent
from assay.judge.imports.correction import Correction, read_correction
from assay.judge.imports.document import document, mend
from assay.judge.imports.facts import prose_facts
from assay.judge.imports.vocabulary import role_of
from assay.pipeline.audit import read


def tables(text: str, name: str = "t.md", correction: Correction | None = None) -> list[FigureTable]:
    return read(document(name, text.encode()), correction or Correction())[1]


def values(table: FigureTable) -> dict[tuple[str, str], float]:
    return {(figure.row, figure.metric): figure.value for figure in table.figures}


@pytest.mark.parametrize(
    ("header", "kind", "name", "statistic"),
    [
        ("Forward (ms)", "metric", "forward_s", "value"),
        ("Fwd std (ms)", "metric", "forward_s", "std"),
        ("Backward ± std (ms)", "metric", "backward_s", "mean"),
        ("avgLatencyMs", "metric", "call_s", "mean"),
        ("Optimizer step (ms)", "metric", "optimizer_step_s", "value"),
        ("Mean ITL (ms)", "metric", "tpot_s", "mean"),
        ("Decode (tok/s)", "metric", "decode_tok_per_s", "value"),
        ("Prefill (ms)", "metric", "prefill_s", "value"),
        ("Peak power (W)", "metric", "power_w", "maximum"),
        ("Energy per token (mJ)", "metric", "energy_j@token", "value"),
        ("Perplexity ↓", "metric", "perplexity", "value"),
        ("Top-1 agreement (%)", "metric", "top1_agreement", "value"),
        ("Model size (MB)", "metric", "weight_bytes", "value"),
        ("VRAM (GB)", "metric", "device_peak_bytes", "value"),
        ("TFLOPS", "metric", "achieved_flops_per_s", "value"),
        ("Compile time (s)", "metric", "compile_s", "value"),
        ("Accuracy (%)", "metric", "accuracy", "value"),
        ("samples/s", "metric", "items_per_s", "value"),
        ("Batch size", "fact", "batch", "value"),
        ("Context length", "fact", "context", "value"),
        ("Precision", "fact", "dtype", "value"),
        ("Compiled", "fact", "compiled", "value"),
        ("Sequence length", "fact", "prompt_tokens", "value"),
        ("n_layer", "fact", "layers", "value"),
        ("Params (M)", "fact", "parameters", "value"),
        ("d_model", "fact", "hidden_size", "value"),
        ("Runs", "fact", "samples", "value"),
        ("Speedup vs fp32", "ratio", "speedup vs fp32", "value"),
        ("Std", "statistic", "", "std"),
        ("Notes", "ignore", "ignore", "value"),
        ("Rel. error", "unknown", "", "value"),
    ],
)
def test_headers(header: str, kind: str, name: str, statistic: str) -> None:
    role = role_of(header)
    assert (role.kind, role.name, role.statistic) == (kind, name, statistic)


def test_several_tables_with_headings_and_prose_as_context() -> None:
    first, second = tables(
        "# Timings\n\nAveraged over 10 runs, batch size 4.\n\n## One, fp16\n\n"
        "| Size | Forward (ms) |\n|--|--|\n| S | 12.5 |\n\n"
        "## Two\n\nWithout any warm-up.\n\n| Size | Forward (ms) | dtype |\n|--|--|--|\n| S | 12,500.0 | fp32 |\n"
    )
    assert dict(first.facts) == {"samples": 10, "batch": 4, "dtype": "float16"}
    assert dict(second.facts) == {"samples": 10, "batch": 4, "warmup": 0}
    assert dict(second.rows[0].facts) == {"size": "S", "dtype": "float32"}
    assert values(second) == {("S", "forward_s"): 12.5}
    assert second.figures[0].where == "line 17, column 2"
    assert second.figures[0].written == "12,500.0"


def test_ragged_rows_failures_and_struck_cells() -> None:
    (table,) = tables(
        "| Size | Forward (ms) | Backward (ms) |\n|--|--|--|\n| S | 1.5 |\n| XL | OOM | - |\n| M | ??? | 4 | 5 |\n"
    )
    assert values(table) == {("S", "forward_s"): 0.0015, ("M", "backward_s"): 0.004}
    assert [row.facts.get("status") for row in table.rows] == [None, "OOM", None]
    assert any("'???' is no number" in line for line in table.unread)
    assert any("1 cells more than the header" in line for line in table.unread)


def test_metrics_as_rows_are_turned() -> None:
    (table,) = tables(
        "| Metric | FP32 | FP16 |\n|--|--|--|\n| Latency (ms) | 12 ± 0.5 | 6 |\n"
        "| Perplexity | 29.4 | 29.5 |\n| Size (MB) | 498 | 249 |\n"
    )
    assert values(table)["FP32", "call_s"] == 0.012
    assert table.figure("FP32", "call_s").std == pytest.approx(5e-4)  # type: ignore[union-attr]
    assert table.figure("FP16", "weight_bytes").value == 249e6  # type: ignore[union-attr]
    assert [row.facts["dtype"] for row in table.rows] == ["float32", "float16"]


def test_one_metric_a_row_is_brought_together() -> None:
    (table,) = tables(
        "model,metric,value,unit\ngpt2,latency,12,ms\ngpt2,perplexity,29.4,\nsmol,latency,20,ms\nsmol,perplexity,17.5,\n",
        "t.csv",
    )
    assert values(table) == {
        ("gpt2", "call_s"): 0.012,
        ("smol", "call_s"): 0.02,
        ("gpt2", "perplexity"): 29.4,
        ("smol", "perplexity"): 17.5,
    }


def test_one_phase_a_row_is_brought_together() -> None:
    (table,) = tables(
        "| Size | Phase | Mean (ms) | Std |\n|--|--|--|--|\n| S | forward | 1 | 0.1 |\n| S | backward | 2 | 0.2 |\n"
        "| S | total | 3 | 0.3 |\n"
    )
    assert values(table) == {("S", "forward_s"): 0.001, ("S", "backward_s"): 0.002, ("S", "train_step_s"): 0.003}
    assert table.figure("S", "backward_s").std == 0.0002  # type: ignore[union-attr]


def test_expected_values_are_kept_apart() -> None:
    measured, expected = tables("| Model | PPL | Expected PPL |\n|--|--|--|\n| gpt2 | 217 | 29.4 |\n")
    assert (measured.expected, expected.expected) == (False, True)
    assert values(measured) == {("gpt2", "perplexity"): 217}
    assert values(expected) == {("gpt2", "perplexity"): 29.4}
    (whole,) = tables("## Theoretical performance\n\n| Model | Latency (ms) |\n|--|--|\n| gpt2 | 1 |\n")
    assert whole.expected
    (mixed,) = [t for t in tables("| Run | Power (W) |\n|--|--|\n| a | 10 |\n| Expected | 30 |\n") if t.expected]
    assert [row.name for row in mixed.rows] == ["Expected"]


def test_a_time_without_a_unit_is_unread_until_somebody_names_it() -> None:
    text = "| Size | Forward | Backward |\n|--|--|--|\n| S | 1.5 | 3.1 |\n"
    with pytest.raises(InputError, match="a unit is missing"):
        tables(text)
    assert values(tables(text, correction=Correction(units=("ms",)))[0])["S", "forward_s"] == 0.0015
    assert values(tables(f"All times are in ms.\n\n{text}")[0])["S", "backward_s"] == 0.0031
    half = "| Size | Forward (ms) | Backward |\n|--|--|--|\n| S | 1.5 | 3.1 |\n"
    assert values(tables(half)[0])["S", "backward_s"] == 0.0031, "the unit of its like"


def test_a_map_corrects(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "map.toml"
    file.write_text(
        'units = ["s"]\n[columns]\nKnob = "ignore"\nZeit = { metric = "forward_s", unit = "ms" }\nStreuung = '
        '{ metric = "forward_s", statistic = "std", unit = "ms" }\nWer = "label"\n[facts]\ndevice = "A100"\n'
        '[tables."Soll"]\nexpected = true\n'
    )
    correction = read_correction(file)
    text = "## {}\n\n| Wer | Zeit | Streuung | Knob |\n|--|--|--|--|\n| a | 12 | 1 | 7 |\n"
    (table,) = tables(text.format("Ist"), correction=correction)
    assert values(table) == {("a", "forward_s"): 0.012}
    assert table.figures[0].std == 0.001
    assert table.facts["device"] == "A100"
    assert tables(text.format("Soll"), correction=correction)[0].expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[columns]\nx = 'latensy'", "no metric and no fact"),
        ("colums = 1", "colums"),
        ("units = ['parsec']", "no unit"),
        ("[columns]\nx = { metric = 'forward_s', unit = 'lightyear' }", "no unit"),
        ("= 1", "no TOML"),
    ],
)
def test_a_wrong_map_is_refused(tmp_path, content: str, said: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "map.toml"
    file.write_text(content)
    with pytest.raises(InputError, match=said):
        read_correction(file)


def test_printed_ratios() -> None:
    (table,) = tables(
        "| Variant | Decode (tok/s) | Speedup |\n|--|--|--|\n| fp16 | 40 | 1.0x |\n| int8 | 50 | 1.25x |\n"
    )
    assert [(ratio.row, ratio.metric, ratio.value, ratio.against) for ratio in table.ratios] == [
        ("fp16", "decode_tok_per_s", 1.0, "fp16"),
        ("int8", "decode_tok_per_s", 1.25, "fp16"),
    ]


def test_rows_of_one_name_are_told_apart_by_their_facts() -> None:
    (table,) = tables(
        "| Model | dtype | Latency (ms) |\n|--|--|--|\n| gpt2 | fp32 | 2 |\n| gpt2 | fp16 | 1 |\n| gpt2 | fp16 | 1 |\n"
    )
    assert [row.name for row in table.rows] == ["gpt2, fp32", "gpt2, fp16", "gpt2, fp16 (2)"]


def test_percent_and_fractions() -> None:
    (table,) = tables("| M | Accuracy | Utilization (%) |\n|--|--|--|\n| a | 87.5 | 40 |\n| b | 91 | 4 |\n")
    assert values(table) == {
        ("a", "accuracy"): 0.875,
        ("b", "accuracy"): 0.91,
        ("a", "utilisation"): 0.4,
        ("b", "utilisation"): 0.04,
    }


def test_wrongly_decoded_text_is_mended() -> None:
    for sign in ("±", "µs", "×", "–", "✅", "🚀"):
        wrong = sign.encode().decode("cp1252", errors="ignore")
        if wrong.encode("cp1252", errors="ignore") == sign.encode():
            assert mend(wrong) == sign
    assert mend("é ± 日本 Â") == "é ± 日本 Â", "what is right stays"
    (table,) = tables("| M | Latency (ms) |\n|--|--|\n| a | 12.4 Â± 0.2 |\n")
    assert table.figures[0].std == pytest.approx(2e-4)


def test_facts_and_guesses_of_prose() -> None:
    said = prose_facts(
        [
            "We timed 20 runs each after 5 warm-up steps on an NVIDIA A100, with a sequence length of 512.",
            "Your GPU might be a T4. The batch size was probably 8.",
            "- **Threads**: 8",
            "Context 128 here. Context 256 there.",
        ]
    )
    assert said.facts == {"samples": 20, "warmup": 5, "device": "A100", "prompt_tokens": 512, "threads": 8}
    assert said.hypotheses == {"batch": 8}, "a device that is stated elsewhere is no guess"
    assert said.unclear == ("the text states context as 128 and as 256: taken for none of them",)


def test_llama_bench_prints_a_table_like_any_other() -> None:
    (table,) = tables(
        "| model | size | params | backend | threads | test | t/s |\n| --- | ---: | ---: | --- | ---: | ---: | ---: |\n"
        "| llama 1B Q4_0 | 606.53 MiB | 1.10 B | CPU | 8 | pp512 | 283.32 ± 1.21 |\n"
        "| llama 1B Q4_0 | 606.53 MiB | 1.10 B | CPU | 8 | tg128 @ d64 | 58.90 ± 0.31 |\n"
    )
    assert {metric for _, metric in values(table)} == {"weight_bytes", "prefill_tok_per_s", "decode_tok_per_s"}
    facts = table.rows[0].facts
    assert (facts["dtype"], facts["parameters"], facts["prompt_tokens"], facts["threads"]) == (
        "Q4_0",
        1_100_000_000,
        512,
        8,
    )
    assert isinstance(table.figures[0].std, Absent)
