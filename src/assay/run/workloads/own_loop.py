"""The workloads on an engine that owns its loop, by the times that it tells. It refuses to invent a time for a token.

    prefill    time to the first new token: with its choice, and with the way to a server and back
    decode     times between the new tokens that follow, which are the engine's own and not the text's
    generate   time to the last new token

A request is the unit: a block of decode steps is as many whole requests as hold them. Where tokens arrive in bursts, a
time between two of them means nothing, and the mean of each request takes its place.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from assay.core.errors import InputError
from assay.core.records import Workload
from assay.run.measure.clock import NANOSECOND, collector_off
from assay.run.session import Generation, Generator
from assay.run.workloads.driver import Timing, require_tokens, text_tokens


class _Requests:
    """What the drivers share: the prompt, and requests for one new token with their start."""

    calls_per_block = 1

    def __init__(self, engine: Generator, workload: Workload, token_ids: Sequence[int], prompt_tokens: int) -> None:
        if workload.batch > 1:
            raise InputError(
                f"the workload {workload.name!r} was asked of an engine that owns its loop",
                "it takes one sequence at a time",
                "Ask for batch = 1",
            )
        self._engine = engine
        self._prompt = [int(token) for token in text_tokens(workload, token_ids, prompt_tokens)[0]]

    def first_call(self) -> tuple[str, float]:
        """Make the first request: (`first_call_s`, seconds)."""
        return "first_call_s", self.block(1)[0][1]

    def block(self, calls: int) -> list[Timing]:
        """Ask `calls` times for one token."""
        requests = [self._request(1) for _ in range(calls)]
        return [(started_ns * NANOSECOND, made.times_ns[0] * NANOSECOND) for started_ns, made in requests]

    def _request(self, new_tokens: int) -> tuple[int, Generation]:
        """Start of the request in nanoseconds, and its answer."""
        with collector_off():
            started_ns = time.perf_counter_ns()
            return started_ns, self._engine.generate(self._prompt, new_tokens)


class PrefillDriver(_Requests):
    """Times the first new token of a prompt. Raises InputError as `workloads.prefill`."""

    metric = "prefill_s"

    def __init__(self, engine: Generator, workload: Workload, token_ids: Sequence[int]) -> None:
        if workload.prompt_tokens < 1:
            raise InputError("a prefill workload", "prompt_tokens = 0", "Ask for at least one prompt token")
        super().__init__(engine, workload, token_ids, workload.prompt_tokens)


class DecodeDriver(_Requests):
    """Times the tokens that follow the first new one. Raises InputError as `workloads.decode`."""

    metric = "tpot_s"

    def __init__(self, engine: Generator, workload: Workload, token_ids: Sequence[int]) -> None:
        require_tokens(workload)
        super().__init__(engine, workload, token_ids, workload.prompt_tokens)
        self._new_tokens = workload.new_tokens + 1

    def block(self, calls: int) -> list[Timing]:
        """At least `calls` times between tokens, or one mean for each whole request where they come in bursts."""
        timings: list[Timing] = []
        asked = 0
        while asked < calls:
            started_ns, made = self._request(self._new_tokens)
            asked += self._new_tokens - 1
            timings += _between(started_ns, made.times_ns)
        return timings


class GenerateDriver(_Requests):
    """Times whole answers. Raises InputError as `workloads.generate`."""

    metric = "end_to_end_s"

    def __init__(self, engine: Generator, workload: Workload, token_ids: Sequence[int]) -> None:
        require_tokens(workload)
        super().__init__(engine, workload, token_ids, workload.prompt_tokens)
        self._new_tokens = workload.new_tokens

    def block(self, calls: int) -> list[Timing]:
        """Generate `calls` times."""
        requests = [self._request(self._new_tokens) for _ in range(calls)]
        return [(started_ns * NANOSECOND, made.times_ns[-1] * NANOSECOND) for started_ns, made in requests]


class LoadDriver(_Requests):
    """Times the first call after the load: a prompt of one token. Raises InputError where the text is empty."""

    metric = "load_s"
    calls_per_block = 0

    def __init__(self, engine: Generator, workload: Workload, token_ids: Sequence[int]) -> None:
        super().__init__(engine, workload, token_ids, 1)

    def first_call(self) -> tuple[str, float]:
        """Read one token: (`first_call_s`, seconds)."""
        _, made = self._request(1)
        return "first_call_s", made.times_ns[0] * NANOSECOND

    def block(self, calls: int) -> list[Timing]:
        """No timing, whatever `calls` is: the load is over, and its time is the worker's."""
        return []


def _between(started_ns: int, times_ns: Sequence[int]) -> list[Timing]:
    """Start and duration in seconds of each step after the first token."""
    steps = [(first, last - first) for first, last in itertools.pairwise(times_ns)]
    if any(duration <= 0 for _, duration in steps):
        steps = [(times_ns[0], (times_ns[-1] - times_ns[0]) // len(steps))]
    return [((started_ns + first) * NANOSECOND, duration * NANOSECOND) for first, duration in steps]
