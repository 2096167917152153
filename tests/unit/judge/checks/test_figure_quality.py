"""Checks of printed quality, sizes, energy and contracts, each with a table that must wake it and one that must not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from assay.core.figures import Figure
from assay.core.records import Estimate, TransformSpec
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.runner import CHECKS, load_check, run_checks
from assay.judge.checks.tables import subject_of_tables, with_tables
from fixtures_figures import cells_of, judged, row, severities, table
from planted import faults, healthy

WIKI = {"model": "GPT-2", "dataset": "WikiText-2 raw", "context": 1024}


@pytest.mark.parametrize(
    ("value", "facts", "found"),
    [
        (29.9, {}, []), (32.5, {}, []), (34.0, {}, ["WARN"]), (45.0, {}, ["ERR"]), (217.0, {}, ["ERR"]),
        (25.2, {"stride": 512}, []), (29.9, {"stride": 512}, ["WARN"]), (53.0, {"context": 128}, []),
        (67.0, {"context": 128}, []), (29.0, {"context": 128}, ["ERR"]), (37.5, {"dataset": "wikitext-103"}, []),
        (22.8, {"model": "gpt2-medium"}, []), (22.8, {"model": "openai-community/gpt2-xl"}, ["WARN"]),
        (217.0, {"model": "a model of ours"}, []), (217.0, {"dataset": "our text"}, []), (217.0, {"stride": 64}, []),
    ],
)  # fmt: skip
def test_perplexities_are_held_against_published_ones(value: float, facts: dict[str, Any], found: list[str]) -> None:
    assert severities("expected_perplexity", table(row("a", {"perplexity": value}), **{**WIKI, **facts})) == found


def test_what_is_missing_for_a_published_perplexity_is_named() -> None:
    made = table(row("a", {"perplexity": 217.0}))
    assert "--model" in judged("expected_perplexity", made)[1][0]
    assert "--dataset" in judged("expected_perplexity", made, model="gpt2")[1][0]
    assert "--context" in judged("expected_perplexity", made, model="gpt2", dataset="wikitext-2")[1][0]


def test_hints_name_windows_and_bits_and_call_the_cause_unknown() -> None:
    short = judged("expected_perplexity", table(row("a", {"perplexity": 43.3}), **WIKI))[0][0]
    assert "windows of 256" in short.cause
    assert short.cause.startswith("cause unknown")
    bits = judged("expected_perplexity", table(row("a", {"perplexity": 2 ** math.log(29.4)}), **WIKI))[0][0]
    assert "2 to the power" in bits.cause


def test_perplexity_is_exp_of_its_own_likelihood() -> None:
    good, bad = {"perplexity": 20.0, "nll_nats": 2.996}, {"perplexity": 20.0, "nll_nats": 4.32}
    assert severities("expected_perplexity", table(row("a", good))) == []
    findings, _ = judged("expected_perplexity", table(row("a", bad)))
    assert cells_of(findings) == {("a", "perplexity"), ("a", "nll_nats")}


def test_no_better_than_chance_is_broken() -> None:
    made = table(
        row("a", {"perplexity": 45000.0}), row("b", {"perplexity": 900.0}), row("c", {"perplexity": 0.5}), model="gpt2"
    )
    assert cells_of(judged("broken_model", made)[0]) == {("a", "perplexity"), ("c", "perplexity")}
    assert severities("broken_model", table(row("a", {"kl_nats": 6.0, "top1_agreement": 0.01}), model="gpt2")) == [
        "ERR",
        "ERR",
    ]
    assert judged("broken_model", table(row("a", {"perplexity": 45000.0})))[1] != ()


def test_classifiers() -> None:
    def scores(int8: float, **facts: Any) -> list[str]:
        made = table(
            row("fp32", {"accuracy": 0.91}, dtype="fp32"), row("fp16", {"accuracy": 0.909}, dtype="fp16"),
            row("int8", {"accuracy": int8}, dtype="int8"), **facts,
        )  # fmt: skip
        return severities("classifier", made)

    assert scores(0.905) == []
    assert scores(0.09) == ["ERR"]
    assert scores(0.30) == []
    assert scores(90.5) == ["ERR"]
    assert scores(0.509, majority_share=0.509) == ["ERR"]
    assert severities("classifier", table(row("a", {"accuracy": 0.12})), expected_accuracy=0.88) == ["ERR"]


def test_a_conversion_that_changed_nothing() -> None:
    def likelihoods(second: float, digits: int) -> list[str]:
        made = table(row("fp32", {}, dtype="fp32"), row("fp16", {}, dtype="fp16"))
        figures = tuple(
            Figure(row=name, metric="nll_nats", value=value, digits=digits)
            for name, value in (("fp32", 3.40218), ("fp16", second))
        )
        return severities("conversion_absent", made.model_copy(update={"figures": figures}))

    assert likelihoods(3.40218, 6) == ["ERR"]
    assert likelihoods(3.40219, 6) == []
    assert likelihoods(3.40218, 3) == ["INFO"]
    assert severities("conversion_absent", table(row("a", {"psnr_db": 140.0}, dtype="fp16"))) == ["ERR"]
    assert severities("conversion_absent", table(row("a", {"psnr_db": 140.0}, dtype="fp32"))) == []


def test_perfect_agreement_is_vacuous_on_random_weights_alone() -> None:
    perfect = row("int8", {"top1_agreement": 1.0, "kl_nats": 0.0})
    assert severities("saturated", table(perfect), random_weights=True) == ["ERR"]
    assert severities("saturated", table(perfect)) == []
    assert (
        severities("saturated", table(row("int8", {"top1_agreement": 0.99, "kl_nats": 0.0})), random_weights=True) == []
    )


def test_an_equal_needs_a_comparator_that_found_a_fault() -> None:
    equal = table(row("a", {"kl_nats": 0.0}))
    assert severities("unproven_comparator", equal, planted_fault_found=False) == ["ERR"]
    assert severities("unproven_comparator", equal, planted_fault_found=True) == []
    assert "planted fault" in judged("unproven_comparator", equal)[1][0]
    assert judged("unproven_comparator", table(row("a", {"kl_nats": 0.1}))) == ((), ())


@pytest.mark.parametrize(
    ("facts", "found"),
    [({"chunk_edge_difference": 2.0}, ["ERR"]), ({"chunk_edge_difference": 0.1}, []),
     ({"chunk_edge_difference": 0.1, "dtype": "fp32"}, ["ERR"]), ({"rejected_draft_changed_cache": True}, ["ERR"]),
     ({"rejected_draft_changed_cache": False}, [])],
)  # fmt: skip
def test_caches_must_give_what_no_cache_gives(facts: dict[str, Any], found: list[str]) -> None:
    assert severities("cache_equality", table(row("a", {"tpot_s": 0.01}, **facts))) == found


def test_a_study_that_recorded_a_changed_cache_is_struck() -> None:
    subject = with_tables(healthy.study(0))
    rounds = tuple(r.model_copy(update={"runs": tuple(_with_fact(run) for run in r.runs)}) for r in subject.rounds)
    findings, _ = run_checks(replace(subject, rounds=rounds), names=("cache_equality",))
    assert {cell.row for finding in findings for cell in finding.cells} == {"int8"}


def _with_fact(run: Any) -> Any:
    changed = {"rejected_draft_changed_cache": run.variant == "int8"}
    return run.model_copy(update={"facts": {**run.facts, **changed}})


def watts(power: float, energy: float = 0.0, **facts: Any) -> list[str]:
    cells = {"forward_s": 0.1, "power_w": power, "energy_j": energy or power * 0.1}
    return severities("energy", table(row("a", cells), device="T4", **facts))


def test_energy_is_power_times_time_within_what_the_board_may_take() -> None:
    assert watts(50.0) == []
    assert watts(50.0, 5.2) == []
    assert watts(50.0, 5.6) == ["ERR"]
    assert watts(90.0) == ["ERR"]
    assert watts(90.0, power_limit_w=100) == []
    assert watts(50.0, -1.0) == ["ERR"]
    assert watts(20.0, idle_w=10) == []
    assert watts(11.0, idle_w=10) == ["WARN"]
    assert watts(9.0, idle_w=10) == ["ERR"]
    assert watts(50.0, energy_window_s=0.5, counter_period_s=0.1) == ["WARN"]
    assert watts(50.0, energy_window_s=5, counter_period_s=0.1) == []


def test_operations_cannot_cost_less_than_limit_over_peak() -> None:
    facts = {"device": "T4", "model": "gpt2", "batch": 8, "prompt_tokens": 512, "dtype": "fp32"}
    # About 1.05 TFLOP; at 70 W and 8.1 TFLOP/s that is 9 J at best.
    for joules, found in ((11.0, []), (6.0, ["WARN"]), (3.0, ["ERR"])):
        assert severities("energy", table(row("a", {"forward_s": 0.15, "energy_j": joules}), **facts)) == found


def test_the_same_power_in_every_row_was_assumed() -> None:
    def rows(*powers: float) -> list[str]:
        return severities("energy", table(*(row(f"r{i}", {"power_w": p}) for i, p in enumerate(powers))))

    assert rows(50.0, 50.02, 49.99) == ["WARN"]
    assert rows(50.0, 50.9, 49.1) == []
    assert rows(50.0, 50.0) == []


@pytest.mark.parametrize(
    ("megabytes", "bits", "found"),
    [(249, 16, []), (300, 16, ["WARN"]), (200, 16, ["WARN"]), (125, 8, []), (165, 8, []), (240, 8, ["ERR"]),
     (249, 4, ["ERR"]), (70, 4, [])],
)  # fmt: skip
def test_a_file_is_as_large_as_its_bits_say(megabytes: float, bits: int, found: list[str]) -> None:
    made = table(row("a", {"weight_bytes": megabytes * 1e6}, weight_bits=bits), model="gpt2")
    assert severities("weight_size", made) == found
    assert judged("weight_size", table(row("a", {"weight_bytes": 1e8})))[1] != ()


def test_a_transform_of_ours_that_saved_nothing() -> None:
    subject = healthy.study(0)
    built = subject.rows[2].artifact
    spec = TransformSpec(kind="int8_weight_only", options={})
    change = built.changes[0].model_copy(update={"kind": spec.kind, "bytes_before": 100, "bytes_after": 100})  # type: ignore[union-attr]
    for after, found in ((100, ["ERR"]), (52, [])):
        made = built.model_copy(  # type: ignore[union-attr]
            update={"transforms": (spec,), "changes": (change.model_copy(update={"bytes_after": after}),)}
        )
        rows = (*subject.rows[:2], subject.rows[2].model_copy(update={"artifact": made}))
        findings, _ = run_checks(replace(subject, rows=rows), names=("weight_size",))
        assert [finding.severity for finding in findings] == found


def test_weights_with_more_values_than_their_bits_are_struck() -> None:
    subject = with_tables(healthy.study(0))
    for probed, found in ((False, ["ERR"]), (True, [])):
        findings, _ = run_checks(
            faults.facts("int8", weights_have_claimed_bits=probed)(subject), names=("weight_size",)
        )
        assert [finding.severity for finding in findings] == found


def test_fewer_bits_do_not_predict_better() -> None:
    def scores(int4: float, **facts: Any) -> list[str]:
        made = table(
            row("fp16", {"perplexity": 20.0}, dtype="fp16"), row("int4", {"perplexity": int4}, dtype="int4", **facts)
        )
        return severities("better_than_reference", made)

    assert scores(18.0) == ["WARN"]
    assert scores(19.9) == []
    assert scores(22.0) == []


def test_training_after_quantising_may_predict_better() -> None:
    made = table(
        row("fp16", {"perplexity": 20.0}, dtype="fp16"), row("int4", {"perplexity": 18.0}, dtype="int4"), qat=True
    )
    assert severities("better_than_reference", made) == []


def test_a_study_whose_variant_beats_its_reference_is_suspect() -> None:
    subject = healthy.study(0)
    for high, found in ((0.99, ["WARN"]), (1.01, [])):
        ratio = Estimate(value=0.98, low=0.97, high=high, method="block bootstrap")
        better = subject.rows[2].model_copy(update={"metrics": {**subject.rows[2].metrics, "perplexity_ratio": ratio}})
        findings, _ = run_checks(replace(subject, rows=(*subject.rows[:2], better)), names=("better_than_reference",))
        assert [finding.severity for finding in findings] == found


def test_calibration_on_random_or_little_text() -> None:
    def found(**facts: Any) -> list[str]:
        return severities("calibration", table(row("a", {"perplexity": 20.0}, **facts)))

    assert found(calibration_samples=8, calibration_source="wikitext") == ["WARN"]
    assert found(calibration_samples=128, calibration_source="random tokens") == ["WARN"]
    assert found(calibration_samples=128, calibration_source="wikitext") == []
    assert found() == []


def test_a_conversion_that_outgrew_its_estimate() -> None:
    def found(used: float) -> list[str]:
        facts = {"conversion_temporary_bytes": used, "conversion_estimate_bytes": 2e10}
        return severities("conversion_space", table(row("a", {"weight_bytes": 1e9}, **facts)))

    assert found(3e10) == ["ERR"]
    assert found(1e10) == []


def test_acceptance_follows_from_its_histogram() -> None:
    def found(*counts: int, rate: float = 0.8) -> list[str]:
        facts = {"draft_tokens": 2, "acceptance_histogram": counts}
        return severities("speculation", table(row("a", {"acceptance_rate": rate}, **facts)))

    assert found(20, 16, 64) == []
    assert found(50, 20, 30) == ["ERR"]
    positions = table(row("a", {"decode_tok_per_s": 9.0}, draft_tokens=2, acceptance_by_position=("0.8", "0.5"),
                          acceptance_histogram=(20, 40, 40)))  # fmt: skip
    assert severities("speculation", positions) == []


def test_drafts_must_pay() -> None:
    def found(draft: float) -> list[str]:
        facts = {"draft_tokens": 4, "draft_s": draft, "verify_s": 0.012, "plain_step_s": 0.01}
        return severities("speculation", table(row("a", {"acceptance_rate": 0.7}, **facts)))

    assert found(0.001) == []
    assert found(0.005) == ["WARN"]


def test_the_parts_of_a_bundle_agree() -> None:
    def parts(mask: int) -> list[str]:
        made = table(
            row("prefill", {"load_s": 1.0}, bundle="smol", context=8192, mask_length=8192),
            row("decode", {"load_s": 1.0}, bundle="smol", context=8192, mask_length=mask),
        )
        return severities("contracts", made)

    assert parts(2048) == ["ERR"]
    assert parts(8192) == []


def test_every_check_survives_tables_without_facts() -> None:
    subject = subject_of_tables([table(row("a", {"forward_s": 0.1}), row("b", {})), table()])
    for name in CHECKS:
        load_check(name).check(subject, CheckPolicy())


TEXT = {
    "text_compression": 4.1, "text_distinct_2": 0.40, "text_repeated_4grams": 0.54, "text_script_share": 1.0,
    "text_longest_word": 14.0, "text_nll_nats": 0.8,
}  # fmt: skip
"""Of a healthy small model that repeats itself."""


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"text_compression": 5.5}, []),
        ({"text_compression": 6.0}, ["ERR"]),
        ({"text_distinct_2": 0.2}, ["ERR"]),
        ({"text_repeated_4grams": 0.8}, ["ERR"]),
        ({"text_script_share": 0.6}, ["ERR"]),
        ({"text_longest_word": 90.0}, ["ERR"]),
        ({"text_nll_nats": 1.5}, []),
        ({"text_nll_nats": 4.0}, ["ERR"]),
    ],
)
def test_text_is_held_against_the_reference_s_own(changed: dict[str, float], found: list[str]) -> None:
    made = table(row("fp32", TEXT, role="reference"), row("int4", {**TEXT, **changed}, role="candidate"))
    assert severities("degenerate_text", made) == found


def test_without_a_reference_text_is_not_judged() -> None:
    findings, unseen = judged("degenerate_text", table(row("int4", {**TEXT, "text_nll_nats": 9.0}, role="candidate")))
    assert findings == ()
    assert "no text of the reference" in unseen[0]
