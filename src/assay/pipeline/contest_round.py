"""One round of a contest: its programs alive together, taking turns in an order drawn anew every time.

The procedure is that of a study's round. It refuses to run two programs at once, and it ends with the first failure: a
program that fails is compared with nothing.
"""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median

from assay.core.canonical import digest
from assay.core.records import (
    Absent,
    Decoding,
    Environment,
    Load,
    Memory,
    Outcome,
    Round,
    Run,
    Samples,
    Scalar,
    Target,
    Workload,
)
from assay.core.study import MeasurePolicy
from assay.judge.stats.steady import SteadyState
from assay.pipeline.births import WorkerServer
from assay.pipeline.contestants import Block, Contestant, Placed, no_memory
from assay.pipeline.processes import WorkerFailed
from assay.run.measure.clock import NANOSECOND

CALL = Workload(kind="call", prompt_tokens=0, new_tokens=0)
METRIC = "call_s"
CPU_METRIC = "call_cpu_s"

_SHARE_OF_WARMUP = 0.4
_LEAST_WARMUP_S = 0.05
_OK = Outcome(kind="ok")
_PASSED_BY = Outcome(kind="ok", message="the round ended with the failure of the other program", successes=0)


@dataclass(frozen=True)
class ContestBench:
    """What stays the same over the rounds of a contest."""

    id: str
    policy: MeasurePolicy
    programs: Mapping[str, Placed]
    """By name; the baseline stands in it twice."""
    surroundings: Callable[[Load, Load], Environment]
    load_now: Callable[[], Load]


@dataclass
class _Seen:
    """What was measured of one program in this round."""

    opened: dict[str, float] = field(default_factory=dict)
    first_call_s: float | None = None
    warmup: list[tuple[int, Block]] = field(default_factory=list)
    timed: list[tuple[int, Block]] = field(default_factory=list)
    settled: str = ""
    memory: Memory = field(default_factory=no_memory)
    outcome: Outcome = _OK


class ContestRound:
    """Open, call first, warm, take turns, read the memory. Use `measure`.

    Args:
        bench: what is compared.
        index: of the round.
        share_s: seconds that the round may take, opening apart.
        known_s: seconds of a call by program, where an earlier round warmed them and nothing of it is lost; None where
            the programs are fresh and must be warmed.
    """

    def __init__(
        self, bench: ContestBench, index: int, share_s: float, known_s: Mapping[str, float] | None = None
    ) -> None:
        self._bench = bench
        self._index = index
        self._share_s = share_s
        self._asking = ""
        self.call_s: dict[str, float] = dict(known_s or {})
        """Seconds of a call by program, once settled."""
        self._random = random.Random(f"{bench.policy.seed}/{bench.id}/{index}")
        self._order = list(bench.programs)
        self._random.shuffle(self._order)
        self._seen = {name: _Seen() for name in self._order}
        self.timed_s = 0.0
        """Seconds of the turns, once measured."""
        self.turns = 0

    def measure(self) -> Round:
        """Run the whole round. A failure ends it; the run of the program that failed says why."""
        before = self._bench.load_now()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        with ExitStack() as stack:
            try:
                alive = self._open(stack)
                self._take_turns(alive)
                for name, contestant in alive.items():
                    self._asking = name
                    self._seen[name].memory = contestant.memory()
            except WorkerFailed as failure:
                for name, seen in self._seen.items():
                    seen.outcome = failure.outcome if name == self._asking else _PASSED_BY
        environment = self._bench.surroundings(before, self._bench.load_now())
        runs = tuple(self._run(name, environment, started) for name in self._order)
        return Round(study=self._bench.id, index=self._index, order=tuple(self._order), runs=runs)

    def _open(self, stack: ExitStack) -> dict[str, Contestant]:
        needs_server = any(placed.in_workers for placed in self._bench.programs.values())
        server = stack.enter_context(WorkerServer()) if needs_server else None
        alive: dict[str, Contestant] = {}
        for name in self._order:
            alive[name] = self._bench.programs[name].open_in(server)
            stack.callback(alive[name].close)
        for name in self._order:
            self._asking = name
            self._seen[name].opened = alive[name].open()
            if name not in self.call_s:
                self._seen[name].first_call_s = alive[name].first_call()
        return alive

    def _take_turns(self, alive: Mapping[str, Contestant]) -> None:
        began = time.monotonic()
        for name in self._order:
            if name not in self.call_s:
                self.call_s[name] = self._warm_up(name, alive[name])
        calls = {name: self._calls(self.call_s[name]) for name in self._order}
        turns_began = time.monotonic()
        for turn in range(self._bench.policy.turns):
            spent_s = time.monotonic() - turns_began
            if turn and time.monotonic() - began + spent_s / turn > self._share_s:
                break
            for name in self._random.sample(self._order, len(self._order)):
                self._asking = name
                self._seen[name].timed.append((turn, alive[name].block(calls[name])))
            self.turns = turn + 1
        self.timed_s = time.monotonic() - turns_began

    def _warm_up(self, name: str, contestant: Contestant) -> float:
        """Call until it is settled; seconds of a call then. The first call counts towards the cap."""
        self._asking = name
        seen = self._seen[name]
        first_s = seen.first_call_s or 0.0
        fair_s = max(_SHARE_OF_WARMUP * self._share_s / len(self._order), _LEAST_WARMUP_S)
        cap_s = min(self._bench.policy.warmup_cap_s, fair_s)
        if first_s >= cap_s:
            seen.settled = f"no steady state: the first call took {first_s:.3g} s of a warm-up of {cap_s:.3g} s"
            return first_s
        detector, calls = SteadyState(cap_s=cap_s - first_s), 1
        while not (detector.settled or detector.no_steady_state):
            block = contestant.block(calls)
            seen.warmup.append((len(seen.warmup), block))
            centre = median(block.seconds)
            calls = self._calls(centre)
            detector.add(centre, block.wall_s)
        seen.settled = detector.describe()
        return median(median(block.seconds) for _, block in seen.warmup[-5:])

    def _calls(self, call_s: float) -> int:
        """Calls of a block: each program's own, since one may take a thousand times as long as the other."""
        return max(1, math.ceil(self._bench.policy.block_s / max(call_s, NANOSECOND)))

    # ---------------------------------------------------------------------------------------- the records

    def _run(self, name: str, environment: Environment, started: str) -> Run:
        seen, placed = self._seen[name], self._bench.programs[name]
        facts: dict[str, Scalar] = {"program": placed.program, "placement": placed.placement}
        if seen.settled:
            facts["warm_up"] = seen.settled
        if seen.timed:
            facts["calls_per_sample"] = seen.timed[0][1].loops
        return Run(
            id=uuid.uuid4().hex,
            study=self._bench.id,
            round=self._index,
            variant=name,
            artifact=digest(placed.program),
            target=Target(runtime="python" if placed.fresh else "shell", format="program"),
            decoding=Decoding(),
            workload=CALL,
            samples=tuple(_samples_of(seen)),
            facts=facts,
            environment=environment,
            memory=seen.memory,
            outcome=seen.outcome,
            started_utc=started,
        )


def _samples_of(seen: _Seen) -> list[Samples]:
    samples = [Samples(metric=metric, values=(value,)) for metric, value in seen.opened.items()]
    if seen.first_call_s is not None:
        samples.append(Samples(metric="first_call_s", values=(seen.first_call_s,)))
    if not seen.timed:
        return samples
    before_first_turn = -1 - max((number for number, _ in seen.warmup), default=0)
    numbered = [*((before_first_turn + number, block) for number, block in seen.warmup), *seen.timed]
    samples.append(
        Samples(
            metric=METRIC,
            values=tuple(value for _, block in numbered for value in block.seconds),
            started_s=tuple(start for _, block in numbered for start in block.started_s),
            block=tuple(number for number, block in numbered for _ in block.seconds),
            warmup=sum(len(block.seconds) for _, block in seen.warmup),
        )
    )
    cpu = [(turn, block.cpu_s, block.started_s[0]) for turn, block in seen.timed if not isinstance(block.cpu_s, Absent)]
    if cpu:
        samples.append(
            Samples(
                metric=CPU_METRIC,
                values=tuple(value for _, value, _ in cpu),
                started_s=tuple(start for _, _, start in cpu),
                block=tuple(turn for turn, _, _ in cpu),
            )
        )
    return samples
