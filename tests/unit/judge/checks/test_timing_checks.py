"""Checks of timing: each with records that must wake it and records that must not."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from assay.core.records import Absent, Estimate, Finding, Round, Run, Samples, Target, Workload
from assay.judge.checks import (
    contention,
    dependent_rounds,
    drift,
    first_sample,
    noise,
    non_positive_time,
    prefix_cached,
    replicates,
    throughput_latency,
)
from assay.judge.checks.policy import CheckPolicy

POLICY = CheckPolicy()


def of_values(make: Any, *rounds: list[float], metric: str = "tpot_s", **options: Any) -> Any:
    """A subject of one row `bf16` whose rounds hold these samples."""
    return of_runs(
        make, *(make.run("bf16", [make.timed(metric, values)], index=i, **options) for i, values in enumerate(rounds))
    )


def of_runs(make: Any, *runs: Run) -> Any:
    found = tuple(Round(study="5a", index=run.round, order=(run.variant,), runs=(run,)) for run in runs)
    return make.subject(rows=(make.row("bf16", "baseline", tpot_s=0.02, decode_tok_per_s=50.0),), rounds=found)


def severities(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.severity for finding in findings]


# ---------------------------------------------------------------------------------------------------- rule 3


def test_a_cold_first_sample_is_suspect(make: Any) -> None:
    answer = first_sample.check(of_values(make, [0.05] + [0.02] * 20), POLICY)
    assert severities(answer.findings) == ["WARN"]
    assert answer.findings[0].numbers["ratio"] == pytest.approx(2.5)
    assert {cell.metric for cell in answer.findings[0].cells} == {"tpot_s", "decode_tok_per_s"}


def test_compilation_in_the_timed_region_is_an_error(make: Any) -> None:
    sound = [0.02] * 20
    answer = first_sample.check(of_values(make, [4.0, *sound], sound, sound, sound), POLICY)
    assert severities(answer.findings) == ["ERR"]
    assert "compilation" in answer.findings[0].cause


@pytest.mark.parametrize(
    "rounds",
    [
        ([0.029] + [0.02] * 20,),
        ([0.05] + [0.02] * 20, [0.02] * 20, [0.02] * 20),  # one round of three is a moment, not a habit
        ([0.02] * 10 + [0.9] + [0.02] * 10,),
        ([0.5] + [0.02] * 20, [0.02] * 20, [0.02] * 20),  # 25 x, but no compiler is done in half a second
    ],
)
def test_a_warm_first_sample_is_not(make: Any, rounds: Any) -> None:
    assert first_sample.check(of_values(make, *rounds), POLICY).findings == ()


def test_warm_up_is_not_the_first_sample(make: Any) -> None:
    run = make.run("bf16", [make.timed("tpot_s", [0.02] * 10, warmup=[9.0, 3.0])])
    assert first_sample.check(of_runs(make, run), POLICY).findings == ()


def test_too_few_samples_are_not_checked(make: Any) -> None:
    answer = first_sample.check(of_values(make, [5.0, 0.02]), POLICY)
    assert answer.findings == ()
    assert "no run of bf16 on decode 128+64 with 4 timed samples" in answer.not_checked[0]


# ---------------------------------------------------------------------------------------------------- rule 4


def test_scattered_samples_are_noisy(make: Any) -> None:
    draw = random.Random(1)
    answer = noise.check(
        of_values(make, *([draw.lognormvariate(-4, 0.4) for _ in range(60)] for _ in range(3))), POLICY
    )
    assert severities(answer.findings) == ["WARN"]
    assert {"bf16 deviation", "bf16 extreme", "bf16 iqr"} <= set(answer.findings[0].numbers)
    assert ", gross" in answer.findings[0].summary


def test_calls_below_a_millisecond_are_too_short(make: Any) -> None:
    answer = noise.check(of_values(make, [2e-4, 2.01e-4, 1.99e-4, 2e-4, 2e-4]), POLICY)
    assert set(answer.findings[0].numbers) == {"bf16 shortest_s"}


def test_quiet_samples_are_not_noisy(make: Any) -> None:
    draw = random.Random(2)
    rounds = [[draw.gauss(0.02, 0.0004) for _ in range(60)] for _ in range(4)]
    rounds[0][7] = 0.09  # one interrupted call in one of four rounds
    assert noise.check(of_values(make, *rounds), POLICY).findings == ()
    assert "5 timed samples" in noise.check(of_values(make, [0.02] * 3), POLICY).not_checked[0]


# ---------------------------------------------------------------------------------------------------- rule 5


@pytest.mark.parametrize("wrong", [0.0, -1e-7])
def test_a_time_that_is_not_positive_is_an_error(make: Any, wrong: float) -> None:
    answer = non_positive_time.check(of_values(make, [0.02, 0.02, wrong]), POLICY)
    assert severities(answer.findings) == ["ERR"]
    assert "1 of 3 samples" in answer.findings[0].summary


def test_a_cell_at_zero_is_an_error_without_samples(make: Any) -> None:
    rows = (make.row("bf16", "baseline", **{"load_s": 0.0, "first_call_s@decode 128+64": -0.1, "kl_nats": 0.0}),)
    answer = non_positive_time.check(make.subject(rows=rows, rounds=()), POLICY)
    assert [finding.cells[0].metric for finding in answer.findings] == ["load_s", "first_call_s@decode 128+64"]


def test_a_mean_within_its_error_is_not_resolved(make: Any) -> None:
    answer = non_positive_time.check(of_values(make, [0.001, 0.001, 0.001, 5.0]), POLICY)
    assert severities(answer.findings) == ["WARN"]


def test_positive_times_are_sound(make: Any) -> None:
    assert non_positive_time.check(make.subject(), POLICY).findings == ()
    coarse = make.run("bf16", [make.timed("tpot_s", [0.02] * 5), make.timed("cpu_s", [0.0, 0.02, 0.02, 0.02, 0.02])])
    assert non_positive_time.check(of_runs(make, coarse), POLICY).findings == ()


# ---------------------------------------------------------------------------------------------------- rule 8


def with_cells(make: Any, *workloads: Workload, **metrics: Any) -> Any:
    runs = [make.run("bf16", [], workload=w) for w in workloads]
    subject = of_runs(make, *runs)
    return replace(subject, rows=(make.row("bf16", "baseline", **metrics),))


def test_a_rate_that_forgot_the_batch_is_an_error(make: Any) -> None:
    decode = make.decode.model_copy(update={"batch": 4})
    answer = throughput_latency.check(with_cells(make, decode, tpot_s=0.02, decode_tok_per_s=50.0), POLICY)
    assert severities(answer.findings) == ["ERR"]
    assert answer.findings[0].numbers["ratio"] == pytest.approx(0.25)


@pytest.mark.parametrize(("rate", "found"), [(1024.0, 0), (1100.0, 1), (1060.0, 0)])
def test_prefill_counts_its_prompt(make: Any, rate: float, found: int) -> None:
    answer = throughput_latency.check(with_cells(make, make.prefill, prefill_s=0.5, prefill_tok_per_s=rate), POLICY)
    assert len(answer.findings) == found


GENERATE = Workload(kind="generate", prompt_tokens=128, new_tokens=64)
PREFILL_128 = Workload(kind="prefill", prompt_tokens=128, new_tokens=0)


@pytest.mark.parametrize(
    ("whole", "found"),
    [
        (1.36, 0),
        (1.6, 1),
        (0.3, 1),
        (Estimate(value=1.6, low=1.3, high=1.9, method="t"), 0),
    ],
)
def test_the_phases_add_up_to_the_whole(make: Any, whole: Any, found: int) -> None:
    subject = with_cells(make, PREFILL_128, make.decode, GENERATE, prefill_s=0.1, tpot_s=0.02, end_to_end_s=whole)
    assert len(throughput_latency.check(subject, POLICY).findings) == found  # 0.1 + 63 x 0.02 = 1.36


def test_phases_of_other_lengths_are_not_added_up(make: Any) -> None:
    subject = with_cells(make, make.prefill, GENERATE, prefill_s=0.1, end_to_end_s=5.0)
    answer = throughput_latency.check(subject, POLICY)
    assert answer.findings == ()
    assert "no prefill and decode of the same lengths as generate 128+64" in answer.not_checked[0]


# -------------------------------------------------------------------------------------------------- rule 11a


def test_a_null_variant_that_differs_leaves_smaller_effects_unresolved(make: Any) -> None:
    null = make.comparison("A/A", (1.04, 1.02, 1.06), "better")
    subject = make.subject(
        null_estimates=(null,),
        comparisons=(
            make.comparison("int8", (1.03, 1.01, 1.05), "better"),
            make.comparison("fp32", (0.5, 0.49, 0.51), "worse"),
        ),
    )
    answer = replicates.check(subject, POLICY)
    assert severities(answer.findings) == ["WARN"]
    assert [cell.row for cell in answer.findings[0].cells] == ["int8"]
    assert "smaller than 4.00%" in answer.findings[0].summary


def test_where_no_effect_is_smaller_the_baseline_is_marked(make: Any) -> None:
    subject = make.subject(null_estimates=(make.comparison("A/A", (0.98, 0.97, 0.99), "worse"),))
    assert [cell.row for cell in replicates.check(subject, POLICY).findings[0].cells] == ["bf16"]


def test_a_quiet_null_variant_is_silent_and_a_missing_one_is_told(make: Any) -> None:
    assert replicates.check(make.subject(), POLICY) == ((), ())
    assert "no hidden A/A variant" in replicates.check(make.subject(null_estimates=()), POLICY).not_checked[0]
    early = make.comparison("A/A", Absent(reason="2 of at least 5 rounds"), "inconclusive")
    assert "2 of at least 5" in replicates.check(make.subject(null_estimates=(early,)), POLICY).not_checked[0]


# --------------------------------------------------------------------------------------------------- rule 13


def contended_run(make: Any, cpu: float, index: int = 0, threads: int = 1, **load: Any) -> Run:
    """Ten blocks of 10 ms of wall time, with CPU time `cpu` of it in all threads together."""
    wall = make.timed("tpot_s", [0.005] * 20, per_block=2)
    spent = Samples(metric="cpu_s", values=(0.01 * cpu,) * 10, block=tuple(range(10)))
    found: Run = make.run(
        "bf16",
        [wall, spent],
        index=index,
        facts={"threads": threads},
        env=make.environment(after=make.load_state(**load)),
    )
    return found


@pytest.mark.parametrize(
    ("load", "named"),
    [({"psi_cpu_some_avg10": 12.0}, "waited for a CPU in 12 %"), ({"steal_fraction": 0.03}, "took 3.00% of the CPU")],
)
def test_pressure_and_stolen_time_are_contention(make: Any, load: Any, named: str) -> None:
    answer = contention.check(of_runs(make, contended_run(make, 1.0, **load)), POLICY)
    assert severities(answer.findings) == ["WARN"]
    assert named in answer.findings[0].summary


def test_one_contended_round_of_twenty_is_no_finding(make: Any) -> None:
    runs = [contended_run(make, 1.0, index, psi_cpu_some_avg10=50.0 if index == 3 else 1.0) for index in range(20)]
    assert contention.check(of_runs(make, *runs), POLICY).findings == ()


def test_one_thread_that_had_no_cpu_is_contended(make: Any) -> None:
    answer = contention.check(of_runs(make, contended_run(make, 0.7)), POLICY)
    assert severities(answer.findings) == ["WARN"]
    assert answer.findings[0].numbers["bf16 cpu_share"] == pytest.approx(0.7)


def test_threads_that_are_idle_alike_in_every_round_are_the_programs_own(make: Any) -> None:
    runs = [contended_run(make, 1.3, index, threads=2) for index in range(6)]
    answer = contention.check(of_runs(make, *runs), POLICY)
    assert severities(answer.findings) == ["INFO"]
    assert "bf16 (1.3 of 2)" in answer.findings[0].summary


def test_threads_that_were_busier_in_another_round_were_contended(make: Any) -> None:
    runs = [contended_run(make, cpu, index, threads=2) for index, cpu in enumerate((1.95, 1.2, 1.3, 1.25))]
    assert severities(contention.check(of_runs(make, *runs), POLICY).findings) == ["WARN"]


def test_cpu_time_of_more_than_the_timed_calls_is_not_read(make: Any) -> None:
    answer = contention.check(of_runs(make, contended_run(make, 9.9, threads=2)), POLICY)
    assert answer == ((), ("no CPU time of the timed calls of bf16 on decode 128+64 alone",))


def test_rows_of_one_workload_are_told_together(make: Any) -> None:
    draw = random.Random(1)
    values = {name: [draw.lognormvariate(-4, 0.4) for _ in range(60)] for name in ("fp32", "int8")}
    runs = tuple(make.run(name, [make.timed("tpot_s", found)]) for name, found in values.items())
    subject = make.subject(rounds=(Round(study="5a", index=0, order=tuple(values), runs=runs),))
    [finding] = noise.check(subject, POLICY).findings
    assert {cell.row for cell in finding.cells} == {"fp32", "int8"}


def test_a_quiet_cpu_is_silent(make: Any) -> None:
    runs = [contended_run(make, 1.95, index, threads=2) for index in range(3)]
    assert contention.check(of_runs(make, *runs), POLICY) == ((), ())


def test_what_the_system_does_not_tell_is_not_checked(make: Any) -> None:
    unknown = Absent(reason="no /proc/pressure")
    run = contended_run(make, 1.0, psi_cpu_some_avg10=unknown).model_copy(
        update={"samples": (make.timed("tpot_s", [0.01] * 5),)}
    )
    answer = contention.check(of_runs(make, run), POLICY)
    assert answer.findings == ()
    assert "no psi_cpu_some_avg10" in answer.not_checked
    assert any("no CPU time" in reason for reason in answer.not_checked)


def test_an_accelerator_is_not_judged_by_the_cpu(make: Any) -> None:
    run = contended_run(make, 0.1).model_copy(update={"target": Target(device="cuda")})
    assert contention.check(of_runs(make, run), POLICY) == ((), ("no CPU run",))


# --------------------------------------------------------------------------------------------------- rule 14


def noisy(draw: random.Random, shape: list[float]) -> list[float]:
    return [0.02 * value * draw.lognormvariate(0, 0.01) for value in shape]


def test_a_slope_in_most_rounds_is_drift(make: Any) -> None:
    draw = random.Random(1)
    rounds = [noisy(draw, [1 + 0.002 * i for i in range(60)]) for _ in range(4)]
    answer = drift.check(of_values(make, *rounds), POLICY)
    assert severities(answer.findings) == ["WARN"]
    assert answer.findings[0].numbers["bf16 rho"] > 0.8  # type: ignore[operator]
    assert answer.findings[0].numbers["bf16 last_over_first_third"] == pytest.approx(1.079, abs=0.02)


def test_a_step_is_told_as_a_step(make: Any) -> None:
    draw = random.Random(2)
    answer = drift.check(of_values(make, noisy(draw, [1.0] * 40 + [1.2] * 40)), POLICY)
    assert "a step from" in answer.findings[0].summary
    assert "at block 40" in answer.findings[0].summary


def test_rounds_that_get_slower_one_by_one_drift(make: Any) -> None:
    draw = random.Random(3)
    rounds = [noisy(draw, [1 + 0.02 * index] * 20) for index in range(12)]
    assert set(drift.check(of_values(make, *rounds), POLICY).findings[0].numbers) == {"bf16 rho_of_rounds"}


def test_a_hot_machine_is_told(make: Any) -> None:
    hot = make.environment(after=make.load_state(thermal_state="serious"))
    answer = drift.check(of_values(make, noisy(random.Random(4), [1.0] * 30), env=hot), POLICY)
    assert answer.findings[0].numbers == {"thermal_state": "serious"}


def test_stationary_noise_is_not_drift(make: Any) -> None:
    draw = random.Random(5)
    found = sum(
        bool(drift.check(of_values(make, *(noisy(draw, [1.0] * 40) for _ in range(6))), POLICY).findings)
        for _ in range(30)
    )
    assert found <= 1  # the rounds' medians correlate with time by chance in one study of a hundred


def test_short_runs_are_not_checked_for_drift(make: Any) -> None:
    answer = drift.check(of_values(make, [0.02] * 5), POLICY)
    assert answer == ((), ("no run of bf16 on decode 128+64 with 8 blocks",))


# ----------------------------------------------------------------------------------------- rounds and each other


def with_ratios(make: Any, logs: list[float]) -> Any:
    """A study in which int8 takes exp(log) times the baseline's time, round by round."""
    rounds = tuple(
        Round(
            study="5a",
            index=index,
            order=("bf16", "int8"),
            runs=tuple(
                make.run(name, [make.timed("tpot_s", [0.02 * math.exp(level)] * 4)], index=index)
                for name, level in (("bf16", 0.0), ("int8", log))
            ),
        )
        for index, log in enumerate(logs)
    )
    return make.subject(rounds=rounds, comparisons=(make.comparison("int8", (1.2, 1.1, 1.3), "better"),))


def test_rounds_that_remember_each_other_are_suspect(make: Any) -> None:
    draw = random.Random(6)
    logs, level = [], 0.0
    for _ in range(40):
        level = 0.8 * level + draw.gauss(0, 0.01)
        logs.append(level)
    [finding] = dependent_rounds.check(with_ratios(make, logs), POLICY).findings
    assert finding.severity == "WARN"
    assert finding.cells[0].row == "int8"
    assert 1.5 < float(finding.numbers["width_factor"]) < 5


def test_a_ratio_that_moves_with_time_is_suspect(make: Any) -> None:
    draw = random.Random(7)
    logs = [0.002 * i + draw.gauss(0, 0.02) for i in range(40)]
    assert "with time" in dependent_rounds.check(with_ratios(make, logs), POLICY).findings[0].summary


def test_independent_rounds_are_silent(make: Any) -> None:
    draw = random.Random(8)
    found = sum(
        bool(dependent_rounds.check(with_ratios(make, [draw.gauss(0, 0.02) for _ in range(20)]), POLICY).findings)
        for _ in range(30)
    )
    assert found <= 3  # two tests at 1 %, one of them one-sided: 0.45 expected of 30


def test_few_rounds_are_not_checked_for_dependence(make: Any) -> None:
    answer = dependent_rounds.check(with_ratios(make, [0.0] * 6), POLICY)
    assert answer.findings == ()
    assert answer.not_checked == ("no 12 rounds of decode 128+64",)


# ---------------------------------------------------------------------------------------------------- rule 12


def test_a_prompt_that_came_from_a_cache_was_not_read(make: Any) -> None:
    facts = {"cached_prompt_tokens": 511, "prefix_cache": "511 of 512 prompt tokens came from it"}
    answer = prefix_cached.check(of_values(make, [0.02] * 9, metric="prefill_s", facts=facts), POLICY)
    assert severities(answer.findings) == ["ERR"]
    assert answer.findings[0].numbers["cached_prompt_tokens"] == 511
    assert prefix_cached.check(of_values(make, [0.02] * 9, metric="tpot_s", facts=facts), POLICY).findings == ()


def test_a_prompt_that_was_read_is_sound_and_one_of_which_nothing_is_told_is_not_checked(make: Any) -> None:
    read = {"prefix_cache": "not used"}
    answer = prefix_cached.check(of_values(make, [0.02] * 9, metric="prefill_s", facts=read), POLICY)
    assert answer.findings == answer.not_checked == ()
    untold = {"prefix_cache": "the server does not tell"}
    answer = prefix_cached.check(of_values(make, [0.02] * 9, metric="prefill_s", facts=untold), POLICY)
    assert answer.findings == ()
    assert "does not tell" in answer.not_checked[0]
