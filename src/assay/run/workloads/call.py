"""One Python callable, timed in groups that the clock can tell apart. It refuses a program that is not a callable.

A call that returns at once is shorter than the clock's own step, so calls are timed in groups of at least
`LEAST_SAMPLE_S`; a sample is then the mean of its group, and `loops` says of how many.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from assay.core.errors import InputError
from assay.core.records import Absent
from assay.run.measure.clock import NANOSECOND, collector_off
from assay.run.measure.memory import MemoryMeter

LEAST_SAMPLE_S = 5e-4
"""Shortest sample: some thousand steps of any clock, and twenty samples in a block of 10 ms."""
_MOST_LOOPS = 1 << 24

Program = Callable[[], object]


class CallRun:
    """Times one callable without arguments.

    Args:
        call: what is timed.
        memory: follows the process where it runs nothing else; None where it shares its process.
    """

    def __init__(self, call: Program, memory: MemoryMeter | None = None) -> None:
        self._call = call
        self._memory = memory
        self.loops = 1

    def first_call(self) -> float:
        """Seconds of the first call, alone; the size of a group is found after it."""
        with collector_off():
            started = time.perf_counter_ns()
            self._call()
            seconds = (time.perf_counter_ns() - started) * NANOSECOND
            self._find_loops()
        return seconds

    def block(self, calls: int) -> dict[str, Any]:
        """Time at least `calls` calls, in whole groups.

        Returns:
            `started_s` and `seconds` of each group (seconds a call), `cpu_s` a call, `wall_s` of the block, `loops`.
        """
        groups = max(1, round(calls / self.loops))
        clock, call, loops = time.perf_counter_ns, self._call, range(self.loops)
        starts, ends = [0] * groups, [0] * groups
        cpu, wall = time.process_time_ns(), clock()
        with collector_off():
            for index in range(groups):
                starts[index] = clock()
                for _ in loops:
                    call()
                ends[index] = clock()
        cpu, wall = time.process_time_ns() - cpu, clock() - wall
        scale = NANOSECOND / self.loops
        return {
            "started_s": [start * NANOSECOND for start in starts],
            "seconds": [(end - start) * scale for start, end in zip(starts, ends, strict=True)],
            "cpu_s": cpu * scale / groups,
            "wall_s": wall * NANOSECOND,
            "loops": self.loops,
        }

    def memory(self) -> dict[str, Any]:
        """Memory of the process since the callable was imported, as a `Memory` in JSON.

        Raises:
            InputError: the callable shares its process.
        """
        if self._memory is None:
            raise InputError(
                "memory of a callable", "it shares its process", "Put it in a module, so that workers run it"
            )
        found = self._memory.finish(kv_cache_bytes=Absent(reason="a callable has no KV cache that is known"))
        return found.model_dump(mode="json")

    def _find_loops(self) -> None:
        """Double the group until it is long enough; a slow call is made at most once more."""
        while self.loops < _MOST_LOOPS:
            started = time.perf_counter_ns()
            for _ in range(self.loops):
                self._call()
            if (time.perf_counter_ns() - started) * NANOSECOND >= LEAST_SAMPLE_S:
                return
            self.loops *= 2


def find_callable(program: str, search: Sequence[str]) -> Program:
    """The callable that `module:qualname` names.

    Args:
        program: such as `package.module:Class.method`.
        search: folders where modules are looked for, after those of this interpreter.

    Raises:
        InputError: the module is not found, or has no such callable.
    """
    sys.path += [folder for folder in search if folder not in sys.path]
    module_name, _, qualname = program.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for name in qualname.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"The callable {program!r} was asked for",
            str(error),
            "Define it at the top of a module that can be imported",
        ) from None
    if not callable(found):
        raise InputError(
            f"The callable {program!r} was asked for", f"it is of type {type(found).__name__}", "Name a function"
        )
    call: Program = found
    return call


def nothing() -> None:
    """What an empty call costs."""
