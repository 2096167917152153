"""Who takes part in a contest: a callable in a fresh worker, a callable in this process, or a shell command.

Each is asked the same: open, call first, time a block, tell of memory, close. A failure is a `WorkerFailed` with the
program's own words. It refuses to put a callable into a worker that could not import it.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from assay.core.errors import InputError
from assay.core.records import Absent, Measured, Memory, Outcome
from assay.pipeline.births import WorkerServer
from assay.pipeline.processes import WorkerFailed, WorkerProcess
from assay.run.measure.command import CommandRunner, Execution
from assay.run.workloads.call import CallRun, Program

_GONE = Absent(reason="the program ended before its memory was read")


@dataclass(frozen=True)
class Block:
    """Calls of one turn."""

    started_s: tuple[float, ...]
    seconds: tuple[float, ...]
    """Of a call, for each sample."""
    cpu_s: Measured
    """Of a call, mean of the block."""
    wall_s: float
    loops: int = 1
    """Calls of which a sample is the mean."""


class Contestant(Protocol):
    """One program of a round."""

    def open(self) -> dict[str, float]:
        """Bring it to where it can be called; times of that by metric."""

    def first_call(self) -> float:
        """Seconds of the first call."""

    def block(self, calls: int) -> Block:
        """Time at least so many calls."""

    def memory(self) -> Memory:
        """Memory so far."""

    def close(self) -> None:
        """End it."""


@dataclass(frozen=True)
class Placed:
    """A program, and how a contestant is made of it in each round."""

    program: str
    placement: str
    fresh: bool
    """Whether each round opens it anew, so that it must be warmed again."""
    open_in: Callable[[WorkerServer | None], Contestant]
    """Makes a contestant; workers are forked from the server of their round."""
    in_workers: bool = False


# ------------------------------------------------------------------------------------------------ callables


def place_callables(first: Program, second: Program, timeout_s: float) -> tuple[Placed, Placed]:
    """Put both in workers where both can be imported there, otherwise both in this process, which is then said."""
    functions = (first, second)
    names = [name_of(function) for function in functions]
    reason = next((why for function in functions if (why := why_not_importable(function))), "")
    reason = reason or _why_not_in_worker(names, timeout_s)
    if reason:
        where = f"in process: {reason}"
        return _here(first, names[0], where), _here(second, names[1], where)
    return _in_worker(names[0], timeout_s), _in_worker(names[1], timeout_s)


def name_of(function: Program) -> str:
    """`module:qualname`, or how Python writes the object where it has no such name."""
    qualname = getattr(function, "__qualname__", None)
    return f"{function.__module__}:{qualname}" if isinstance(qualname, str) else repr(function)


def why_not_importable(function: Program) -> str:
    """Why a fresh interpreter could not find this callable by its name; empty where it could."""
    name = name_of(function)
    module, _, qualname = name.partition(":")
    if not inspect.isroutine(function) and not inspect.isclass(function):
        return f"{name} is an object, not a function"
    if module == "__main__":
        return f"{qualname} is defined in __main__"
    if "<lambda>" in qualname:
        return "a lambda has no name"
    if "<locals>" in qualname:
        return f"{qualname} is defined inside a function"
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return "" if found is function else f"{name} names another object"


def _why_not_in_worker(names: Sequence[str], timeout_s: float) -> str:
    with WorkerProcess("probe") as worker:
        try:
            for name in names:
                worker.ask("open_callable", timeout_s, program=name, search=sys.path)
        except InputError as error:
            return f"a fresh interpreter does not find {names[0]}: {error.found}"
        except WorkerFailed as failure:
            return f"a fresh interpreter cannot import it: {failure.outcome.message}"
    return ""


def _here(function: Program, name: str, where: str) -> Placed:
    return Placed(name, where, True, lambda _server: HereContestant(function, where))


def _in_worker(name: str, timeout_s: float) -> Placed:
    return Placed(
        name, "fresh worker processes", True, lambda server: WorkerContestant(name, server, timeout_s), in_workers=True
    )


class WorkerContestant:
    """A callable in a fresh worker."""

    def __init__(self, program: str, server: WorkerServer | None, timeout_s: float) -> None:
        self._program = program
        self._timeout_s = timeout_s
        self._worker = WorkerProcess(program, server)

    def open(self) -> dict[str, float]:
        """Import it."""
        opened = self._worker.ask("open_callable", self._timeout_s, program=self._program, search=sys.path)
        return {"import_s": opened["import_s"]}

    def first_call(self) -> float:
        """Seconds of the first call in its process."""
        return float(self._worker.ask("call_first", self._timeout_s)["seconds"])

    def block(self, calls: int) -> Block:
        """Time calls, while this process sleeps."""
        return _block_of(self._worker.ask("call_block", self._timeout_s, calls=calls))

    def memory(self) -> Memory:
        """Of the worker, since the import."""
        return Memory.from_json(json.dumps(self._worker.ask("call_memory", self._timeout_s)))

    def close(self) -> None:
        """End the worker."""
        self._worker.close()


class HereContestant:
    """A callable in this process."""

    def __init__(self, function: Program, where: str) -> None:
        self._run = CallRun(function)
        self._where = where

    def open(self) -> dict[str, float]:
        """It is here already."""
        return {}

    def first_call(self) -> float:
        """Seconds of the first call of the round."""
        return float(self._guarded(self._run.first_call))

    def block(self, calls: int) -> Block:
        """Time calls."""
        return _block_of(self._guarded(lambda: self._run.block(calls)))

    def memory(self) -> Memory:
        """None of its own."""
        return no_memory(Absent(reason=f"both callables share this process ({self._where})"))

    def close(self) -> None:
        """Nothing."""

    def _guarded(self, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except Exception as error:
            outcome = Outcome(kind="crashed", message=f"{type(error).__name__}: {error}", successes=0)
            raise WorkerFailed(outcome, alive=True) from error


def _block_of(answer: dict[str, Any]) -> Block:
    return Block(
        tuple(answer["started_s"]), tuple(answer["seconds"]), answer["cpu_s"], answer["wall_s"], answer["loops"]
    )


# ------------------------------------------------------------------------------------------------ commands


def place_command(command: str, timeout_s: float) -> Placed:
    """A shell command; every call is a process of its own."""
    where = "one process for each call"
    return Placed(command, where, False, lambda _server: CommandContestant(command, timeout_s))


class CommandContestant:
    """A shell command: each call is one execution."""

    def __init__(self, command: str, timeout_s: float) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._runner = CommandRunner()
        self._peaks: list[Measured] = []

    def open(self) -> dict[str, float]:
        """Nothing is kept between executions."""
        return {}

    def first_call(self) -> float:
        """Seconds of one execution, which finds the disk's cache as it is."""
        return self._execute().seconds

    def block(self, calls: int) -> Block:
        """Execute it so many times."""
        done = [self._execute() for _ in range(calls)]
        known = [each.cpu_s for each in done if isinstance(each.cpu_s, float)]
        return Block(
            started_s=tuple(each.started_s for each in done),
            seconds=tuple(each.seconds for each in done),
            cpu_s=sum(known) / len(known) if known else done[0].cpu_s,
            wall_s=sum(each.seconds for each in done),
        )

    def memory(self) -> Memory:
        """The highest peak of its executions."""
        numbers = [peak for peak in self._peaks if isinstance(peak, float)]
        peak: Measured = max(numbers) if numbers else self._peaks[-1] if self._peaks else _GONE
        rest = no_memory(Absent(reason="the kernel tells the peak of a command alone"))
        return rest.model_copy(update={"peak_bytes": peak})

    def close(self) -> None:
        """Free the file of its messages."""
        self._runner.close()

    def _execute(self) -> Execution:
        done = self._runner.execute(self._command, self._timeout_s)
        if done.timed_out:
            outcome = Outcome(kind="timed_out", message=f"no end within {self._timeout_s:.0f} s", successes=0)
            raise WorkerFailed(outcome, alive=False)
        if done.status != 0:
            how = f"exit status {done.status}" if done.status > 0 else f"ended by signal {-done.status}"
            words = f": {done.words}" if done.words else ", without a word on standard error"
            raise WorkerFailed(Outcome(kind="crashed", message=how + words, successes=0), alive=False)
        self._peaks.append(done.peak_bytes)
        return done


def no_memory(reason: Absent = _GONE) -> Memory:
    """A record of memory that says why there is none."""
    return Memory(**dict.fromkeys(Memory.model_fields, reason))
