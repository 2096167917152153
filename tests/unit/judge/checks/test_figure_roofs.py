"""Checks of printed rates, placements and neighbours, each with a table that must wake it and one that must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from assay.core.figures import PrintedRatio
from assay.core.hardware import recognised
from assay.core.records import Absent, Roofs
from assay.judge.checks.runner import run_checks
from assay.judge.checks.tables import with_tables
from fixtures_figures import cells_of, judged, row, severities, table
from planted import healthy

GPT2 = {"model": "gpt2", "batch": 8, "prompt_tokens": 512}
"""0.9 to 1.1 TFLOP a forward."""


@pytest.mark.parametrize(
    ("seconds", "dtype", "device", "found"),
    [
        (0.080, "fp32", "A100", []),
        (0.054, "fp32", "A100", ["WARN"]),
        (0.010, "fp32", "A100", ["ERR"]),
        (0.010, "bf16", "A100", []),
        (0.001, "bf16", "NVIDIA A100-SXM4-80GB", ["ERR"]),
        (0.001, "mixed", "A100", ["ERR"]),
        (0.001, "bf16", "T4", ["ERR"]),
        (0.010, "fp32", "a device of ours", []),
        (0.010, "fp32", "8x A100", []),
    ],
)
def test_a_forward_cannot_beat_the_peak_of_its_type(seconds: float, dtype: str, device: str, found: list[str]) -> None:
    made = table(row("a", {"forward_s": seconds}, dtype=dtype), device=device, **GPT2)
    assert severities("above_peak", made) == found


def test_tf32_is_named_as_what_would_explain_it_and_as_unknown() -> None:
    made = table(row("a", {"forward_s": 0.010}, dtype="fp32"), device="A100", **GPT2)
    cause = judged("above_peak", made)[0][0].cause
    assert "TF32" in cause
    assert cause.startswith("cause unknown")


def test_the_fact_that_would_wake_the_rule_is_named() -> None:
    assert judged("above_peak", table(row("a", {"forward_s": 0.01})))[1][0].startswith("no shape of a (--shape")
    assert judged("above_peak", table(row("a", {"forward_s": 0.01}), model="gpt2"))[1] == (
        "no tokens of a call of a (--context)",
    )
    assert "--device" in judged("above_peak", table(row("a", {"forward_s": 0.01}), **GPT2))[1][0]


def test_a_shape_from_the_user_wakes_it() -> None:
    made = table(row("S", {"forward_s": 0.001}, dtype="fp32"), batch=8, prompt_tokens=512)
    assert severities("above_peak", made, device="A100", shape=("S=12x768x3072",)) == ["ERR"]
    assert severities("above_peak", made, device="A100", shape=("M=12x768x3072",)) == []


def test_a_study_is_held_against_the_measured_peak() -> None:
    subject = with_tables(healthy.study(0))

    def found(peak: float) -> set[str]:
        roofs = Roofs(name="a machine", kind="measured", source="here", flops_per_s={"float32": peak, "bfloat16": peak},
                      bytes_per_s=1e12, dispatch_floor_s={})  # fmt: skip
        findings, _ = run_checks(replace(subject, roofs=roofs), names=("above_peak",))
        return {finding.severity for finding in findings}

    assert found(5e12) == set()
    assert "ERR" in found(5e11)


def test_a_step_cannot_beat_memory() -> None:
    facts = {"device": "A100", "model": "llama-2-7b", "dtype": "fp16", "prompt_tokens": 512}
    fast, sound = row("a", {"tpot_s": 0.004}), row("b", {"tpot_s": 0.009})
    published, _ = judged("above_bandwidth", table(fast, sound, **{**facts, "device": "RTX PRO 6000"}))
    assert [finding.severity for finding in published] == ["ERR"]
    assert cells_of(published) == {("a", "tpot_s")}
    recalled, _ = judged("above_bandwidth", table(fast, sound, **facts))
    assert [finding.severity for finding in recalled] == ["WARN"]


def test_small_weights_may_lie_in_a_cache_and_drafts_give_several_tokens() -> None:
    small = table(row("a", {"tpot_s": 0.0001, "weight_bytes": 9e7}), device="RTX PRO 6000")
    assert severities("above_bandwidth", small) == []
    draft = table(row("a", {"tpot_s": 0.001, "weight_bytes": 13e9, "acceptance_rate": 0.8}), device="RTX PRO 6000")
    assert severities("above_bandwidth", draft) == []


@pytest.mark.parametrize(("rate", "found"), [(40960.0, []), (42000.0, []), (5120.0, ["ERR"]), (327680.0, ["ERR"])])
def test_a_rate_times_its_time_is_the_work(rate: float, found: list[str]) -> None:
    made = table(row("a", {"forward_s": 0.1, "tok_per_s": rate}), **GPT2)
    assert severities("throughput_latency", made) == found
    if found:
        assert "batch = 8" in judged("throughput_latency", made)[0][0].cause


def test_first_token_and_steps_are_the_whole() -> None:
    facts = {"new_tokens": 101}
    good = row("a", {"ttft_s": 0.5, "tpot_s": 0.01, "end_to_end_s": 1.5})
    bad = row("b", {"ttft_s": 0.5, "tpot_s": 0.01, "end_to_end_s": 1.0})
    findings, _ = judged("throughput_latency", table(good, bad, **facts))
    assert cells_of(findings) == {("b", "ttft_s"), ("b", "tpot_s"), ("b", "end_to_end_s")}


def test_rows_that_agree_to_all_digits_are_copies() -> None:
    one, two = {"forward_s": (0.0123, 0.0004)}, {"forward_s": (0.0123, 0.0005)}
    assert severities("copied_rows", table(row("a", one), row("b", one), row("c", one))) == ["WARN"]
    assert severities("copied_rows", table(row("a", one), row("b", two))) == []
    assert severities("copied_rows", table(row("a", {"forward_s": 0.0123}), row("b", {"forward_s": 0.0123}))) == []
    sizes = {"weight_bytes": 1e8, "perplexity": 20.1}
    assert severities("copied_rows", table(row("a", sizes), row("b", sizes))) == []


def _renamed(run: Any, name: str) -> Any:
    return run.model_copy(update={"variant": name})


def test_two_names_of_one_configuration_are_told() -> None:
    subject = healthy.study(0)
    twin = subject.rows[1].model_copy(update={"name": "again", "role": "candidate"})
    rounds = tuple(
        r.model_copy(update={"runs": (*r.runs, *(_renamed(run, "again") for run in r.runs if run.variant == "bf16"))})
        for r in subject.rounds
    )
    found, _ = run_checks(replace(subject, rows=(*subject.rows, twin), rounds=rounds), names=("copied_rows",))
    assert any("one configuration" in finding.summary for finding in found)
    null = replace(subject, rows=(*subject.rows, twin.model_copy(update={"role": "null"})), rounds=rounds)
    assert run_checks(null, names=("copied_rows",))[0] == ()


@pytest.mark.parametrize(("value", "found"), [(2.0, []), (2.01, []), (2.3, ["WARN"])])
def test_a_printed_speedup_follows_from_the_figures(value: float, found: list[str]) -> None:
    made = table(row("base", {"forward_s": 0.02}), row("fast", {"forward_s": 0.01}), row("c", {"forward_s": 0.015}))
    ratio = PrintedRatio(row="fast", metric="forward_s", against="base", value=value, digits=3)
    assert severities("printed_ratio", made.model_copy(update={"ratios": (ratio,)})) == found


def test_a_speedup_without_a_baseline_is_acquitted_by_any_row() -> None:
    made = table(row("base", {"tok_per_s": 20.0}), row("fast", {"tok_per_s": 30.0}), row("c", {"tok_per_s": 10.0}))
    for value, found in ((1.5, []), (3.0, []), (2.0, ["WARN"])):
        ratio = PrintedRatio(row="fast", metric="tok_per_s", value=value, digits=2)
        assert severities("printed_ratio", made.model_copy(update={"ratios": (ratio,)})) == found


def test_a_cell_in_another_unit_is_found_among_its_neighbours() -> None:
    names = "abcd"
    slipped = table(*(row(n, {"forward_s": v}) for n, v in zip(names, (0.01, 0.02, 21.0, 0.03), strict=True)))
    findings, _ = judged("unit_slip", slipped)
    assert cells_of(findings) == {("c", "forward_s")}
    grown = table(*(row(n, {"forward_s": v}) for n, v in zip(names, (0.01, 0.1, 1.0, 10.0), strict=True)))
    assert severities("unit_slip", grown) == []
    share = table(*(row(n, {"accuracy": v}) for n, v in zip(names, (0.91, 0.0089, 0.9, 0.88), strict=True)))
    assert cells_of(judged("unit_slip", share)[0]) == {("b", "accuracy")}


def units(all_s: float, **ops: Any) -> Any:
    return table(
        row("CPU", {"prefill_s": 0.1}, compute_units="CPU only", cpu_ops=1345),
        row("all", {"prefill_s": all_s}, compute_units="all", **ops),
        row("ANE", {"prefill_s": 0.04}, compute_units="CPU and ANE", cpu_ops=100, ane_ops=1245),
    )


def test_units_that_did_nothing_cannot_be_fast() -> None:
    assert "ERR" in severities("compute_units", units(0.039, cpu_ops=1300, ane_ops=45))
    assert "ERR" not in severities("compute_units", units(0.039, cpu_ops=100, ane_ops=1245))
    assert "ERR" not in severities("compute_units", units(0.099, cpu_ops=1300, ane_ops=45))


def test_all_units_slower_than_one_is_suspect_and_other_totals_are_told() -> None:
    assert severities("compute_units", units(0.06, cpu_ops=100, ane_ops=1245)) == ["WARN"]
    assert severities("compute_units", units(0.04, cpu_ops=100, ane_ops=1245)) == []
    assert severities("compute_units", units(0.04, cpu_ops=100, ane_ops=1200)) == ["INFO"]


def test_what_ran_is_held_against_what_was_asked() -> None:
    fell_back = row(
        "a", {"forward_s": 0.1}, device="cpu", requested_device="cuda:0", dtype="fp32", requested_dtype="fp16"
    )
    findings, _ = judged("placement", table(fell_back))
    assert "cuda:0 was asked for, cpu ran" in findings[0].summary
    assert "float16 was asked for, float32 ran" in findings[0].summary
    as_asked = row(
        "a", {"forward_s": 0.1}, device="cuda:0", requested_device="cuda", dtype="torch.float16", requested_dtype="half"
    )
    assert severities("placement", table(as_asked)) == []


def test_a_device_with_nothing_to_do_is_suspect() -> None:
    assert severities("placement", table(row("a", {"utilisation": 0.02}))) == ["WARN"]
    assert severities("placement", table(row("a", {"utilisation": 0.4}))) == []
    slow, sound = row("a", {"forward_s": 20.0}, dtype="fp32"), row("a", {"forward_s": 0.08}, dtype="fp32")
    assert severities("placement", table(slow, device="A100", **GPT2)) == ["WARN"]
    assert severities("placement", table(sound, device="A100", **GPT2)) == []


@pytest.mark.parametrize(
    ("dtype", "device", "units_", "found"),
    [("tf32", "V100", "", ["ERR"]), ("tf32", "A100", "", []), ("fp8", "A100", "", ["ERR"]), ("fp8", "H100", "", []),
     ("fp16", "P100", "tensor cores", ["ERR"]), ("fp16", "T4", "tensor cores", []), ("bf16", "T4", "", []),
     ("bf16", "T4", "Tensor Cores", ["ERR"]), ("tf32", "", "", [])],
)  # fmt: skip
def test_types_that_a_device_does_not_have(dtype: str, device: str, units_: str, found: list[str]) -> None:
    facts = {"device": device} if device else {}
    made = table(row("a", {"forward_s": 0.1}, dtype=dtype, compute_units=units_), **facts)
    assert severities("hardware_contradiction", made) == found


def test_a_sparse_peak_is_no_dense_one() -> None:
    made = table(row("a", {"achieved_flops_per_s": 600e12}, dtype="bf16"), device="A100")
    assert "sparsity" in judged("hardware_contradiction", made)[0][0].summary
    assert (
        severities(
            "hardware_contradiction", table(row("a", {"achieved_flops_per_s": 250e12}, dtype="bf16"), device="A100")
        )
        == []
    )


def test_guesses_of_prose_condemn_nothing() -> None:
    made = table(row("a", {"forward_s": 0.001}, dtype="tf32"), **GPT2)
    guessed = made.model_copy(update={"hypotheses": {"device": "V100"}})
    for check in ("hardware_contradiction", "above_peak"):
        assert severities(check, guessed) == []


def pairs(fast: float, **facts: Any) -> Any:
    return table(row("fp32", {"prefill_s": 0.1}, dtype="fp32"), row("fp16", {"prefill_s": fast}, dtype="fp16"), **facts)


def test_a_speedup_is_bound_by_bytes_and_peaks() -> None:
    assert severities("speedup_bound", pairs(0.02, device="A100")) == []
    assert severities("speedup_bound", pairs(0.005, device="A100")) == ["WARN"]
    assert judged("speedup_bound", pairs(0.005))[1] != ()


def test_fewer_bits_that_are_slower_are_expected_only_for_a_recorded_reason() -> None:
    assert severities("slower_precision", pairs(0.13)) == ["WARN"]
    assert severities("slower_precision", pairs(0.13, device="P100")) == ["INFO"]
    assert severities("slower_precision", pairs(0.13, device="V100")) == ["WARN"]
    assert severities("slower_precision", pairs(0.13, autocast=True)) == []
    assert severities("slower_precision", pairs(0.101)) == []
    mixed = table(row("fp32", {"forward_s": 0.1}, dtype="fp32"), row("mixed", {"forward_s": 0.2}, dtype="mixed"))
    findings, _ = judged("slower_precision", mixed)
    assert [finding.severity for finding in findings] == ["INFO"]
    assert "autocast" in findings[0].cause


def test_one_configuration_in_several_tables_is_a_replicate() -> None:
    def twice(second: float, std: float = 0.001) -> list[str]:
        one = table(row("S", {"forward_s": (0.1, std)}, dtype="fp32"), title="first", samples=10)
        two = table(row("S", {"forward_s": (second, std)}, dtype="fp32"), title="second", samples=10)
        return severities("replicates", one, two)

    assert twice(0.12) == ["WARN"]
    assert twice(0.1005) == []
    assert twice(0.12, 0.05) == []
    other = table(row("S", {"forward_s": (0.2, 0.001)}, dtype="bf16"), title="second", samples=10)
    assert (
        severities("replicates", table(row("S", {"forward_s": (0.1, 0.001)}, dtype="fp32"), title="first"), other) == []
    )


def test_a_variant_of_a_device_is_not_the_device() -> None:
    for name in ("Apple M1 Ultra", "8x A100", "A100 x4", "A100 MIG 1g"):
        assert isinstance(recognised(name), Absent), name


def test_an_fp32_whose_products_are_less_is_suspect() -> None:
    def found(precision: str, dtype: str = "fp32") -> list[str]:
        return severities("placement", table(row("a", {"forward_s": 0.1}, dtype=dtype, matmul_precision=precision)))

    assert found("bfloat16") == ["WARN"]
    assert found("float32") == []
    assert found("bfloat16", "bf16") == []
