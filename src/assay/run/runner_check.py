"""The contract test of a runner: what its author runs before believing its numbers. It refuses to pass a silent runner.

Every check says what it saw. A check that could not be made, since the runner was gone by then, has not passed.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from assay.core.errors import AssayError, EngineError, UnsupportedError
from assay.core.records import Absent, Record
from assay.run.answers import quoted
from assay.run.runner_line import RunnerLine
from assay.run.runtimes.runner import Runner

CAPACITY = 64
_PROMPT = 8
_LONGEST = 16
_SEED = 20


class RunnerAnswer(Record):
    """What one check of a runner found."""

    name: str
    outcome: Literal["pass", "fail", "note", "not checked"]
    """`note`: worth knowing, and no fault by itself."""
    said: str


def check_runner(
    address: str, model: Mapping[str, Any] | None = None, capacity: int = CAPACITY, patience_s: float = 60.0
) -> tuple[RunnerAnswer, ...]:
    """Open a runner, ask it all that the protocol allows and some that it does not, and close it.

    Args:
        address: a command or `host:port`.
        model: what `open` says of the model; None where the runner has one of its own.
        capacity: tokens of the longest sequence it is opened for.
        patience_s: longest wait for one answer.

    Raises:
        InputError: the command cannot be read.
    """
    return tuple(_Check(address, model, capacity, patience_s).answers())


class _Check:
    def __init__(self, address: str, model: Mapping[str, Any] | None, capacity: int, patience_s: float) -> None:
        self._address = address
        self._model = model
        self._capacity = capacity
        self._patience_s = patience_s
        self._random = random.Random(_SEED)

    def answers(self) -> Iterator[RunnerAnswer]:
        started = time.perf_counter()
        try:
            runner = Runner(RunnerLine(self._address), self._patience_s, self._patience_s)
        except EngineError as error:
            yield RunnerAnswer(name="opens", outcome="fail", said=_said(error))
            return
        gone = ""
        try:
            try:
                how = {"capacity": self._capacity, "threads": 0, "decoding": {"kv_cache": "static", "prefill_chunk": 0}}
                runner.open(self._model, how)
            except AssayError as error:
                yield RunnerAnswer(name="opens", outcome="fail", said=_said(error))
                return
            yield RunnerAnswer(
                name="opens",
                outcome="pass",
                said=f"in {time.perf_counter() - started:.2f} s, vocabulary of {runner.vocab_size}, "
                f"facts: {', '.join(runner.facts) or 'none'}",
            )
            for check in (_counts, _deterministic, _depends_on_input, _continues, _times, _refuses, _survives):
                name = check.__name__.removeprefix("_").replace("_", " ")
                if gone:
                    yield RunnerAnswer(name=name, outcome="not checked", said=gone)
                    continue
                answer, is_gone = _carry_out(name, check, runner, self._prompt)
                gone = "the runner was gone or out of step by then" if is_gone else ""
                yield answer
        finally:
            started = time.perf_counter()
            runner.close()
        yield _closes(runner, time.perf_counter() - started)

    def _prompt(self, vocab_size: int) -> list[int]:
        return [self._random.randrange(vocab_size) for _ in range(_PROMPT)]


_Prompt = Callable[[int], list[int]]
_Found = tuple[Literal["pass", "fail", "note"], str]


def _carry_out(
    name: str, check: Callable[[Runner, _Prompt], _Found], runner: Runner, prompt: _Prompt
) -> tuple[RunnerAnswer, bool]:
    try:
        outcome, said = check(runner, prompt)
    except EngineError as error:
        return RunnerAnswer(name=name, outcome="fail", said=_said(error)), error.outcome != "wrong_answer"
    except UnsupportedError as error:
        return RunnerAnswer(name=name, outcome="fail", said=_said(error)), False
    return RunnerAnswer(name=name, outcome=outcome, said=said), False


def _counts(runner: Runner, prompt: _Prompt) -> _Found:
    """As many tokens and times as were asked for, all of them possible."""
    for new_tokens in (1, 2, _LONGEST):
        made = runner.generate(prompt(runner.vocab_size), new_tokens)
    if isinstance(made.prompt_tokens, Absent):
        return "note", f"1, 2 and {_LONGEST} tokens came as asked; the prompt's own count is not told (prompt_tokens)"
    return "pass", f"1, 2 and {_LONGEST} tokens came as asked, and the prompt was counted right"


def _deterministic(runner: Runner, prompt: _Prompt) -> _Found:
    """The same prompt twice gives the same tokens."""
    asked = prompt(runner.vocab_size)
    first, second = (_tokens(runner, asked, _LONGEST) for _ in range(2))
    if first != second:
        return "fail", f"one prompt was continued by {quoted(first)} and then by {quoted(second)}"
    return "pass", f"{_LONGEST} tokens twice the same"


def _depends_on_input(runner: Runner, prompt: _Prompt) -> _Found:
    """Not every prompt has the same continuation."""
    made = {tuple(_tokens(runner, prompt(runner.vocab_size), _LONGEST)) for _ in range(6)}
    if len(made) == 1:
        return "fail", "six different prompts have one and the same continuation: the prompt is not read"
    return "pass", f"six prompts have {len(made)} continuations"


def _continues(runner: Runner, prompt: _Prompt) -> _Found:
    """A longer answer begins as a shorter one, and a prompt made longer by its answer goes on with the rest."""
    asked = prompt(runner.vocab_size)
    whole = _tokens(runner, asked, _LONGEST)
    half = _LONGEST // 2
    if _tokens(runner, asked, half) != whole[:half]:
        return "fail", f"{half} tokens are not the beginning of {_LONGEST}: the choice depends on how many were asked"
    if _tokens(runner, asked + whole[:half], half) != whole[half:]:
        return "note", "the prompt with its own continuation goes on otherwise: another rounding, or a cache gone wrong"
    return "pass", "shorter and longer answers agree, and so do prefill and decode"


def _tokens(runner: Runner, prompt: list[int], new_tokens: int) -> list[int]:
    made = runner.generate(prompt, new_tokens).tokens
    return [] if isinstance(made, Absent) else list(made)


def _times(runner: Runner, prompt: _Prompt) -> _Found:
    """Times tell tokens apart."""
    requests = [runner.generate(prompt(runner.vocab_size), _LONGEST).times_ns for _ in range(3)]
    burst = any(after == before for times in requests for before, after in itertools.pairwise(times))
    first_ms = statistics.median(times[0] for times in requests) / 1e6
    step_ms = statistics.median((times[-1] - times[0]) / (_LONGEST - 1) for times in requests) / 1e6
    said = f"first token after {first_ms:.3f} ms, then {step_ms:.3f} ms a token"
    if burst:
        return "note", f"{said}; several tokens have the same time, so that each request gives one mean"
    return "pass", said


def _refuses(runner: Runner, prompt: _Prompt) -> _Found:
    """What cannot be done is answered with an error."""
    beyond = {"tokens": [runner.vocab_size], "new_tokens": 1}
    for what, fields in (
        ("a token outside of the vocabulary", {"do": "generate", **beyond}),
        ("an empty prompt", {"do": "generate", "tokens": [], "new_tokens": 1}),
        ("no new token", {"do": "generate", "tokens": prompt(runner.vocab_size), "new_tokens": 0}),
        ("an unknown request", {"do": "frobnicate"}),
    ):
        told = runner.tell(fields)
        if "error" not in told:
            return "fail", f"{what} was answered with {quoted(told)} and not with an error"
    return "pass", "a wrong token, an empty prompt, no new token and an unknown request are answered with errors"


def _survives(runner: Runner, prompt: _Prompt) -> _Found:
    """An error is not the end."""
    runner.generate(prompt(runner.vocab_size), 2)
    return "pass", "it answers after the errors as before"


def _closes(runner: Runner, seconds: float) -> RunnerAnswer:
    if runner.is_remote:
        return RunnerAnswer(name="closes", outcome="pass", said="the socket was closed")
    passed = runner.exit_status == 0
    said = f"it ended with status {runner.exit_status} after {seconds:.2f} s"
    return RunnerAnswer(name="closes", outcome="pass" if passed else "fail", said=said)


def _said(error: AssayError) -> str:
    return f"{error.found}. {error.remedy}"
