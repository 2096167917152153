"""Causes stand on recorded facts: with them they are named, against them contested, without them unknown."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from assay.judge.audit import audit_tables
from assay.judge.checks.runner import CHECKS, run_checks
from assay.judge.diagnosis import UNKNOWN, diagnose
from assay.judge.hypotheses import HYPOTHESES
from fixtures_figures import row, table
from planted import faults, healthy

GPT2 = {"model": "gpt2", "batch": 8, "prompt_tokens": 512}


def causes(*tables: Any, **facts: Any) -> dict[str, Any]:
    return {each.cause: each for each in audit_tables(tables, facts).diagnoses}


def test_tf32_is_supported_by_the_devices_units_and_contradicted_by_their_absence() -> None:
    made = table(row("a", {"forward_s": 0.010}, dtype="fp32"), **GPT2)
    with_units = causes(made, device="A100")
    assert any("TF32 units" in said for said in with_units["TF32 or bf16 products behind the name fp32"].supporting)
    without = causes(made, device="V100")
    assert "TF32 or bf16 products behind the name fp32" not in without
    everything = " ".join(said for each in without.values() for said in each.opposing)
    assert "V100 has no TF32" in everything or "the clock was read before the work had ended" in without


def test_a_probe_contests_a_cause() -> None:
    made = table(row("a", {"forward_s": 0.010}, dtype="fp32"), device="A100", matmul_precision="float32", **GPT2)
    found = causes(made)["TF32 or bf16 products behind the name fp32"]
    assert found.supporting
    assert found.opposing == ("a float32 product was probed as float32",)


def test_no_warm_up_supports_a_cold_call_and_warm_up_opposes_it() -> None:
    cold = table(row("S", {"forward_s": (0.4, 1.2)}, warmup=0), samples=10)
    assert "S is stated to have had no warm-up" in causes(cold)["a cold call inside the timed ones"].supporting
    warm = table(row("S", {"forward_s": (0.4, 0.3)}, warmup=5), samples=10)
    found = causes(warm)
    assert "a cold call inside the timed ones" not in found
    assert "not a cold call inside the timed ones: 5 warm-up calls are stated for S" in found[UNKNOWN].opposing


def test_where_no_fact_reaches_the_cause_is_unknown_and_an_experiment_is_named() -> None:
    found = causes(table(row("a", {"forward_s": 0.010, "backward_s": 0.05})))
    assert list(found) == [UNKNOWN]
    assert found[UNKNOWN].supporting == ()
    assert "assay" in found[UNKNOWN].experiment


def test_hardware_without_units_explains_a_slow_type() -> None:
    rows = (row("fp32", {"forward_s": 0.1}, dtype="fp32"), row("bf16", {"forward_s": 0.2}, dtype="bf16"))
    found = audit_tables([table(*rows, device="T4")])
    assert [finding.severity for finding in found.findings] == ["INFO"]
    assert found.diagnoses == ()


def test_a_count_that_the_ratio_names_is_the_cause() -> None:
    made = table(row("a", {"forward_s": 0.1, "tok_per_s": 5120.0}), **GPT2)
    assert "batch = 8" in causes(made)["tokens or sequences were miscounted"].supporting[0]


def test_a_busy_machine_is_named_by_its_pressure_and_a_quiet_one_opposes_it() -> None:
    busy = faults.after(psi_cpu_some_avg10=40.0)(healthy.study(0))
    found = {each.cause for each in diagnose(busy, run_checks(busy)[0])}
    assert "other programs, other tenants or heat" in found
    noisy = faults.values("bf16", "tpot_s", lambda v: tuple(x * (1 + 0.05 * i) for i, x in enumerate(v)))(
        healthy.study(0)
    )
    quiet = diagnose(noisy, run_checks(noisy)[0])
    assert "other programs, other tenants or heat" not in {each.cause for each in quiet}
    assert any("processes waited for a CPU" in said for each in quiet for said in each.opposing)


def test_a_sound_study_has_no_causes() -> None:
    subject = healthy.study(0)
    assert diagnose(subject, run_checks(subject)[0]) == ()


def test_every_error_and_warning_has_a_cause_or_is_unknown() -> None:
    for name, (origin, change) in faults.STUDIES.items():
        subject = change(healthy.STUDIES[origin](0))
        findings, _ = run_checks(subject)
        told = {check for each in diagnose(subject, findings) for check in each.checks}
        assert {finding.check for finding in findings if finding.severity != "INFO"} <= told, name


@pytest.mark.parametrize("hypothesis", HYPOTHESES, ids=lambda each: each.cause)
def test_a_hypothesis_explains_checks_that_exist_and_names_what_would_tell(hypothesis: Any) -> None:
    assert hypothesis.explains <= {*CHECKS, "swap_test"}
    assert hypothesis.experiment.format(model="MODEL")


def test_folklore_is_no_cause() -> None:
    text = " ".join(each.cause for each in HYPOTHESES).casefold()
    assert not re.search(r"only for training|impossible|always|never", text)


def test_a_study_names_its_model_in_the_experiment() -> None:
    subject = faults.metrics("int8", kl_nats=0.0, psnr_db=230.0)(healthy.study(0))
    found = {each.cause: each for each in diagnose(subject, run_checks(subject)[0])}
    assert "SmolLM2-135M" in found["the conversion did not reach what ran"].experiment
    without = replace(subject, source=None)
    assert "MODEL" in diagnose(without, run_checks(subject)[0])[0].experiment
