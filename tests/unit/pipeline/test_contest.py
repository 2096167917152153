"""Planted differences come out as planted, equal programs do not, and what fails is compared with nothing."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay import api
from assay.core.errors import InputError
from assay.core.records import Absent, Contest, Estimate, Memory, Outcome
from assay.core.study import MeasurePolicy, Study
from assay.judge.evidence import run_of
from assay.keep.store import Store, open_store
from assay.pipeline import contest as contests
from assay.pipeline.contest import CONTEST, ContestRun, Pair, pair_of_callables, pair_of_commands
from assay.pipeline.contestants import Block, Placed, no_memory, why_not_importable
from assay.pipeline.plan import NULL_NAME
from assay.pipeline.processes import WorkerFailed
from assay.run.workloads.call import LEAST_SAMPLE_S, CallRun, find_callable


class Fake:
    """Tells times instead of taking them: lognormal noise of 1 % about `call_s`."""

    def __init__(self, call_s: float, seed: str, fails_at: int = -1) -> None:
        self._call_s = call_s
        self._draw = random.Random(seed)
        self._fails_at = fails_at
        self._blocks = 0

    def open(self) -> dict[str, float]:
        return {"import_s": 0.25}

    def first_call(self) -> float:
        return 3 * self._call_s

    def block(self, calls: int) -> Block:
        self._blocks += 1
        if self._blocks == self._fails_at:
            raise WorkerFailed(Outcome(kind="crashed", message="ValueError: too much", successes=0), alive=True)
        seconds = tuple(self._call_s * self._draw.lognormvariate(0, 0.01) for _ in range(calls))
        return Block(tuple(float(i) for i in range(calls)), seconds, 0.9 * self._call_s, sum(seconds))

    def memory(self) -> Memory:
        return no_memory().model_copy(update={"peak_bytes": 5e7})

    def close(self) -> None:
        pass


def fake(call_s: float, fails_at: int = -1) -> Placed:
    made = iter(range(10_000))
    return Placed(
        f"fake of {call_s}", "nowhere", True, lambda _server: Fake(call_s, f"{call_s}/{next(made)}", fails_at)
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def measured(store: Store, first: Placed, second: Placed, **policy: float) -> list[Contest]:
    asked = MeasurePolicy.model_validate({"budget_s": 60.0, "max_rounds": 10, "turns": 10} | policy)
    return list(ContestRun(Pair("callables", first, second), asked, store, api.Quiet()).measure())


def test_a_planted_slowdown_is_found_in_its_size(store: Store) -> None:
    *_, last = measured(store, fake(0.010), fake(0.011))
    assert last.comparison.outcome == "worse"
    assert isinstance(last.comparison.ratio, Estimate)
    assert last.comparison.ratio.low < 1.1 < last.comparison.ratio.high
    assert last.complete
    assert last.rounds == 5, "it stops as soon as it may look"


def test_a_planted_speed_up_is_better(store: Store) -> None:
    assert measured(store, fake(0.011), fake(0.010))[-1].comparison.outcome == "better"


def test_equal_programs_are_equivalent_and_so_is_the_hidden_copy(store: Store) -> None:
    *_, last = measured(store, fake(0.010), fake(0.010))
    assert last.comparison.outcome == "equivalent"
    assert last.null_comparison.variant == NULL_NAME
    assert last.null_comparison.outcome == "equivalent"
    assert any("same program" in note for note in last.notes)


def test_too_few_rounds_are_inconclusive_and_say_what_it_would_take(store: Store) -> None:
    *_, last = measured(store, fake(0.010), fake(0.010005), max_rounds=6, margin=1e-5)
    assert last.comparison.outcome == "inconclusive"
    assert not last.complete
    assert isinstance(last.comparison.smallest_effect, float)


def test_every_round_is_stored_and_holds_all_three_in_turns(store: Store) -> None:
    *_, last = measured(store, fake(0.010), fake(0.020))
    rounds = store.rounds(last.id)
    assert len(rounds) == last.rounds
    for each in rounds:
        assert sorted(each.order) == ["A", "A/A", "B"]
        runs = [run_of(each, name, "call") for name in each.order]
        turns = [run.samples_of("call_s").block[-1] for run in runs if run is not None]  # type: ignore[union-attr]
        assert len(set(turns)) == 1
    assert len({each.order for each in rounds}) > 1, "the order is drawn anew"


def test_a_round_s_numbers_reach_the_sides(store: Store) -> None:
    *_, last = measured(store, fake(0.010), fake(0.020))
    assert last.sides[0].metrics["peak_rss_bytes"] == 5e7
    assert last.sides[0].metrics["import_s"] == 0.25
    call = last.sides[1].metrics["call_s"]
    assert isinstance(call, Estimate)
    assert call.value == pytest.approx(0.020, rel=0.02)
    assert isinstance(last.sides[1].metrics["call_p99_s"], Absent)
    assert last.further[0].metric == "call_cpu_s"


@pytest.mark.parametrize("fails_at", [1, 15])
def test_a_failure_ends_it_and_nothing_is_compared(store: Store, fails_at: int) -> None:
    *_, last = measured(store, fake(0.010), fake(0.020, fails_at))
    assert last.comparison.outcome == "not_comparable"
    assert isinstance(last.comparison.ratio, Absent)
    assert "B crashed: ValueError: too much" in last.comparison.reason
    assert last.sides[1].outcome.kind == "crashed"
    assert last.rounds == 1


def test_a_spent_budget_ends_it_with_what_there_is(store: Store) -> None:
    *_, last = measured(store, fake(0.010), fake(0.0101), budget_s=1e-6)
    assert last.rounds == 1
    assert last.comparison.outcome == "inconclusive"


def test_a_contest_round_trips() -> None:
    text = (Path(__file__).parents[2] / "golden" / "contest-v1.json").read_text()
    assert Contest.from_json(Contest.from_json(text).to_json()) == Contest.from_json(text)


def test_a_study_refuses_the_workload_of_a_contest() -> None:
    with pytest.raises(ValueError, match="no part of a study"):
        Study.model_validate_json(
            '{"model": "m", "baseline": "a", "reference": "a", "variants": [{"name": "a"}],'
            ' "workloads": [{"kind": "call"}]}'
        )


# ------------------------------------------------------------------------------------------------ callables


def test_where_a_callable_may_run() -> None:
    def inner() -> None:
        pass

    assert why_not_importable(time.gmtime) == ""
    assert why_not_importable(statistics.NormalDist) == ""
    assert "inside a function" in why_not_importable(inner)
    assert "lambda" in why_not_importable(lambda: None)
    assert "names another object" in why_not_importable("text".upper)
    inner.__module__, inner.__qualname__ = "__main__", "inner"
    assert "__main__" in why_not_importable(inner)


def test_a_closure_puts_both_into_this_process_and_says_so(store: Store) -> None:
    policy = MeasurePolicy(budget_s=20, max_rounds=6, turns=5)
    pair = pair_of_callables(time.gmtime, lambda: sum(range(100_000)), policy)
    *_, last = ContestRun(pair, policy, store, api.Quiet()).measure()
    assert last.comparison.outcome == "worse", "some thousand times the work"
    assert all(side.placement.startswith("in process: a lambda") for side in last.sides)
    assert any("share one process" in note for note in last.notes)
    peak = last.sides[0].metrics["peak_rss_bytes"]
    assert isinstance(peak, Absent)
    assert "share this process" in peak.reason


def test_importable_callables_run_in_workers_and_instant_ones_are_grouped(store: Store) -> None:
    policy = MeasurePolicy(budget_s=1e-6, max_rounds=5, turns=3)
    pair = pair_of_callables(time.gmtime, time.gmtime, policy)
    *_, last = ContestRun(pair, policy, store, api.Quiet()).measure()
    assert last.sides[0].placement == "fresh worker processes"
    assert isinstance(last.sides[0].metrics["peak_rss_bytes"], float)
    assert any("too short for the clock" in note for note in last.notes)
    [kept] = store.rounds(last.id)
    loops = kept.runs[0].facts["calls_per_sample"]
    samples = kept.runs[0].samples_of("call_s")
    assert not isinstance(samples, Absent)
    assert isinstance(loops, int)
    assert loops * statistics.median(samples.steady) > LEAST_SAMPLE_S / 3


def test_what_a_callable_raises_is_the_reason(store: Store) -> None:
    policy = MeasurePolicy(budget_s=5, max_rounds=5)
    for second in (statistics.NormalDist.from_samples, lambda: 1 / 0):  # type: ignore[misc]
        *_, last = ContestRun(pair_of_callables(time.gmtime, second, policy), policy, store, api.Quiet()).measure()  # type: ignore[arg-type]
        assert last.comparison.outcome == "not_comparable"
        assert "Error: " in last.comparison.reason


def test_a_callable_is_found_by_name_or_refused() -> None:
    assert find_callable("statistics:NormalDist.from_samples", ()) == statistics.NormalDist.from_samples
    for program in ("no_such_module:f", "time:no_such_function", "math:pi"):
        with pytest.raises(InputError):
            find_callable(program, ())


def test_a_callable_in_a_user_s_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    (tmp_path / "assay_test_kernels.py").write_text("def work():\n    return sum(range(1000))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    work = find_callable("assay_test_kernels:work", ())
    pair = pair_of_callables(work, work, MeasurePolicy())
    assert pair.first.in_workers, pair.first.placement


def test_a_block_counts_whole_groups() -> None:
    run = CallRun(lambda: None)
    assert run.first_call() > 0
    assert run.loops > 100, "an empty call is far below the least sample"
    assert len(run.block(3 * run.loops)["seconds"]) == 3
    assert len(run.block(1)["seconds"]) == 1


# ------------------------------------------------------------------------------------------------ the interface


def test_compare_tells_variants_from_callables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no model"):
        api.compare("bf16", "int8")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="no model"):
        api.compare(time.gmtime, time.gmtime, model="m")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="neither"):
        api.compare(time.gmtime, "bf16")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="max_rounds"):
        api.compare_commands("true", "true", max_rounds=0)
    with pytest.raises(InputError, match="empty"):
        api.compare_commands("true", " ")


def test_compare_stores_its_contest(tmp_path: Path) -> None:
    found = api.compare(time.gmtime, lambda: 0, budget_s=1e-6, store=tmp_path / "store")
    assert open_store(tmp_path / "store").get(CONTEST, found.id, Contest) == found


def test_ctrl_c_gives_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contests.ContestRun.measure

    def interrupted(self: ContestRun) -> Iterator[Contest]:
        yield next(whole(self))
        raise KeyboardInterrupt

    monkeypatch.setattr(contests.ContestRun, "measure", interrupted)
    with pytest.raises(api.ContestInterrupted) as stopped:
        api.compare_commands("true", "true", budget_s=1, store=tmp_path / "store")
    assert stopped.value.contest.rounds == 1
    assert not stopped.value.contest.complete
    assert len(open_store(tmp_path / "store").all(CONTEST, None, Contest)) == 1


def test_two_commands(store: Store) -> None:
    policy = MeasurePolicy(budget_s=60, max_rounds=6, turns=2)
    *_, last = ContestRun(pair_of_commands("sleep 0", "sleep 0.1", policy), policy, store, api.Quiet()).measure()
    assert last.comparison.outcome == "worse", last.comparison.reason
    assert last.sides[0].placement == "one process for each call"
