"""Checks of variants and their predictions: each with records that must wake it and records that must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from assay.core.records import Absent, Finding, ModelSource, Outcome, Row, TransformSpec
from assay.judge.checks import (
    broken_model,
    contracts,
    conversion_absent,
    palettes_expanded,
    slower_precision,
    source_quantised,
    speedup_bound,
)
from assay.judge.checks.policy import CheckPolicy

POLICY = CheckPolicy()
INT8 = TransformSpec(kind="int8_weight_only")
LUT4 = TransformSpec(kind="palettize", options={"bits": 4, "output_channels": 8})


def severities(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.severity for finding in findings]


def with_rows(make: Any, *rows: Row, **changes: Any) -> Any:
    """The sound study with some of its rows replaced, by name."""
    given = {row.name: row for row in rows}
    sound = make.subject(**changes)
    kept = tuple(given.pop(row.name, row) for row in sound.rows)
    return replace(sound, rows=(*kept, *given.values()))


# --------------------------------------------------------------------------------------------------- rule 22


@pytest.mark.parametrize(
    "sign",
    [
        {"kl_nats": 0.0},
        {"max_logit_difference": 0.0},
        {"psnr_db": 230.0},
        {"nll_nats": 3.3700000004},
    ],
)
def test_a_conversion_that_changed_nothing_is_an_error(make: Any, sign: Any) -> None:
    sound = {"nll_nats": 3.39, "kl_nats": 3e-3, "psnr_db": 38.0, "max_logit_difference": 0.9}
    quality = (make.quality("fp32", nll_nats=3.37), make.quality("bf16"), make.quality("int8", **{**sound, **sign}))
    answer = conversion_absent.check(make.subject(quality=quality), POLICY)
    assert severities(answer.findings) == ["ERR"]
    assert set(answer.findings[0].numbers) == set(sign)
    assert "decode_tok_per_s" in {cell.metric for cell in answer.findings[0].cells}


def test_figures_that_are_equal_to_three_digits_prove_nothing(make: Any) -> None:
    quality = (make.quality("fp32", nll_nats=3.3700), make.quality("bf16"), make.quality("int8", nll_nats=3.3704))
    assert conversion_absent.check(make.subject(quality=quality), POLICY).findings == ()


def test_the_same_types_may_predict_the_same(make: Any) -> None:
    twin = make.row("fp32-chunked", built=make.artifact("fp32-chunked", 538_060_032, dtype="float32"))
    quality = (*make.subject().quality, make.quality("fp32-chunked", kl_nats=0.0, nll_nats=3.37))
    assert conversion_absent.check(with_rows(make, twin, quality=quality), POLICY).findings == ()


def test_without_quality_a_conversion_is_not_checked(make: Any) -> None:
    answer = conversion_absent.check(make.subject(quality=()), POLICY)
    assert answer.not_checked == ("no quality of bf16", "no quality of int8")
    unbuilt = make.row("int8", built=Absent(reason="plan failed"))
    assert "no artifact of int8" in conversion_absent.check(with_rows(make, unbuilt), POLICY).not_checked[0]


# --------------------------------------------------------------------------------------------------- rule 25


@pytest.mark.parametrize(
    ("metrics", "cells"),
    [
        ({"nll_nats": 10.5}, {"nll_nats", "perplexity", "perplexity_ratio"}),  # ln 49152 = 10.80
        ({"nll_nats": 4.0, "kl_nats": 6.0}, {"kl_nats"}),
        ({"nll_nats": 4.0, "top1_agreement": 0.01}, {"top1_agreement"}),
        (
            {"nll_nats": Absent(reason="3 rows of logits are not finite (NaN or infinite)")},
            {"nll_nats", "perplexity", "perplexity_ratio"},
        ),
    ],
)
def test_a_broken_model_is_an_error(make: Any, metrics: Any, cells: set[str]) -> None:
    answer = broken_model.check(make.subject(quality=(make.quality("int8", **metrics),)), POLICY)
    assert severities(answer.findings) == ["ERR"]
    assert {cell.metric for cell in answer.findings[0].cells} == cells


def test_a_bad_but_living_model_is_not(make: Any) -> None:
    quality = (make.quality("int8", nll_nats=7.5, kl_nats=4.0, top1_agreement=0.12),)
    assert broken_model.check(make.subject(quality=quality), POLICY) == ((), ())


def test_random_weights_are_named_as_the_cause(make: Any) -> None:
    subject = make.subject(
        quality=(make.quality("fp32", nll_nats=10.8),),
        source=ModelSource(kind="random", location="tiny", digest="ab" * 32),
    )
    assert "random weights" in broken_model.check(subject, POLICY).findings[0].cause


def test_quality_that_was_not_measured_is_not_checked(make: Any) -> None:
    crashed = make.quality("int8", outcome=Outcome(kind="crashed", message="signal 11"))
    silent = make.quality("bf16", nll_nats=Absent(reason="this runtime gives no logits"))
    answer = broken_model.check(make.subject(quality=(crashed, silent)), POLICY)
    assert answer.not_checked == (
        "no quality of int8: crashed",
        "no likelihood of bf16: this runtime gives no logits",
    )


# --------------------------------------------------------------------------------------------------- rule 33


@pytest.mark.parametrize(
    ("field", "value"), [("vocab_size", 50257), ("context_length", 1024), ("sliding_window", 512), ("head_dim", 32)]
)
def test_variants_of_another_model_are_an_error(make: Any, field: str, value: int) -> None:
    other = make.row("int8", built=make.artifact("int8", 163_301_376, **{field: value}), tpot_s=0.01)
    answer = contracts.check(with_rows(make, other), POLICY)
    assert severities(answer.findings) == ["ERR"]
    assert f"{field} {value} against" in answer.findings[0].summary


def test_a_run_in_another_type_than_its_artifact_is_an_error(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0}, 2, facts={"activations_dtype": "float32"})
    answer = contracts.check(make.subject(rounds=rounds), POLICY)
    assert severities(answer.findings) == ["ERR"]
    assert "activations_dtype float32; its contract says bfloat16" in answer.findings[0].summary


def test_more_tokens_than_the_context_is_an_error(make: Any) -> None:
    long = make.decode.model_copy(update={"prompt_tokens": 2000})
    rounds = make.rounds_of({"bf16": 0.0}, 1, workload=long)
    assert "2064 tokens" in contracts.check(make.subject(rounds=rounds), POLICY).findings[0].summary
    quality = (make.quality("bf16", context=4096, kl_nats=0.001),)
    assert "windows of 4096" in contracts.check(make.subject(quality=quality), POLICY).findings[0].summary


def test_figures_of_another_artifact_are_an_error(make: Any) -> None:
    rebuilt = make.row("bf16", "baseline", make.artifact("another"), tpot_s=0.02)
    said = [f.summary for f in contracts.check(with_rows(make, rebuilt), POLICY).findings]
    assert any("ran the artifact" in text for text in said)
    assert any("quality is of the artifact" in text for text in said)


def test_parts_that_agree_are_silent(make: Any) -> None:
    effective = {"fp32": "float32", "bf16": "torch.bfloat16", "int8": "bf16"}
    rounds = tuple(
        r.model_copy(
            update={
                "runs": tuple(
                    run.model_copy(update={"facts": {"activations_dtype": effective[run.variant]}}) for run in r.runs
                )
            }
        )
        for r in make.subject().rounds
    )
    assert contracts.check(make.subject(rounds=rounds), POLICY) == ((), ())
    assert contracts.check(make.subject(), POLICY).not_checked == ("no effective dtype in the facts of any run",)


# ---------------------------------------------------------------------------------------------- rules 18 and 19


def slow_int8(make: Any, metric: str, workload: Any, **artifact: Any) -> Any:
    built = make.artifact("int8", 163_301_376, transforms=[INT8], **artifact)
    return with_rows(
        make,
        make.row("int8", built=built),
        rounds=make.rounds_of({"bf16": 0.0, "int8": 0.4}, 5, workload=workload),
        comparisons=(make.comparison("int8", (0.67, 0.65, 0.69), "worse", metric=metric, workload=workload.name),),
    )


def test_weight_only_int8_that_is_slower_at_512_tokens_is_expected(make: Any) -> None:
    answer = slower_precision.check(slow_int8(make, "prefill_tok_per_s", make.prefill), POLICY)
    assert severities(answer.findings) == ["INFO"]
    assert "512 tokens share each read of a weight" in answer.findings[0].cause


def test_weight_only_int8_that_is_slower_in_decode_is_suspect(make: Any) -> None:
    answer = slower_precision.check(slow_int8(make, "decode_tok_per_s", make.decode), POLICY)
    assert severities(answer.findings) == ["WARN"]
    assert "cause unknown" in answer.findings[0].cause


def test_a_type_that_the_cpu_cannot_multiply_is_expected_to_be_slow(make: Any) -> None:
    """The smaller row is the baseline here: fp32 beats bf16 on a CPU without bf16 instructions."""
    comparisons = (make.comparison("fp32", (1.6, 1.5, 1.7), "better"),)
    for isa, severity in ((("avx2",), "INFO"), (("avx2", "avx512_bf16"), "WARN"), ((), "WARN")):
        rounds = make.rounds_of({"bf16": 0.0, "fp32": -0.4}, 5, env=make.environment(machine=make.machine(isa=isa)))
        answer = slower_precision.check(make.subject(rounds=rounds, comparisons=comparisons), POLICY)
        assert severities(answer.findings) == [severity]
        assert answer.findings[0].cells[0].row == "bf16"
        assert answer.findings[0].numbers["ratio"] == pytest.approx(1 / 1.6)


def test_expanded_palettes_explain_a_slow_decode(make: Any) -> None:
    built = make.artifact("lut4", 96_214_080, resident_bytes=269_030_016, transforms=[LUT4])
    subject = with_rows(
        make,
        make.row("lut4", built=built),
        rounds=make.rounds_of({"bf16": 0.0, "lut4": 0.05}, 5),
        comparisons=(make.comparison("lut4", (0.95, 0.93, 0.97), "worse"),),
    )
    answer = slower_precision.check(subject, POLICY)
    assert severities(answer.findings) == ["INFO"]
    assert "expanded at load" in answer.findings[0].cause


def test_a_lower_precision_that_is_faster_is_silent(make: Any) -> None:
    assert slower_precision.check(make.subject(), POLICY) == ((), ())


def test_a_speed_up_beyond_the_bytes_is_suspect(make: Any) -> None:
    too_fast = (make.comparison("int8", (2.4, 2.3, 2.5), "better"),)  # 1.65 x fewer bytes
    answer = speedup_bound.check(make.subject(comparisons=too_fast), POLICY)
    assert severities(answer.findings) == ["WARN"]
    assert answer.findings[0].numbers["bytes_ratio"] == pytest.approx(1.647, abs=0.001)


@pytest.mark.parametrize("ratio", [(1.6, 1.55, 1.65), (2.0, 1.75, 2.3)])
def test_a_speed_up_within_the_bytes_or_its_interval_is_silent(make: Any, ratio: Any) -> None:
    assert speedup_bound.check(make.subject(comparisons=(make.comparison("int8", ratio, "better"),)), POLICY) == (
        (),
        (),
    )


def test_a_speed_up_by_arithmetic_has_no_bound_without_the_peaks(make: Any) -> None:
    fast = (make.comparison("int8", (3.0, 2.9, 3.1), "better", metric="prefill_tok_per_s"),)
    answer = speedup_bound.check(make.subject(comparisons=fast), POLICY)
    assert answer.findings == ()
    assert "no measured peak" in answer.not_checked[0]


# ------------------------------------------------------------------------------------------- sources and palettes


def quantised_source(make: Any, kind: str, transform: TransformSpec) -> Any:
    built = make.artifact("small", 96_214_080, transforms=[transform])
    source = ModelSource(kind="gguf", location="a.gguf", digest="ab" * 32, quantisation=kind)
    return with_rows(make, make.row("small", built=built, perplexity=30.0), source=source)


def test_a_quantised_source_is_told_once(make: Any) -> None:
    answer = source_quantised.check(quantised_source(make, "Q4_1", INT8), POLICY)
    assert severities(answer.findings) == ["INFO"]
    assert "Q4_1" in answer.findings[0].summary


@pytest.mark.parametrize(("kind", "transform"), [("Q4_1", LUT4), ("Q8_0", INT8), ("IQ4_NL", LUT4)])
def test_quantising_to_the_sources_own_bits_is_suspect(make: Any, kind: str, transform: TransformSpec) -> None:
    answer = source_quantised.check(quantised_source(make, kind, transform), POLICY)
    assert severities(answer.findings) == ["INFO", "WARN"]
    assert answer.findings[1].cells[0].row == "small"


def test_a_full_precision_source_is_silent_and_an_unknown_type_is_told(make: Any) -> None:
    assert source_quantised.check(make.subject(), POLICY) == ((), ())
    answer = source_quantised.check(quantised_source(make, "NEWTYPE", INT8), POLICY)
    assert "no bits are known of the source type NEWTYPE" in answer.not_checked[0]


def test_weights_that_grow_at_load_are_told(make: Any) -> None:
    built = make.artifact("lut4", 96_214_080, resident_bytes=269_030_016, transforms=[LUT4], notes=["expanded to bf16"])
    answer = palettes_expanded.check(with_rows(make, make.row("lut4", built=built, decode_tok_per_s=48.0)), POLICY)
    assert severities(answer.findings) == ["INFO"]
    assert answer.findings[0].cause == "expanded to bf16"
    assert "96.21 MB on disk and 269 MB in memory" in answer.findings[0].summary


def test_weights_that_stay_as_they_are_on_disk_are_silent(make: Any) -> None:
    assert palettes_expanded.check(make.subject(), POLICY) == ((), ())
