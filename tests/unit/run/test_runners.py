"""Runners of one's own: an honest one is believed, and every way to misbehave ends in words of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from assay.cli import main
from assay.core.errors import EngineError, InputError, UnsupportedError
from assay.core.records import Absent
from assay.run.runner_check import check_runner
from assay.run.runner_line import RunnerLine
from assay.run.runtimes.runner import Runner

ROOT = Path(__file__).parents[3]
FAKE = f"{sys.executable} {ROOT / 'tests' / 'fake_runner.py'}"
HOW: dict[str, Any] = {"capacity": 64, "threads": 1, "decoding": {}}


def opened(fault: str, patience_s: float = 20.0) -> Runner:
    runner = Runner(RunnerLine(f"{FAKE} {fault}"), 20.0, patience_s)
    try:
        runner.open(None, HOW)
    except BaseException:
        runner.close()
        raise
    return runner


def test_an_honest_runner_is_believed():
    runner = opened("")
    made = runner.generate([1, 2, 3], 5)
    assert len(made.tokens) == len(made.times_ns) == 5
    assert made.tokens == runner.generate([1, 2, 3], 5).tokens
    assert (made.prompt_tokens, made.cached_tokens) == (3, 0)
    assert runner.facts["engine"] == "fake"
    assert runner.facts["isa"] == ("none",)
    assert runner.facts["overhead_s"] >= 0
    runner.close()
    assert runner.exit_status == 0


@pytest.mark.parametrize(
    ("fault", "outcome", "words"),
    [
        ("short", "wrong_answer", "5 new tokens were asked for and 4 came"),
        ("few-times", "wrong_answer", "5 new tokens were asked for and 4 times came"),
        ("backwards", "wrong_answer", "before time"),
        ("zero", "wrong_answer", "the first time is 0 ns"),
        ("boast", "wrong_answer", "the whole answer was here after"),
        ("outside", "wrong_answer", "the token 512 is outside of the vocabulary of 512"),
        ("miscount", "wrong_answer", "the prompt has 3 tokens and the engine counted 4"),
        ("floats", "wrong_answer", "no whole number"),
        ("words", "wrong_answer", "no whole number"),
        ("out-of-step", "wrong_answer", "request 1 was answered as"),
        ("garbage", "wrong_answer", "Loading model... 100%"),
        ("die", "crashed", "it ended with status 4. the last words of a runner"),
        ("illegal", "crashed", "killed by SIGILL"),
        ("memory", "out_of_memory", "no memory left"),
    ],
)
def test_a_runner_that_misbehaves_is_told_in_its_own_words(fault: str, outcome: str, words: str):
    runner = opened(fault)
    try:
        with pytest.raises(EngineError) as caught:
            runner.generate([1, 2, 3], 5)
    finally:
        runner.close()
    assert caught.value.outcome == outcome
    assert words in caught.value.found


def test_a_runner_that_hangs_is_ended():
    runner = opened("hang", patience_s=0.3)
    with pytest.raises(EngineError) as caught:
        runner.generate([1], 1)
    assert caught.value.outcome == "timed_out"
    runner._line._stream._process.kill()
    runner.close()


@pytest.mark.parametrize(("fault", "words"), [("refuse", "no such model here"), ("newer", "version 9 of the protocol")])
def test_a_runner_may_refuse_to_open(fault: str, words: str):
    with pytest.raises(UnsupportedError, match=words):
        opened(fault)


def test_a_runner_that_cannot_be_started_or_reached():
    with pytest.raises(EngineError, match="No such file"):
        RunnerLine("/no/such/program --at-all")
    with pytest.raises(EngineError, match="refused"):
        RunnerLine("127.0.0.1:1")
    with pytest.raises(InputError, match="no command"):
        RunnerLine("'unclosed")
    with pytest.raises(InputError, match="it is empty"):
        RunnerLine("  ")


def test_a_runner_over_a_socket():
    listener = subprocess.Popen([*FAKE.split(), "listen"], stdout=subprocess.PIPE, text=True)
    port = listener.stdout.readline().strip()
    runner = Runner(RunnerLine(f"tcp://127.0.0.1:{port}"))
    runner.open(None, HOW)
    assert len(runner.generate([5], 3).tokens) == 3
    assert runner.is_remote
    runner.close()
    assert runner.exit_status is None
    assert listener.wait(10) == 0
    listener.stdout.close()


def found(fault: str, patience_s: float = 20.0) -> dict[str, tuple[str, str]]:
    return {
        answer.name: (answer.outcome, answer.said) for answer in check_runner(f"{FAKE} {fault}", None, 64, patience_s)
    }


def test_the_example_passes_its_contract_test():
    answers = check_runner(f"{sys.executable} {ROOT / 'examples' / 'runner.py'}")
    assert [answer.name for answer in answers] == [
        "opens", "counts", "deterministic", "depends on input", "continues", "times", "refuses", "survives", "closes",
    ]  # fmt: skip
    assert {answer.outcome for answer in answers} == {"pass"}


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("short", "counts", "1 new tokens were asked for and 0 came"),
        ("random", "deterministic", "one prompt was continued by"),
        ("deaf", "depends on input", "the prompt is not read"),
        ("backwards", "counts", "before time"),
        ("obliging", "refuses", "a token outside of the vocabulary was answered with"),
        ("bad-end", "closes", "it ended with status 3"),
        ("refuse", "opens", "no such model here"),
        ("garbage", "counts", "Loading model"),
    ],
)
def test_the_contract_test_finds_each_fault(fault: str, check: str, words: str):
    outcome, said = found(fault)[check]
    assert outcome == "fail"
    assert words in said


def test_nothing_passes_after_a_death():
    answers = found("die")
    assert answers["counts"][0] == "fail"
    later = [answers[name][0] for name in ("deterministic", "depends on input", "continues", "times", "survives")]
    assert later == ["not checked"] * 5


def test_a_burst_is_a_note():
    assert found("burst")["times"][0] == "note"


def test_the_command_line_tells_and_exits():
    honest = CliRunner().invoke(main, ["runner", "check", FAKE, "--format", "json"])
    told = {answer["name"]: answer["outcome"] for answer in json.loads(honest.output)}
    # The fake has no state beyond the sum of its prompt: a prompt made longer by its answer goes on otherwise.
    assert told.pop("continues") == "note"
    assert set(told.values()) == {"pass"}
    assert honest.exit_code == 0
    assert CliRunner().invoke(main, ["runner", "check", f"{FAKE} short"]).exit_code == 1


def test_a_runner_that_stays_is_killed_with_what_it_started():
    runner = opened("stay")
    process = runner._line._stream._process
    started = time.monotonic()
    runner.close()
    assert process.poll() is not None
    assert time.monotonic() - started < 30
    assert runner.exit_status == -9


def test_a_fact_of_a_wrong_kind_is_refused():
    from assay.run.runtimes.runner import _facts

    with pytest.raises(EngineError, match="no text, number, flag or list of texts"):
        _facts({"nested": {"a": 1}}, "asked")


def test_what_is_not_told_is_absent():
    from assay.run.runtimes.runner import _count

    assert isinstance(_count({}, "prompt_tokens", "asked"), Absent)
