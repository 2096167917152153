"""Verdicts: every status, with its reasons in words and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from assay.core.records import Absent, Cell, Estimate, Finding, Outcome
from assay.core.study import Gate
from assay.judge.verdict import verdict

GATE = Gate(min_speedup=1.05, max_kl_nats=0.01)


def finding(severity: Any, metric: str, row: str = "int8") -> Finding:
    return Finding(
        check="contention",
        severity=severity,
        cells=(Cell(row=row, metric=metric),),
        summary="another program ran",
        cause="cause unknown",
        remedy="Repeat",
    )


def test_a_row_within_the_gate_passes_with_its_numbers(make: Any) -> None:
    found = verdict(
        make.row("int8"),
        [make.comparison("int8", (1.31, 1.27, 1.36), "better"), make.comparison("fp32", (0.5, 0.4, 0.6), "worse")],
        make.quality("int8", kl_nats=0.0029),
        GATE,
        (),
    )
    assert found.status == "pass"
    assert found.reasons == (
        "decode 1.31 x bf16 [1.27, 1.36], gate >= 1.05: passed",
        "KL 0.0029 nats <= 0.01: passed",
    )


@pytest.mark.parametrize(
    ("ratio", "status", "ending"),
    [
        ((1.10, 1.06, 1.14), "pass", "passed"),
        ((1.01, 0.98, 1.04), "fail", "failed"),
        ((1.05, 1.02, 1.08), "inconclusive", "undecided, 12 rounds would find 1.3 %"),
        (Absent(reason="3 of at least 5 rounds"), "inconclusive", "gate >= 1.05: undecided"),
    ],
)
def test_a_speed_bound_fails_only_wholly_beyond(make: Any, ratio: Any, status: str, ending: str) -> None:
    found = verdict(
        make.row("int8"), [make.comparison("int8", ratio, "inconclusive")], None, Gate(min_speedup=1.05), ()
    )
    assert found.status == status
    assert found.reasons[0].endswith(ending)


@pytest.mark.parametrize(
    ("gate", "metrics", "status"),
    [
        (Gate(max_kl_nats=0.01), {"kl_nats": Estimate(value=0.009, low=0.007, high=0.011, method="t")}, "inconclusive"),
        (Gate(max_kl_nats=0.01), {"kl_nats": Estimate(value=0.012, low=0.0101, high=0.014, method="t")}, "fail"),
        (Gate(max_kl_nats=0.01), {"kl_nats": Absent(reason="no logits")}, "inconclusive"),
        (Gate(max_kl_nats=0.0), {"kl_nats": 0.0}, "pass"),
        (Gate(max_perplexity_ratio=1.02), {"perplexity_ratio": 1.03}, "fail"),
        (Gate(min_top1_agreement=0.95), {"top1_agreement": 0.95}, "pass"),
        (Gate(min_top1_agreement=0.95), {"top1_agreement": 0.94}, "fail"),
        (Gate(min_top1_agreement=0.95), {}, "inconclusive"),
    ],
)
def test_quality_bounds(make: Any, gate: Gate, metrics: Any, status: str) -> None:
    assert verdict(make.row("int8"), (), make.quality("int8", **metrics), gate, ()).status == status


def test_bytes(make: Any) -> None:
    row = make.row("int8", weight_bytes=163301376.0, peak_rss_bytes=5e8)
    assert verdict(row, (), None, Gate(max_weight_bytes=170_000_000), ()).reasons == (
        "weights on disk 163,301,376 bytes <= 170,000,000: passed",
    )
    assert verdict(row, (), None, Gate(max_peak_bytes=400_000_000), ()).status == "fail"
    assert verdict(make.row("int8"), (), None, Gate(max_peak_bytes=4), ()).status == "inconclusive"


def test_one_failure_fails_and_one_doubt_leaves_open(make: Any) -> None:
    speed = [make.comparison("int8", (1.05, 1.02, 1.08), "inconclusive")]
    assert verdict(make.row("int8"), speed, make.quality("int8", kl_nats=0.5), GATE, ()).status == "fail"
    assert verdict(make.row("int8"), speed, make.quality("int8", kl_nats=0.001), GATE, ()).status == "inconclusive"


@pytest.mark.parametrize(
    ("metric", "row"), [("decode_tok_per_s", "int8"), ("tpot_s@decode 128+64", "int8"), ("tpot_s", "bf16")]
)
def test_a_struck_out_cell_cannot_enter(make: Any, metric: str, row: str) -> None:
    speed = [make.comparison("int8", (1.31, 1.27, 1.36), "better")]
    found = verdict(make.row("int8"), speed, None, Gate(min_speedup=1.05), (finding("ERR", metric, row),))
    assert found.status == "inconclusive"
    assert "cannot enter a verdict, contention: another program ran" in found.reasons[0]


def test_an_error_elsewhere_does_not_touch_a_bound(make: Any) -> None:
    speed = [make.comparison("int8", (1.31, 1.27, 1.36), "better")]
    errors = (finding("ERR", "prefill_s"), finding("ERR", "tpot_s@decode 8+8"), finding("ERR", "tpot_s", "fp32"))
    assert verdict(make.row("int8"), speed, None, Gate(min_speedup=1.05), errors).status == "pass"


def test_a_suspicion_is_said_beside_the_number(make: Any) -> None:
    speed = [make.comparison("int8", (1.31, 1.27, 1.36), "better")]
    found = verdict(make.row("int8"), speed, None, Gate(min_speedup=1.05), (finding("WARN", "tpot_s"),))
    assert found.status == "pass"
    assert found.reasons[0].endswith("passed (suspect: contention)")


def test_every_workload_of_a_kind_must_pass(make: Any) -> None:
    speed = [
        make.comparison("int8", (1.31, 1.27, 1.36), "better"),
        make.comparison("int8", (0.9, 0.88, 0.92), "worse", workload="decode 1024+64"),
    ]
    found = verdict(make.row("int8"), speed, None, Gate(min_speedup=1.05), ())
    assert found.status == "fail"
    assert [reason.split(" 1.31")[0].split(" 0.9")[0] for reason in found.reasons] == [
        "decode 128+64",
        "decode 1024+64",
    ]


def test_a_speed_that_was_not_measured_is_undecided(make: Any) -> None:
    found = verdict(make.row("int8"), (), None, Gate(min_prefill_speedup=1.1), ())
    assert (found.status, found.reasons) == ("inconclusive", ("prefill: not measured, gate >= 1.1 x: undecided",))


@pytest.mark.parametrize("role", ["reference", "baseline"])
def test_reference_and_baseline_are_not_judged(make: Any, role: str) -> None:
    assert verdict(make.row("bf16", role), (), None, GATE, ()).status == role


def test_a_failed_run_says_the_engines_words(make: Any) -> None:
    row = make.row("int8").model_copy(
        update={"outcome": Outcome(kind="out_of_memory", message="2 GiB asked", attempts=3, successes=0)}
    )
    found = verdict(row, (), None, GATE, ())
    assert (found.status, found.reasons) == (
        "failed_run",
        ("out of memory: 2 GiB asked (0 of 3 attempts succeeded)",),
    )


def test_quality_that_failed_leaves_its_bounds_open(make: Any) -> None:
    broken = make.quality("int8", outcome=Outcome(kind="timed_out", message="600 s"))
    found = verdict(make.row("int8"), (), broken, Gate(max_kl_nats=0.01), ())
    assert found.status == "inconclusive"
    assert "timed out: 600 s" in found.reasons[0]


def test_without_a_gate_the_numbers_stand_alone(make: Any) -> None:
    found = verdict(make.row("int8"), [make.comparison("int8", (1.31, 1.27, 1.36), "better")], None, Gate(), ())
    assert found.status == "no_gate"
    assert found.reasons == (
        "decode_tok_per_s on decode 128+64: 1.31 x bf16 [1.27, 1.36], better",
        "the study sets no gate",
    )
