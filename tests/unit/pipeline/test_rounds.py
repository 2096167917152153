"""Rounds on workers that the test made: what runs out of memory is skipped and said, and energy is that of the log."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from assay.core.records import (
    Absent,
    Artifact,
    Contract,
    Environment,
    Load,
    Machine,
    Memory,
    ModelSource,
    Outcome,
    Target,
    Workload,
)
from assay.core.study import MeasurePolicy, StudyVariant
from assay.judge.evidence import summarise
from assay.pipeline import births, fitting, rounds
from assay.pipeline.energy import Energy
from assay.pipeline.plan import BuiltRow, PlannedRow, Tokens
from assay.pipeline.processes import WorkerFailed
from assay.pipeline.results import _by_workload
from assay.run.measure.energy.base import NoMeter
from assay.run.measure.energy.replay import ReplayMeter

NOTHING = Absent(reason="not asked")
LOAD = Load(**dict.fromkeys(Load.model_fields, NOTHING))
MACHINE = Machine(
    system="Linux", release="1", architecture="x86_64", cpu_model="a CPU", isa=(), logical_cpus=1, usable_cpus=1,
    cache_bytes={}, memory_bytes=1, cgroup_memory_bytes=NOTHING, hypervisor=NOTHING, governor=NOTHING, accelerators=(),
)  # fmt: skip
CONTRACT = Contract(
    architecture="gpt2", context_length=64, sliding_window=NOTHING, vocab_size=10, num_hidden_layers=1,
    num_attention_heads=1, num_key_value_heads=1, head_dim=4, hidden_size=4, intermediate_size=8, gated_mlp=False,
    tie_word_embeddings=True, dtype="float32",
)  # fmt: skip
SMALL, MIDDLE, LARGE = (Workload(kind="prefill", prompt_tokens=tokens, new_tokens=0) for tokens in (8, 16, 32))
OUT = Outcome(kind="out_of_memory", message="killed by the kernel, which ran out of memory", successes=0)


class Machinery:
    """Stands for the processes: notes who lives, and fails where it is told to."""

    def __init__(self):
        self.fails = {}
        """(row, request, workload or empty): whether the worker outlives its failure."""
        self.alive = set()
        self.most = 0
        self.now = 0.0
        self.asked = []

    def worker(self, name, server):
        return FakeWorker(self, name)


class FakeWorker:
    def __init__(self, machinery, name):
        self.machinery, self.name = machinery, name

    def __enter__(self):
        self.machinery.alive.add(self.name)
        self.machinery.most = max(self.machinery.most, len(self.machinery.alive))
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self, patience_s=0.0):
        self.machinery.alive.discard(self.name)

    def send(self, do, **arguments):
        pass

    def receive(self, timeout_s):
        return {}

    def ask(self, do, timeout_s, workload=None, **arguments):
        assert self.name in self.machinery.alive, f"{self.name} was asked for {do} after its end"
        asked = Workload.model_validate(workload).name if workload else ""
        self.machinery.asked.append((self.name, do, asked))
        if (self.name, do, asked) in self.machinery.fails:
            raise WorkerFailed(OUT, alive=self.machinery.fails[self.name, do, asked])
        if do == "block":
            calls = arguments["calls"]
            self.machinery.now += 0.01 * calls
            starts, seconds = [0.0] * calls, [0.01] * calls
            return {"metric": "prefill_s", "started_s": starts, "seconds": seconds, "cpu_s": 0.01, "phases": {}}
        memory = Memory(**dict.fromkeys(Memory.model_fields, NOTHING)).model_dump(mode="json")
        return {"seconds": 0.01, "load_s": 0.1, "facts": {}, "memory": memory}


class FakeServer:
    def __init__(self, runtimes):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.fixture
def machinery(monkeypatch):
    made = Machinery()
    monkeypatch.setattr(rounds, "WorkerProcess", made.worker)
    monkeypatch.setattr(births, "WorkerServer", FakeServer)
    return made


def row(name, role="candidate", weight_bytes=1000):
    artifact = Artifact(
        digest=name, format="torch", source=ModelSource(kind="random", location="m", digest="d"), transforms=(),
        files=(), changes=(), contract=CONTRACT, parameter_count=100, weight_bytes=weight_bytes,
        resident_weight_bytes=weight_bytes, decode_weight_bytes=weight_bytes, toolchain={},
    )  # fmt: skip
    return BuiltRow(PlannedRow(name, StudyVariant(name=name), "torch", role), artifact, Path(), Target())


ROWS = (row("base", "baseline"), row("other"))


def a_round(index=0, rows=ROWS, workloads=(SMALL, MIDDLE, LARGE), share_s=1.0, **bench):
    def environment(before, after):
        return Environment(
            machine=MACHINE, python="3", packages={}, threads=1, thread_settings={}, git_revision=NOTHING,
            before=before, after=after,
        )  # fmt: skip

    made = rounds.Bench(
        study="s", policy=MeasurePolicy(turns=2, warmup_cap_s=0.2), rows=rows,
        tokens=Tokens(Path("t"), 1, "", "", True), capacity=64, surroundings=environment, load_now=lambda: LOAD,
        **bench,
    )  # fmt: skip
    return rounds.RoundInProgress(made, index, workloads, share_s=share_s).measure()


def outcomes(measured, name):
    return {run.workload.name: run.outcome.kind for run in measured.runs if run.variant == name}


def messages(measured, name):
    return {run.workload.name: run.outcome.message for run in measured.runs if run.variant == name}


def test_nothing_changes_where_memory_suffices(machinery):
    measured = a_round()
    assert measured.shared_memory
    assert set(outcomes(measured, "other").values()) == {"ok"}
    assert machinery.most == 2


def test_a_worker_that_outlives_it_goes_on_with_smaller_workloads(machinery):
    machinery.fails["other", "first_call", "prefill 16"] = True
    measured = a_round()
    assert outcomes(measured, "other") == {
        "load": "ok", "prefill 8": "ok", "prefill 16": "out_of_memory", "prefill 32": "out_of_memory",
    }  # fmt: skip
    assert messages(measured, "other")["prefill 32"] == "skipped: prefill 16 was already out of memory"
    assert messages(measured, "other")["prefill 16"] == OUT.message
    assert ("other", "first_call", "prefill 32") not in machinery.asked
    assert set(outcomes(measured, "base").values()) == {"ok"}


def test_a_worker_that_dies_ends_its_round_and_not_its_row(machinery):
    machinery.fails["other", "first_call", "prefill 16"] = False
    workloads = (MIDDLE, SMALL, LARGE)
    first = a_round(workloads=workloads)
    assert outcomes(first, "other") == {"load": "ok", "prefill 16": "out_of_memory", "prefill 32": "out_of_memory"}
    skipped = fitting.not_tried([first], ROWS, workloads, 64, NOTHING)
    assert set(skipped) == {("other", "prefill 16"), ("other", "prefill 32")}
    second = a_round(1, workloads=workloads, skipped=skipped)
    assert outcomes(second, "other")["prefill 8"] == "ok"
    assert messages(second, "other")["prefill 16"] == "skipped: prefill 16 was already out of memory"
    assert fitting.not_tried([first, second], ROWS, workloads, 64, NOTHING) == skipped


def test_it_may_happen_in_a_timed_block(machinery):
    machinery.fails["other", "block", "prefill 32"] = True
    measured = a_round()
    assert outcomes(measured, "other")["prefill 32"] == "out_of_memory"
    assert outcomes(measured, "other")["prefill 16"] == "ok"


def test_a_load_that_fails_is_the_whole_row(machinery):
    machinery.fails["other", "open", ""] = False
    assert set(outcomes(a_round(), "other").values()) == {"out_of_memory"}


def test_a_row_with_nothing_left_needs_no_worker(machinery):
    skipped = {("other", w.name): fitting.skipped_after("prefill 8") for w in (SMALL, MIDDLE, LARGE)}
    measured = a_round(skipped=skipped)
    assert outcomes(measured, "other") == dict.fromkeys(("prefill 8", "prefill 16", "prefill 32"), "out_of_memory")
    assert not any(name == "other" for name, _, _ in machinery.asked)


def test_workers_in_turn_are_never_alive_together(machinery):
    measured = a_round(together=False)
    assert machinery.most == 1
    assert not measured.shared_memory
    assert all(set(outcomes(measured, name).values()) == {"ok"} for name in ("base", "other"))


def test_what_needs_more_than_there_is_is_said_before_it_is_tried():
    rows = (row("base", "baseline"), row("huge", weight_bytes=10**9))
    skipped = fitting.not_tried([], rows, [SMALL], 64, 5e8)
    assert set(skipped) == {("huge", "prefill 8")}
    assert "1 GB are needed at least, 0.5 GB are available" in skipped["huge", "prefill 8"].message


def test_rows_that_do_not_fit_together_take_turns_over_the_rounds(machinery):
    rows = (row("base", "baseline", 40), *(row(name, weight_bytes=40) for name in ("a", "b")))
    needs = {"base": 40.0, "a": 40.0, "b": 40.0}
    seen = []
    for index in range(4):
        chosen = fitting.members(seen, rows, needs, 100.0)
        assert len(chosen) == 2
        seen.append(a_round(index, rows=chosen, workloads=(SMALL,)))
    assert [sorted(measured.order) for measured in seen] == [["a", "base"], ["b", "base"]] * 2
    assert fitting.taken(seen, ["base", "a", "b"]) == 2
    assert len(fitting.members([], rows, needs, 50.0)) == 2
    assert len(fitting.members([], rows, needs, 200.0)) == 3


@pytest.fixture
def log(tmp_path):
    """Seconds of power: 20 W, from 0 to 400 s."""
    path = tmp_path / "power.csv"
    path.write_text("time_s,power_w\n" + "".join(f"{tenth / 10},20.0\n" for tenth in range(4001)))
    return path


def energy_round(machinery, meter, index=0, share_s=100.0, **bench):
    def sleep(seconds):
        machinery.now += seconds

    made = Energy(meter, clock=lambda: machinery.now, sleep=sleep)
    return a_round(index, workloads=(SMALL,), energy=made, share_s=share_s, **bench)


def runs_of(measured):
    return {run.variant: run for run in measured.runs if run.workload.kind != "load"}


def test_the_joules_of_a_call_are_those_of_the_log(machinery, log):
    measured = energy_round(machinery, ReplayMeter(log, clock=lambda: machinery.now))
    for run in runs_of(measured).values():
        # 20 W for calls of 10 ms, in a window of at least 5 s.
        assert run.samples_of("energy_j").values == pytest.approx((0.2,))
        assert run.facts["energy_kind"] == "sampled"
        assert run.facts["energy_window_s"] >= 5
        assert "power.csv" in run.facts["energy_meter"]
        assert len(run.samples_of("prefill_s").steady) == 2, "a window is no sample of speed"
    assert summarise([measured], "base")["energy_j"] == pytest.approx(0.2)


def test_net_energy_is_what_is_spent_above_idle(machinery, log, tmp_path):
    energy_round(machinery, ReplayMeter(log, clock=lambda: machinery.now))
    end_s = machinery.now - 10  # of the last window: idle power was taken behind it, and for 10 s before all else
    machinery.now = 0.0
    path = tmp_path / "steps.csv"
    watts = [20.0 if 10.0 <= tenth / 10 < end_s else 8.0 for tenth in range(4001)]
    path.write_text("time_s,power_w\n" + "".join(f"{tenth / 10},{power}\n" for tenth, power in enumerate(watts)))
    measured = energy_round(machinery, ReplayMeter(path, clock=lambda: machinery.now))
    for run in runs_of(measured).values():
        gross, net = run.samples_of("energy_j").values[0], run.samples_of("net_energy_j").values[0]
        assert gross == pytest.approx(0.2, rel=0.02)  # the log knows tenths of a second, where the power changes
        assert net == pytest.approx(gross - 8.0 * 0.01, rel=0.02)
        assert "less idle power of 8.0 W" in run.facts["net_energy"]


def test_net_energy_is_absent_where_nothing_is_above_idle(machinery, log):
    run = runs_of(energy_round(machinery, ReplayMeter(log, clock=lambda: machinery.now)))["base"]
    assert isinstance(run.samples_of("net_energy_j"), Absent)
    assert "no more than idle power" in run.facts["net_energy"]


def test_a_window_beyond_the_log_has_no_joules(machinery, log):
    machinery.now = 385.0
    run = runs_of(energy_round(machinery, ReplayMeter(log, clock=lambda: machinery.now)))["base"]
    assert isinstance(run.samples_of("energy_j"), Absent)
    assert "the log covers" in run.facts["energy_absent"]


def test_without_a_meter_nothing_is_run_for_it_and_the_reason_stands_there(machinery):
    run = runs_of(energy_round(machinery, NoMeter("no energy meter here (RAPL: not readable)")))["base"]
    assert run.facts["energy_kind"] == "none"
    assert "RAPL: not readable" in run.facts["energy_absent"]
    assert machinery.now < 5


@pytest.mark.parametrize(("index", "share_s", "words"), [(3, 100.0, "first 3 rounds"), (0, 15.0, "give more time")])
def test_windows_do_not_eat_the_time_of_speed(machinery, log, index, share_s, words):
    meter = ReplayMeter(log, clock=lambda: machinery.now)
    run = runs_of(energy_round(machinery, meter, index, share_s))["base"]
    assert words in run.facts["energy_absent"]
    assert machinery.now < 5


def test_a_worker_that_dies_in_its_window_gives_no_joules(machinery, log):
    class Dying(ReplayMeter):
        windows = 0

        def begin_window(self):
            self.windows += 1
            if self.windows == 2:  # the first is that of idle power
                machinery.fails["base", "block", "prefill 8"] = False
            super().begin_window()

    measured = energy_round(machinery, Dying(log, clock=lambda: machinery.now), rows=ROWS[:1])
    assert "ended inside" in runs_of(measured)["base"].facts["energy_absent"]


def test_a_row_with_one_of_two_workloads_stands_in_the_same_columns(machinery):
    machinery.fails["other", "first_call", "prefill 16"] = True
    measured = a_round(workloads=(SMALL, MIDDLE))
    evidence = SimpleNamespace(rounds=(measured,), workloads=(SMALL, MIDDLE))
    keys = [f"prefill_tok_per_s@{workload.name}" for workload in (SMALL, MIDDLE)]
    for name in ("base", "other"):
        found = _by_workload(evidence, name, summarise([measured], name))
        assert [key for key in sorted(found, key=lambda key: len(key)) if key.startswith("prefill_tok")] == keys
    assert found[keys[0]] == pytest.approx(8 / 0.01)
    assert found[keys[1]] == Absent(reason=f"out of memory: {OUT.message}")
    alone = SimpleNamespace(rounds=(measured,), workloads=(MIDDLE,))
    assert "prefill_tok_per_s" in _by_workload(alone, "other", {})
