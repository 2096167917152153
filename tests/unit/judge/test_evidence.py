"""Comparisons and pooled numbers from rounds whose effects are known."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import pytest

from assay.core.errors import InputError
from assay.core.records import Absent, Estimate, Outcome, Round, Samples, Target
from assay.judge.evidence import compare, differences, log_ratios, spread_by_figure, summarise, tokens_per_call

SETTINGS: dict[str, Any] = {"margin": 0.02, "alpha": 0.05, "min_rounds": 5}


def test_a_faster_variant_is_better_by_its_factor(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "int8": -math.log(1.3)}, 12)
    found = compare(rounds, "decode_tok_per_s", make.decode.name, "int8", "bf16", **SETTINGS)
    assert found.outcome == "better"
    assert found.rounds == 12
    assert isinstance(found.ratio, Estimate)
    assert found.ratio.low < 1.3 < found.ratio.high
    assert found.ratio.high / found.ratio.low < 1.05
    assert isinstance(found.smallest_effect, float)
    assert 0.005 < found.smallest_effect < 0.03
    assert "uncorrected" in found.method


def test_a_rate_and_its_time_say_the_same_from_both_sides(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "int8": 0.2}, 8)
    rate = compare(rounds, "decode_tok_per_s", make.decode.name, "int8", "bf16", **SETTINGS)
    time = compare(rounds, "tpot_s", make.decode.name, "int8", "bf16", **SETTINGS)
    assert rate.outcome == time.outcome == "worse"
    assert isinstance(rate.ratio, Estimate)
    assert isinstance(time.ratio, Estimate)
    assert rate.ratio.value == pytest.approx(1 / time.ratio.value)
    assert rate.ratio.low == pytest.approx(1 / time.ratio.high)
    assert rate.ratio.high == pytest.approx(1 / time.ratio.low)


def test_the_same_program_twice_is_never_better_in_a_quiet_study(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "A/A": 0.0}, 20, spread=0.004)
    found = compare(rounds, "decode_tok_per_s", make.decode.name, "A/A", "bf16", **SETTINGS)
    assert found.outcome == "equivalent"


def test_noise_is_inconclusive_and_says_what_would_be_found(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "int8": -0.02}, 6, spread=0.08)
    found = compare(rounds, "decode_tok_per_s", make.decode.name, "int8", "bf16", **SETTINGS)
    assert found.outcome == "inconclusive"
    assert isinstance(found.smallest_effect, float)
    assert found.smallest_effect > 0.05


def test_too_few_rounds_give_no_interval(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "int8": -0.3}, 3)
    found = compare(rounds, "decode_tok_per_s", make.decode.name, "int8", "bf16", **SETTINGS)
    assert found.outcome == "inconclusive"
    assert isinstance(found.ratio, Absent)
    assert "3 of at least 5 rounds" in found.ratio.reason
    assert "1.3" in found.ratio.reason


def test_a_load_has_one_value_a_round(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "int8": 0.5}, 10, workload=make.load, seconds=1.0)
    found = compare(rounds, "load_s", "load", "int8", "bf16", **SETTINGS)
    assert found.outcome == "worse"
    assert "ratio of the medians" in found.method


def test_a_family_of_decisions_divides_the_level(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "int8": -0.1}, 10)
    alone = compare(rounds, "tpot_s", make.decode.name, "int8", "bf16", **SETTINGS)
    shared = compare(rounds, "tpot_s", make.decode.name, "int8", "bf16", family=6, **SETTINGS)
    assert isinstance(alone.ratio, Estimate)
    assert isinstance(shared.ratio, Estimate)
    assert shared.ratio.high - shared.ratio.low > alone.ratio.high - alone.ratio.low
    assert shared.ratio.level == pytest.approx(1 - 0.05 / 6)
    assert "Bonferroni" in shared.method


def test_a_smaller_budget_needs_less_width(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "int8": -0.1}, 10)
    widths = []
    for budget in (10, 40):
        found = compare(rounds, "tpot_s", make.decode.name, "int8", "bf16", budget=budget, **SETTINGS)
        assert isinstance(found.ratio, Estimate)
        widths.append(found.ratio.high - found.ratio.low)
    assert widths[0] < widths[1]


def change_variant(rounds: tuple[Round, ...], variant: str, **changes: Any) -> tuple[Round, ...]:
    return tuple(
        r.model_copy(
            update={"runs": tuple(run.model_copy(update=changes) if run.variant == variant else run for run in r.runs)}
        )
        for r in rounds
    )


@pytest.mark.parametrize(
    ("surroundings", "named"),
    [
        ({"machine": {"cpu_model": "Another processor"}}, "machine.cpu_model: Another processor against A processor"),
        ({"machine": {"usable_cpus": 1}}, "machine.usable_cpus: 1 against 2"),
        ({"packages": {"torch": "2.12.0", "assay": "0.1.0"}}, "package torch: 2.12.0 against 2.13.0"),
        ({"threads": 1}, "threads: 1 against 2"),
        ({"thread_settings": {"OMP_NUM_THREADS": "1"}}, "OMP_NUM_THREADS: 1 against not set"),
    ],
)
def test_other_surroundings_are_not_comparable_and_are_named(make: Any, surroundings: Any, named: str) -> None:
    if "machine" in surroundings:
        surroundings = {"machine": make.machine(**surroundings["machine"])}
    rounds = make.rounds_of({"bf16": 0.0, "int8": -0.3}, 8)
    rounds = change_variant(rounds, "int8", environment=make.environment(**surroundings))
    found = compare(rounds, "tpot_s", make.decode.name, "int8", "bf16", **SETTINGS)
    assert found.outcome == "not_comparable"
    assert named in found.reason
    assert isinstance(found.ratio, Absent)


def test_rounds_of_two_machines_are_not_mixed(make: Any) -> None:
    here = make.rounds_of({"bf16": 0.0, "int8": -0.3}, 4)
    elsewhere = make.rounds_of(
        {"bf16": 0.0, "int8": -0.3}, 4, env=make.environment(machine=make.machine(cpu_model="B"))
    )
    moved = tuple(r.model_copy(update={"index": r.index + 4}) for r in elsewhere)
    found = compare((*here, *moved), "tpot_s", make.decode.name, "int8", "bf16", **SETTINGS)
    assert found.outcome == "not_comparable"
    assert "between rounds, machine.cpu_model: B against A processor" in found.reason


def test_another_text_or_seed_is_another_workload(make: Any) -> None:
    rounds = change_variant(
        make.rounds_of({"bf16": 0.0, "int8": 0.0}, 6), "int8", workload=make.decode.model_copy(update={"seed": 3})
    )
    found = compare(rounds, "tpot_s", make.decode.name, "int8", "bf16", **SETTINGS)
    assert found.outcome == "not_comparable"
    assert "workload seed: 3 against 0" in found.reason


def test_threads_that_were_asked_for_are_the_question(make: Any) -> None:
    rounds = change_variant(
        make.rounds_of({"bf16": 0.0, "one-thread": 0.4}, 8),
        "one-thread",
        environment=make.environment(threads=1),
        target=Target(threads=1),
    )
    assert compare(rounds, "tpot_s", make.decode.name, "one-thread", "bf16", **SETTINGS).outcome == "worse"


def test_what_moves_by_itself_is_no_difference(make: Any) -> None:
    ours = make.run("a", [], env=make.environment(after=make.load_state(load_average=9.0)))
    assert differences(ours, make.run("b", [])) == ()


def test_a_variant_that_never_finished_is_not_comparable_in_its_own_words(make: Any) -> None:
    rounds = change_variant(
        make.rounds_of({"bf16": 0.0, "fp32": 0.5}, 6),
        "fp32",
        outcome=Outcome(kind="out_of_memory", message="tried to allocate 2 GiB"),
    )
    found = compare(rounds, "tpot_s", make.decode.name, "fp32", "bf16", **SETTINGS)
    assert found.outcome == "not_comparable"
    assert found.reason == "fp32 out of memory: tried to allocate 2 GiB"


def test_rounds_that_failed_are_left_out_and_told(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "int8": -0.3}, 8)
    first = change_variant(rounds[:1], "int8", outcome=Outcome(kind="crashed", message="signal 11"))
    found = compare((*first, *rounds[1:]), "tpot_s", make.decode.name, "int8", "bf16", **SETTINGS)
    assert (found.outcome, found.rounds) == ("better", 7)
    assert "rounds left out: int8 crashed: signal 11" in found.reason


def test_workers_loaded_in_turn_say_so(make: Any) -> None:
    rounds = tuple(
        r.model_copy(update={"shared_memory": False}) for r in make.rounds_of({"bf16": 0.0, "int8": -0.9}, 8)
    )
    found = compare(rounds, "tpot_s", make.decode.name, "int8", "bf16", **SETTINGS)
    assert found.outcome == "better"
    assert "loaded in turn" in found.method


def test_a_workload_that_was_not_run_is_not_comparable(make: Any) -> None:
    found = compare(make.rounds_of({"bf16": 0.0}, 6), "prefill_s", "prefill 512", "int8", "bf16", **SETTINGS)
    assert found.outcome == "not_comparable"
    assert "no round holds both" in found.reason
    other = compare(
        make.rounds_of({"bf16": 0.0, "int8": 0.0}, 6), "load_s", make.decode.name, "int8", "bf16", **SETTINGS
    )
    assert "recorded no load_s" in other.reason


def test_rounds_may_come_in_any_order(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "int8": -0.03}, 9)
    forward = compare(rounds, "tpot_s", make.decode.name, "int8", "bf16", **SETTINGS)
    assert compare(rounds[::-1], "tpot_s", make.decode.name, "int8", "bf16", **SETTINGS) == forward


@pytest.mark.parametrize("metric", ["speed", "words_per_s"])
def test_unknown_metrics_are_refused(make: Any, metric: str) -> None:
    with pytest.raises(InputError, match=metric):
        compare((), metric, make.decode.name, "int8", "bf16", **SETTINGS)
    with pytest.raises(InputError, match="family"):
        compare((), "tpot_s", make.decode.name, "int8", "bf16", family=0, **SETTINGS)


# ------------------------------------------------------------------------------------------------- pooled numbers


def test_a_row_pools_its_rounds_medians(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0}, 7, seconds=0.05, spread=0.02)
    centres = [median(r.runs[0].samples[0].values) for r in rounds]
    found = summarise(rounds, "bf16")
    time, rate = found["tpot_s"], found["decode_tok_per_s"]
    assert isinstance(time, Estimate)
    assert isinstance(rate, Estimate)
    assert time.value == pytest.approx(median(centres))
    assert min(centres) <= time.low < time.value < time.high <= max(centres)
    assert rate.value == pytest.approx(1 / time.value)
    assert "7 rounds" in time.method


def test_rates_count_tokens_times_batch(make: Any) -> None:
    prefill = make.prefill.model_copy(update={"batch": 4})
    decode = make.decode.model_copy(update={"batch": 3})
    assert tokens_per_call("prefill_tok_per_s", prefill) == 2048
    assert tokens_per_call("decode_tok_per_s", decode) == 3
    runs = (
        make.run("bf16", [make.timed("prefill_s", [0.5, 0.5])], workload=prefill),
        make.run("bf16", [make.timed("tpot_s", [0.02, 0.02])], workload=decode),
    )
    found = summarise((Round(study="5a", index=0, order=("bf16",), runs=runs),), "bf16")
    assert found["prefill_tok_per_s"] == pytest.approx(4096)
    assert found["decode_tok_per_s"] == pytest.approx(150)


def test_one_round_is_a_number_without_an_interval(make: Any) -> None:
    found = summarise(make.rounds_of({"bf16": 0.0}, 1), "bf16")
    assert isinstance(found["tpot_s"], float)


def test_a_metric_of_several_workloads_names_them(make: Any) -> None:
    runs = (
        make.run("bf16", [Samples(metric="first_call_s", values=(1.0,))], workload=make.prefill),
        make.run("bf16", [Samples(metric="first_call_s", values=(2.0,)), make.timed("tpot_s", [0.02])]),
    )
    found = summarise((Round(study="5a", index=0, order=("bf16",), runs=runs),), "bf16")
    assert found["first_call_s@prefill 512"] == 1.0
    assert found["first_call_s@decode 128+64"] == 2.0
    assert "tpot_s" in found


def test_warm_up_and_failed_runs_do_not_count(make: Any) -> None:
    runs = (make.run("bf16", [make.timed("tpot_s", [0.02, 0.03], warmup=[9.0])]),)
    failed = (make.run("bf16", [make.timed("tpot_s", [7.0])], outcome=Outcome(kind="crashed", message="signal 9")),)
    rounds = tuple(Round(study="5a", index=i, order=("bf16",), runs=group) for i, group in enumerate((runs, failed)))
    assert summarise(rounds, "bf16")["tpot_s"] == pytest.approx(0.025)


def test_peaks_of_memory_are_the_largest_and_gaps_keep_their_reason(make: Any) -> None:
    runs = tuple(make.run("bf16", [], memory={"peak_bytes": peak, "kv_cache_bytes": 1e6}) for peak in (5e8, 6e8, 5.5e8))
    found = summarise((Round(study="5a", index=0, order=("bf16",), runs=runs),), "bf16")
    assert (found["peak_rss_bytes"], found["kv_cache_bytes"]) == (6e8, 1e6)
    assert found["device_peak_bytes"] == Absent(reason="not read in this test")
    assert summarise((), "bf16") == {}


def test_the_null_variant_shows_which_figure_is_tightest(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "A/A": 0.0}, 30, spread=0.004, turns=20)
    found = spread_by_figure(rounds, "tpot_s", make.decode.name, "A/A", "bf16")
    paired, medians = found["paired"], found["medians"]
    assert isinstance(paired, float)
    assert isinstance(medians, float)
    # Two workers, each .004 off in a round, and 20 turns whose shared drift of 5 % the pairs cancel.
    assert paired == pytest.approx(0.004 * math.sqrt(2), rel=0.4)
    assert set(found) == {"paired", "medians", "minima"}
    absent = spread_by_figure(rounds[:1], "tpot_s", make.decode.name, "A/A", "bf16")
    assert all(isinstance(value, Absent) for value in absent.values())


def test_log_ratios_come_in_the_order_of_the_rounds(make: Any) -> None:
    rounds = make.rounds_of({"bf16": 0.0, "int8": -0.2}, 4, spread=0.001)
    times = log_ratios(rounds[::-1], "tpot_s", make.decode.name, "int8", "bf16")
    rates = log_ratios(rounds, "decode_tok_per_s", make.decode.name, "int8", "bf16")
    assert times == tuple(-rate for rate in rates)
    assert rates == pytest.approx([0.2] * 4, abs=0.01)
