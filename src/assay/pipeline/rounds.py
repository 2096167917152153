"""Rounds: fresh workers of all variants, alive together, taking turns in an order drawn anew every time.

Specification: the procedure of paired, interleaved blocks with the round as the statistical unit. It refuses to run two
workers at once on the same cores while anything is timed.
"""

from __future__ import annotations

import math
import random
import statistics
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

from assay.core.errors import RunError
from assay.core.records import (
    Absent,
    Environment,
    Load,
    Measured,
    Memory,
    Outcome,
    Round,
    Run,
    Samples,
    Scalar,
    Workload,
)
from assay.core.study import MeasurePolicy
from assay.judge.stats.steady import SteadyState
from assay.pipeline.births import servers_of
from assay.pipeline.energy import BLOCK_S, Energy, Spent, absent
from assay.pipeline.fitting import at_least, skipped_after
from assay.pipeline.plan import BuiltRow, Tokens, cached_batch
from assay.pipeline.processes import Reply, WorkerFailed, WorkerProcess

_SHARE_OF_WARMUP = 0.4
_LEAST_WARMUP_S = 0.05
_LOAD = Workload(kind="load")


@dataclass(frozen=True)
class Bench:
    """What stays the same over the rounds of a study."""

    study: str
    policy: MeasurePolicy
    rows: tuple[BuiltRow, ...]
    tokens: Tokens
    capacity: int
    surroundings: Callable[[Load, Load], Environment]
    """Makes the environment of a run from the load before and after it."""
    load_now: Callable[[], Load]
    skipped: Mapping[tuple[str, str], Outcome] = field(default_factory=dict)
    """Rows and names of workloads that are not tried, and what is said of them."""
    together: bool = True
    """False where not even two workers fit into memory: they are loaded in turn."""
    energy: Energy | None = None
    """None measures no energy, and says nothing of it."""


@dataclass
class _Cell:
    """Samples of one row on one workload, while they are taken."""

    metric: str = ""
    warmup: list[tuple[float, float]] = field(default_factory=list)
    warmup_blocks: list[int] = field(default_factory=list)
    timed: list[tuple[float, float]] = field(default_factory=list)
    timed_blocks: list[int] = field(default_factory=list)
    cpu: list[tuple[int, float, float]] = field(default_factory=list)
    """Block, CPU seconds, start."""
    phases: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Parts of each call, warm-up first, by metric."""
    settled: str = ""


class RoundInProgress:
    """One round: spawn, load, warm, take turns, read the facts. Use `measure`."""

    def __init__(self, bench: Bench, index: int, workloads: Sequence[Workload], share_s: float) -> None:
        self._bench = bench
        self._index = index
        self._workloads = [w for w in workloads if w.kind != "load"]
        self._share_s = share_s
        self._random = random.Random(f"{bench.policy.seed}/{bench.study}/{index}")
        self._order = list(bench.rows)
        self._random.shuffle(self._order)
        self._alive: dict[str, WorkerProcess] = {}
        self._failed: dict[str, Outcome] = {}
        self._opened: dict[str, Reply] = {}
        self._first_call_s: dict[tuple[str, str], float] = {}
        self._cells: dict[tuple[str, str], _Cell] = {}
        self._outcomes = {cell: bench.skipped[cell] for cell in bench.skipped if cell[1] in self._names}
        self._spent: dict[tuple[str, str], Spent] = {}
        windows = len(self._order) * len(self._workloads)
        self._no_energy = bench.energy.refusal(index, windows, share_s) if bench.energy is not None else ""
        if bench.energy is not None and not self._no_energy:
            self._share_s -= bench.energy.seconds(windows)
        self._idle = {
            row.name
            for row in bench.rows
            if self._workloads and all((row.name, name) in self._outcomes for name in self._names)
        }

    @property
    def _names(self) -> list[str]:
        return [workload.name for workload in self._workloads]

    def measure(self) -> Round:
        """Run the whole round and return its record. A worker that fails ends its own row, not the round."""
        before = self._bench.load_now()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        parts = [self._order] if self._bench.together else [[row] for row in self._order]
        closing: dict[str, Reply] = {}
        for part in parts:
            self._measure_part(part, self._share_s / len(parts), closing)
        environment = self._bench.surroundings(before, self._bench.load_now())
        kinds = [_LOAD, *self._workloads]
        runs = [
            self._run(row, w, closing.get(row.name), environment, started)
            for row in self._order
            for w in kinds
            if not self._never_tried(row.name, w)
        ]
        return Round(
            study=self._bench.study,
            index=self._index,
            order=tuple(row.name for row in self._order),
            runs=tuple(runs),
            shared_memory=self._bench.together,
        )

    def _measure_part(self, rows: Sequence[BuiltRow], share_s: float, closing: dict[str, Reply]) -> None:
        """Workers that are alive together, from their birth to their facts."""
        with ExitStack() as stack:
            self._spawn(stack, [row for row in rows if row.name not in self._idle])
            for row in rows:
                self._ask(row.name, "open", **self._open_request(row), keep=self._opened)
                self._first_calls(row)
            before_w = self._idle_power()
            for workload in self._random.sample(self._workloads, len(self._workloads)):
                self._measure_workload(workload, rows, share_s / len(self._workloads))
            after_w = self._idle_power() if self._spent else before_w
            for row in rows:
                for cell in [cell for cell in self._spent if cell[0] == row.name]:
                    self._spent[cell] = self._spent[cell].above_idle(before_w, after_w)
            for row in rows:
                self._ask(row.name, "facts", keep=closing)

    def _never_tried(self, name: str, workload: Workload) -> bool:
        """Whether no worker was needed, or it was gone for another workload's memory before this one's turn came."""
        if workload.kind == "load":
            return name in self._idle
        gone = name not in self._alive and name not in self._failed
        cell = self._cells.get((name, workload.name))
        return gone and (name, workload.name) not in self._outcomes and not (cell and cell.timed)

    def _takes_part(self, name: str, workload: Workload) -> bool:
        return name in self._alive and (name, workload.name) not in self._outcomes

    def _spawn(self, stack: ExitStack, rows: Sequence[BuiltRow]) -> None:
        servers = servers_of(stack, [row.target.runtime for row in rows])
        for row in rows:
            try:
                self._alive[row.name] = stack.enter_context(WorkerProcess(row.name, servers[row.target.runtime]))
            except RunError as error:  # an engine that cannot be imported is the end of its own rows
                if len(servers) == 1:
                    raise
                self._failed[row.name] = Outcome(kind="crashed", message=str(error), successes=0)
                continue
            self._alive[row.name].send("import", runtime=row.target.runtime)
        for row in [row for row in rows if row.name in self._alive]:
            try:
                self._alive[row.name].receive(self._bench.policy.timeout_s)
            except WorkerFailed as failure:
                self._bury(row.name, failure)

    def _open_request(self, row: BuiltRow) -> dict[str, object]:
        return {
            "directory": str(row.directory),
            "target": row.target.model_dump(mode="json"),
            "decoding": row.plan.variant.decoding.model_dump(mode="json"),
            "capacity": self._bench.capacity,
            "batch": cached_batch(w for w in self._workloads if (row.name, w.name) not in self._outcomes),
            "tokens": str(self._bench.tokens.path),
        }

    def _ask(self, name: str, do: str, *, keep: dict[str, Reply], **arguments: object) -> Reply | None:
        worker = self._alive.get(name)
        if worker is None:
            return None
        try:
            answer = worker.ask(do, self._bench.policy.timeout_s, **arguments)
        except WorkerFailed as failure:
            self._bury(name, failure)
            return None
        keep[name] = answer
        return answer

    def _ask_of(self, name: str, workload: Workload, do: str, **arguments: object) -> Reply | None:
        """Ask for a workload. Where it is not supported, or its memory does not suffice, it ends, and no other does.

        Larger workloads than one that ran out of memory are not tried.
        """
        if not self._takes_part(name, workload):
            return None
        worker = self._alive[name]
        try:
            return worker.ask(do, self._bench.policy.timeout_s, workload=workload.model_dump(mode="json"), **arguments)
        except WorkerFailed as failure:
            if failure.outcome.kind == "unsupported" and failure.alive:
                self._outcomes[name, workload.name] = failure.outcome
                return None
            if failure.outcome.kind != "out_of_memory":
                self._bury(name, failure)
                return None
            self._outcomes[name, workload.name] = failure.outcome
            for other in self._workloads:
                if other is not workload and at_least(other, workload):
                    self._outcomes.setdefault((name, other.name), skipped_after(workload.name))
            if not failure.alive:
                self._alive.pop(name).close(patience_s=0.0)
            return None

    def _bury(self, name: str, failure: WorkerFailed) -> None:
        self._failed[name] = failure.outcome
        self._alive.pop(name).close(patience_s=0.0)

    def _first_calls(self, row: BuiltRow) -> None:
        """The first call of each workload, in the study's order, so that it means the same in every round."""
        for workload in self._workloads or [_LOAD]:
            first = self._ask_of(row.name, workload, "first_call")
            if first is not None:
                self._first_call_s[row.name, workload.name] = first["seconds"]

    # ---------------------------------------------------------------------------------------- one workload

    def _measure_workload(self, workload: Workload, rows: Sequence[BuiltRow], share_s: float) -> None:
        started = time.monotonic()
        self._cells |= {(row.name, workload.name): _Cell() for row in rows}
        call_s = self._warm_up(workload, rows, share_s)
        if not call_s:
            return
        calls = max(1, math.ceil(self._bench.policy.block_s / min(call_s.values())))
        turn_s = calls * sum(call_s.values())
        left_s = share_s - (time.monotonic() - started)
        turns = max(1, min(self._bench.policy.turns, int(left_s / turn_s)))
        for turn in range(turns):
            if turn and time.monotonic() - started > share_s:
                break
            for row in self._random.sample(rows, len(rows)):
                self._block(row.name, workload, calls, turn)
        self._measure_energy(workload, rows, call_s)

    def _warm_up(self, workload: Workload, rows: Sequence[BuiltRow], share_s: float) -> dict[str, float]:
        """Call until each variant is settled; return the seconds of a call by variant.

        The first call counts towards the cap: where it alone takes longer, the turns begin with the second call, and
        the facts say that no steady state was shown.
        """
        fair_s = max(_SHARE_OF_WARMUP * share_s / len(rows), _LEAST_WARMUP_S)
        cap_s = min(self._bench.policy.warmup_cap_s, fair_s)
        call_s: dict[str, float] = {}
        for row in rows:
            if not self._takes_part(row.name, workload):
                continue
            cell = self._cells[row.name, workload.name]
            first_s = self._first_call_s[row.name, workload.name]
            if first_s >= cap_s:
                cell.settled = f"no steady state: the first call took {first_s:.3g} s of a warm-up of {cap_s:.3g} s"
                call_s[row.name] = first_s
                continue
            self._settle(row, workload, SteadyState(cap_s=cap_s - first_s))
            if self._takes_part(row.name, workload):
                call_s[row.name] = statistics.median([value for _, value in cell.warmup[-5:]])
        return call_s

    def _settle(self, row: BuiltRow, workload: Workload, detector: SteadyState) -> None:
        calls, block = 1, 0
        while self._takes_part(row.name, workload) and not (detector.settled or detector.no_steady_state):
            seconds = self._block(row.name, workload, calls, block, warming=True)
            if seconds:
                calls = max(1, math.ceil(self._bench.policy.block_s / statistics.median(seconds)))
                detector.add(statistics.median(seconds), sum(seconds))
                block += 1
        self._cells[row.name, workload.name].settled = detector.describe()

    def _block(self, name: str, workload: Workload, calls: int, block: int, warming: bool = False) -> list[float]:
        answer = self._ask_of(name, workload, "block", calls=calls)
        if answer is None:
            return []
        cell = self._cells[name, workload.name]
        cell.metric = answer["metric"]
        pairs = list(zip(answer["started_s"], answer["seconds"], strict=True))
        for metric, parts in answer["phases"].items():
            cell.phases.setdefault(metric, []).extend((start, seconds) for start, seconds in parts)
        if warming:
            cell.warmup += pairs
            cell.warmup_blocks += [block] * len(pairs)
        else:
            cell.timed += pairs
            cell.timed_blocks += [block] * len(pairs)
            if "cpu_s" in answer:
                cell.cpu.append((block, answer["cpu_s"], pairs[0][0]))
        return list(answer["seconds"])

    def _measure_energy(self, workload: Workload, rows: Sequence[BuiltRow], call_s: Mapping[str, float]) -> None:
        """A window of each row, in an order drawn anew, after the turns: no speed is read from it."""
        energy = self._bench.energy
        if energy is None or self._no_energy:
            return
        for row in self._random.sample(rows, len(rows)):
            if not self._takes_part(row.name, workload):
                continue
            calls = max(1, math.ceil(BLOCK_S / call_s[row.name]))

            def block(name: str = row.name, calls: int = calls) -> int:
                return calls if self._ask_of(name, workload, "block", calls=calls) is not None else 0

            self._spent[row.name, workload.name] = energy.measure(block)

    def _idle_power(self) -> Measured:
        energy = self._bench.energy
        if energy is None or self._no_energy:
            return Absent(reason=self._no_energy or "no energy is measured")
        return energy.idle_power()

    def _energy_facts(self, name: str, workload: Workload) -> dict[str, Scalar]:
        energy = self._bench.energy
        if energy is None:
            return {}
        spent = self._spent.get((name, workload.name))
        if spent is not None:
            return spent.facts(energy.meter)
        return absent(energy.meter, self._no_energy or "the workload was not measured")

    # ---------------------------------------------------------------------------------------- the records

    def _run(
        self, row: BuiltRow, workload: Workload, closing: Reply | None, environment: Environment, started: str
    ) -> Run:
        facts: dict[str, Scalar] = {}
        opened = self._opened.get(row.name)
        source = closing or opened
        if source is not None:
            facts = {key: tuple(value) if isinstance(value, list) else value for key, value in source["facts"].items()}
        samples: list[Samples] = []
        if workload.kind == "load":
            if opened is not None and "load_s" in opened:
                samples.append(Samples(metric="load_s", values=(opened["load_s"],)))
            if opened is not None and "compile_s" in opened["facts"]:
                samples.append(Samples(metric="compile_s", values=(opened["facts"]["compile_s"],)))
            first = (self._workloads or [_LOAD])[0].name
            if (row.name, first) in self._first_call_s:
                samples.append(Samples(metric="first_call_s", values=(self._first_call_s[row.name, first],)))
                facts["first_call"] = first
        else:
            cell = self._cells.get((row.name, workload.name), _Cell())
            samples = _samples_of(cell)
            if cell.settled:
                facts["warm_up"] = cell.settled
            if (row.name, workload.name) in self._spent:
                samples += self._spent[row.name, workload.name].samples()
            facts |= self._energy_facts(row.name, workload)
        return Run(
            id=uuid.uuid4().hex,
            study=self._bench.study,
            round=self._index,
            variant=row.name,
            artifact=row.artifact.digest,
            target=row.target,
            decoding=row.plan.variant.decoding,
            workload=workload,
            samples=tuple(samples),
            facts=facts,
            environment=environment,
            memory=_memory_of(closing),
            outcome=self._failed.get(row.name) or self._outcomes.get((row.name, workload.name), Outcome(kind="ok")),
            started_utc=started,
        )


def _samples_of(cell: _Cell) -> list[Samples]:
    samples = []
    if cell.timed or cell.warmup:
        before_first_turn = -1 - max(cell.warmup_blocks, default=0)
        samples += [
            Samples(
                metric=metric,
                values=tuple(value for _, value in pairs),
                started_s=tuple(start for start, _ in pairs),
                block=(*(before_first_turn + block for block in cell.warmup_blocks), *cell.timed_blocks),
                warmup=len(cell.warmup),
            )
            for metric, pairs in ((cell.metric, cell.warmup + cell.timed), *cell.phases.items())
        ]
    if cell.cpu:
        samples.append(
            Samples(
                metric="cpu_s",
                values=tuple(cpu_s for _, cpu_s, _ in cell.cpu),
                block=tuple(block for block, _, _ in cell.cpu),
                started_s=tuple(start for _, _, start in cell.cpu),
            )
        )
    return samples


def _memory_of(closing: Mapping[str, object] | None) -> Memory:
    if closing is not None:
        return Memory.model_validate(closing["memory"])
    gone = Absent(reason="the worker ended before its memory was read")
    return Memory(**dict.fromkeys(Memory.model_fields, gone))
