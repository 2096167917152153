"""Checks of printed times: each with a table that must wake it and a similar one that must not."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pytest

from assay.core.records import Roofs
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.runner import load_check
from assay.judge.checks.tables import with_tables
from fixtures_figures import cells_of, judged, ranged, row, severities, table
from planted import healthy

LARGE = {"layers": 24, "hidden_size": 1024, "intermediate_size": 4096}
SMALL = {"layers": 12, "hidden_size": 768, "intermediate_size": 3072}


def test_a_deviation_above_sqrt_n_is_impossible() -> None:
    made = table(row("a", {"forward_s": (0.01, 0.032)}), row("b", {"forward_s": (0.01, 0.0316)}), samples=10)
    findings, _ = judged("impossible_spread", made)
    assert [finding.severity for finding in findings] == ["ERR"]
    assert cells_of(findings) == {("a", "forward_s")}


def test_the_divisor_n_lowers_the_limit() -> None:
    made = table(row("a", {"forward_s": (0.01, 0.0312)}), samples=10)
    assert severities("impossible_spread", made) == []
    assert severities("impossible_spread", made, ddof=0) == ["ERR"]


def test_without_a_number_of_samples_a_spread_is_not_checked() -> None:
    findings, unseen = judged("impossible_spread", table(row("a", {"forward_s": (0.01, 0.05)})))
    assert findings == ()
    assert unseen == ("no number of samples behind the means (--samples)",)


def test_samples_of_any_kind_stay_below_the_limit() -> None:
    draw = random.Random(3)
    for _ in range(200):
        values = [draw.lognormvariate(0, 2.5) for _ in range(draw.randint(2, 12))]
        made = table(row("a", {"forward_s": (fmean(values), stdev(values))}), samples=len(values))
        assert severities("impossible_spread", made) == []


def test_one_cold_call_is_recognised_by_its_deviation_and_repaired() -> None:
    calls = [2.5, *[0.1] * 9]
    cold = row("no warm-up", {"forward_s": (fmean(calls), stdev(calls))}, warmup=0)
    warm = row("warm-up 5", {"forward_s": (0.1, 0.001)}, warmup=5)
    findings, _ = judged("cold_call", table(cold, warm), samples=10)
    assert cells_of(findings) == {("no warm-up", "forward_s")}
    assert findings[0].numbers["repaired_s"] == pytest.approx(0.1)
    assert findings[0].numbers["repaired_first_s"] == pytest.approx(2.5)
    assert "repaired, not measured" in findings[0].summary


def test_wide_scatter_around_a_warm_minimum_is_not_one_cold_call() -> None:
    calls = [0.06, 0.08, 0.1, 0.12, 0.14]
    figure = ranged("a", "forward_s", fmean(calls), 0.06, 0.14)
    spread = figure[1][0].model_copy(update={"std": stdev(calls)})
    assert severities("cold_call", table((figure[0], (spread,)), samples=5)) == []


def test_without_a_warm_reference_only_a_wide_deviation_is_suspect() -> None:
    wide, narrow = row("a", {"forward_s": (0.1, 0.03)}), row("b", {"forward_s": (0.1, 0.02)})
    findings, _ = judged("cold_call", table(wide, narrow), samples=10)
    assert cells_of(findings) == {("a", "forward_s")}
    assert "cause unknown" in findings[0].cause


def test_printed_noise_reads_deviation_and_extremes() -> None:
    assert severities("printed_noise", table(row("a", {"forward_s": (0.1, 0.012)}))) == ["WARN"]
    assert severities("printed_noise", table(row("a", {"forward_s": (0.1, 0.009)}))) == []
    assert severities("printed_noise", table(ranged("a", "forward_s", 0.1, 0.09, 0.16))) == ["WARN"]
    assert severities("printed_noise", table(ranged("a", "forward_s", 0.1, 0.09, 0.14))) == []
    assert severities("printed_noise", table(ranged("a", "forward_s", 1e-3, 9e-4, 1.1e-3))) == ["WARN"]


def test_phases_that_do_not_add_up_are_errors_on_all_three() -> None:
    bad = row("a", {"forward_s": (0.010, 0.0001), "backward_s": (0.020, 0.0001), "train_step_s": (0.0320, 0.0001)})
    good = row("b", {"forward_s": (0.010, 0.0001), "backward_s": (0.020, 0.0001), "train_step_s": (0.0302, 0.0001)})
    findings, _ = judged("phase_sum", table(bad, good), samples=10)
    assert cells_of(findings) == {("a", "forward_s"), ("a", "backward_s"), ("a", "train_step_s")}


def test_an_optimizer_that_is_timed_belongs_to_the_whole() -> None:
    parts = {"forward_s": 0.010, "backward_s": 0.020, "optimizer_step_s": 0.005}
    assert severities("phase_sum", table(row("a", {**parts, "train_step_s": 0.035}))) == []
    assert severities("phase_sum", table(row("a", {**parts, "train_step_s": 0.030}))) == ["ERR"]


def test_a_gap_within_two_standard_errors_is_no_finding() -> None:
    wide = row("a", {"forward_s": (0.010, 0.003), "backward_s": (0.020, 0.003), "train_step_s": (0.0315, 0.003)})
    assert severities("phase_sum", table(wide), samples=10) == []


def test_a_derived_phase_is_told_and_makes_the_sum_vacuous() -> None:
    std = math.hypot(0.003, 0.004)
    derived = row("a", {"forward_s": (0.01, 0.003), "backward_s": (0.02, std), "train_step_s": (0.05, 0.004)})
    findings, _ = judged("phase_sum", table(derived), samples=10)
    assert [(finding.severity, finding.cells[0].metric) for finding in findings] == [("INFO", "backward_s")]


@pytest.mark.parametrize(("backward", "found"), [(0.020, 0), (0.016, 0), (0.031, 0), (0.015, 1), (0.033, 1), (0.0, 0)])
def test_backward_takes_about_twice_the_forward(backward: float, found: int) -> None:
    made = table(row("a", {"forward_s": 0.010, "backward_s": backward}))
    assert severities("backward_ratio", made) == ["WARN"] * found


def test_a_larger_model_that_is_faster_is_suspect() -> None:
    made = table(
        row("S", {"forward_s": (0.020, 0.0002)}, size="S", **SMALL),
        row("M", {"forward_s": (0.012, 0.0002)}, size="M", **LARGE),
        samples=10,
    )
    findings, _ = judged("more_is_faster", made)
    assert cells_of(findings) == {("S", "forward_s"), ("M", "forward_s")}


@pytest.mark.parametrize(
    ("name", "facts"), [("M flash", {}), ("M", {"dtype": "bf16"}), ("M", {"batch": 1}), ("M", {"compiled": True})]
)  # fmt: skip
def test_rows_that_differ_in_something_else_are_not_held_against_each_other(
    name: str, facts: dict[str, object]
) -> None:
    made = table(
        row("S", {"forward_s": 0.020}, size="S", dtype="fp32", batch=8, **SMALL),
        row(name, {"forward_s": 0.012}, **{"size": "M", "dtype": "fp32", "batch": 8, **LARGE, **facts}),
    )
    assert severities("more_is_faster", made) == []


def test_a_longer_prompt_that_is_faster_within_its_error_is_not_suspect() -> None:
    short = row("128", {"prefill_s": (0.0105, 0.004)}, prompt_tokens=128)
    long = row("256", {"prefill_s": (0.0100, 0.004)}, prompt_tokens=256)
    assert severities("more_is_faster", table(short, long, samples=10)) == []


def test_equal_time_per_layer_at_other_work_is_overhead() -> None:
    flat = table(row("S", {"forward_s": 0.0120}, size="S", **SMALL), row("M", {"forward_s": 0.0245}, size="M", **LARGE))
    grown = table(
        row("S", {"forward_s": 0.0120}, size="S", **SMALL), row("M", {"forward_s": 0.0420}, size="M", **LARGE)
    )
    assert severities("overhead_bound", flat) == ["WARN"]
    assert severities("overhead_bound", grown) == []
    assert "precision" in judged("overhead_bound", flat)[0][0].summary


def test_the_same_residual_over_precisions_is_an_overhead() -> None:
    def rows(extra: tuple[float, float, float]) -> list[Any]:
        # A100, gpt2 at 8 x 512: about .9 TFLOP, so 47, 6 and 3 ms at the peaks of fp32, tf32 and bf16.
        roofs = {"float32": 0.0529, "tf32": 0.00662, "bfloat16": 0.00331}
        return [
            row(name, {"prefill_s": roofs[name] + rest}, dtype=name) for name, rest in zip(roofs, extra, strict=True)
        ]

    facts = {"device": "A100", "model": "gpt2", "batch": 8, "prompt_tokens": 512}
    assert severities("constant_residual", table(*rows((0.21, 0.205, 0.2)), **facts)) == ["WARN"]
    assert severities("constant_residual", table(*rows((0.05, 0.01, 0.004)), **facts)) == []
    assert severities("constant_residual", table(*rows((0.21, 0.205, 0.2)))) == []


def test_compiled_that_equals_eager_is_suspect() -> None:
    eager = row("eager", {"forward_s": 0.0100, "backward_s": 0.0200}, compiled=False)
    same = row("compiled", {"forward_s": 0.0101, "backward_s": 0.0199}, compiled=True)
    faster = row("compiled", {"forward_s": 0.0101, "backward_s": 0.0150}, compiled=True)
    assert severities("compile_absent", table(eager, same)) == ["WARN"]
    assert severities("compile_absent", table(eager, faster)) == []
    assert severities("compile_absent", table(eager)) == []


def test_twice_the_calls_take_twice_the_time() -> None:
    one = row("10 calls", {"call_s": 0.1}, calls=10)
    assert severities("unsynchronised", table(one, row("20 calls", {"call_s": 0.102}, calls=20))) == ["ERR"]
    assert severities("unsynchronised", table(one, row("20 calls", {"call_s": 0.203}, calls=20))) == []
    assert "no time of k and of 2 k calls" in judged("unsynchronised", table(row("a", {"call_s": 0.1})))[1]


def test_a_prefill_that_is_flat_in_its_length_is_an_error_where_the_device_cannot_be_that_fast() -> None:
    def lengths(last: float) -> Any:
        return table(
            *(row(f"{n} tokens", {"prefill_s": s}, prompt_tokens=n) for n, s in ((128, 0.0030), (1024, last))),
            device="T4", model="gpt2-medium", dtype="fp32",
        )  # fmt: skip

    assert severities("unsynchronised", lengths(0.0031)) == ["ERR"]
    assert severities("unsynchronised", lengths(0.12)) == []


def test_a_flat_time_that_launches_explain_is_no_error() -> None:
    made = table(
        *(row(f"{n} tokens", {"prefill_s": 0.02}, prompt_tokens=n) for n in (32, 64)),
        device="A100", model="gpt2", dtype="bf16",
    )  # fmt: skip
    assert severities("unsynchronised", made) == []


def test_a_short_dispatch_floor_of_a_study_blocks_conclusions() -> None:
    subject = with_tables(healthy.study(0))
    rounds = tuple(
        r.model_copy(
            update={"runs": tuple(run.model_copy(update={"facts": {**run.facts, "dispatches": 400}}) for run in r.runs)}
        )
        for r in subject.rounds
    )

    def found(floor: float) -> list[str]:
        roofs = Roofs(
            name="a machine", kind="measured", source="here", flops_per_s={}, bytes_per_s=2e10,
            dispatch_floor_s={"torch": floor},
        )  # fmt: skip
        answer = load_check("overhead_bound").check(replace(subject, rounds=rounds, roofs=roofs), CheckPolicy())
        return [finding.severity for finding in answer.findings]

    assert found(1e-6) == []
    assert set(found(5e-5)) == {"WARN"}
