"""A contest: two callables or two commands, held against each other by the procedure of studies, round after round.

It refuses to judge programs that fail, and to call a comparison finished that its budget ended.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Literal

from assay.core.errors import InputError
from assay.core.records import (
    Absent,
    Comparison,
    Contest,
    ContestSide,
    Environment,
    Estimate,
    Load,
    Machine,
    Measured,
    Outcome,
    Round,
    Row,
    Run,
)
from assay.core.study import MeasurePolicy
from assay.judge.checks.base import Subject
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.runner import run_checks
from assay.judge.evidence import compare, summarise
from assay.judge.stats.quantiles import p90, p99
from assay.keep.store import Store
from assay.pipeline.contest_round import CALL, CPU_METRIC, METRIC, ContestBench, ContestRound
from assay.pipeline.contestants import Placed, place_callables, place_command
from assay.pipeline.plan import NULL_NAME
from assay.pipeline.study_run import Progress
from assay.run.measure import environment as surroundings
from assay.run.workloads.call import Program

CONTEST = "contest"
"""Kind of the record in the store."""
FIRST, SECOND = "A", "B"
PACKAGES = ("assay", "torch", "numpy")

_TARGET_ROUNDS = 10
_CHECKS = ("non_positive_time", "contention", "drift", "dependent_rounds", "noise")
"""Checks that speak of times alone."""
_SHORT_CALL_S = 1e-6

Kind = Literal["callables", "commands"]


@dataclass(frozen=True)
class Pair:
    """Two programs and how they are placed; the first is the baseline."""

    kind: Kind
    first: Placed
    second: Placed


def pair_of_callables(first: Program, second: Program, policy: MeasurePolicy) -> Pair:
    """Two callables without arguments: in workers where both can be imported there, otherwise in this process."""
    return Pair("callables", *place_callables(first, second, policy.timeout_s))


def pair_of_commands(first: str, second: str, policy: MeasurePolicy) -> Pair:
    """Two shell commands.

    Raises:
        InputError: one of them is empty.
    """
    if not first.strip() or not second.strip():
        raise InputError("A comparison of two commands was asked for", "one of them is empty", "Give two commands")
    return Pair("commands", place_command(first, policy.timeout_s), place_command(second, policy.timeout_s))


class ContestRun:
    """Measures and judges a pair; use `measure`.

    Args:
        pair: the two programs.
        policy: budget, rounds, margin, level.
        store: keeps the rounds as they are made, and each contest that is yielded last.
        progress: who is told; silent while anything is timed.
    """

    def __init__(
        self,
        pair: Pair,
        policy: MeasurePolicy,
        store: Store,
        progress: Progress,
        checks: CheckPolicy | None = None,
    ) -> None:
        self._pair = pair
        self._policy = policy
        self._store = store
        self._progress = progress
        self._checks = checks
        self._id = uuid.uuid4().hex
        self._started = time.monotonic()
        self._machine: Machine = surroundings.machine()
        self._before: Load = surroundings.load()

    def measure(self) -> Iterator[Contest]:
        """Yield the contest as judged after each round; the last one is decided, or as far as the budget goes."""
        deadline = self._started + self._policy.budget_s
        programs = {FIRST: self._pair.first, SECOND: self._pair.second, NULL_NAME: self._pair.first}
        bench = ContestBench(self._id, self._policy, programs, self._environment, surroundings.load)
        rounds: list[Round] = []
        overhead_s = turn_s = 0.0
        known_s: dict[str, float] | None = None
        self._progress.stage("comparing", self._policy.max_rounds, self._policy.budget_s)
        while True:
            wanted = max(min(_TARGET_ROUNDS, self._policy.max_rounds) - len(rounds), 1)
            share_s = max((deadline - time.monotonic()) / wanted - overhead_s, 0.0)
            current = ContestRound(bench, len(rounds), share_s, known_s)
            began = time.monotonic()
            rounds.append(current.measure())
            overhead_s = max(time.monotonic() - began - current.timed_s, 0.0)
            turn_s = current.timed_s / current.turns if current.turns else 0.0
            self._store.add_round(rounds[-1])
            self._progress.advance(len(rounds))
            if not self._pair.first.fresh:
                known_s, overhead_s = current.call_s, 0.0
            contest = self._judge(rounds)
            yield contest
            out_of_time = deadline - time.monotonic() < overhead_s + turn_s
            if contest.complete or _failure(rounds) or len(rounds) >= self._policy.max_rounds or out_of_time:
                return

    def _environment(self, before: Load, after: Load) -> Environment:
        return surroundings.environment(before, after, self._machine.usable_cpus, PACKAGES, described=self._machine)

    # ------------------------------------------------------------------------------------------------ judging

    def _judge(self, rounds: Sequence[Round]) -> Contest:
        comparison = self._compare(rounds, METRIC, SECOND)
        null = self._compare(rounds, METRIC, NULL_NAME)
        further = tuple(
            found
            for found in (self._compare(rounds, CPU_METRIC, SECOND),)
            if found.rounds and found.outcome != "not_comparable"
        )
        failed = _failure(rounds)
        if failed is not None:
            comparison, null = (_not_comparable(each, failed) for each in (comparison, null))
        sides = (self._side(rounds, FIRST, self._pair.first), self._side(rounds, SECOND, self._pair.second))
        environment = self._environment(self._before, surroundings.load())
        findings, not_checked = run_checks(
            Subject(
                rows=tuple(_row(side) for side in sides),
                rounds=tuple(rounds),
                quality=(),
                comparisons=(comparison,),
                null_estimates=(null,),
                environment=environment,
                source=None,
            ),
            self._checks,
            names=_CHECKS,
        )
        return Contest(
            id=self._id,
            kind=self._pair.kind,
            created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            elapsed_s=time.monotonic() - self._started,
            sides=sides,
            comparison=comparison,
            further=further,
            null_comparison=null,
            rounds=len(rounds),
            environment=environment,
            findings=findings,
            not_checked=not_checked,
            notes=tuple(self._notes(rounds, sides)),
            complete=comparison.outcome in ("better", "worse", "equivalent"),
        )

    def _compare(self, rounds: Sequence[Round], metric: str, name: str) -> Comparison:
        policy = self._policy
        return compare(
            rounds,
            metric,
            CALL.name,
            name,
            FIRST,
            margin=policy.margin,
            alpha=policy.alpha,
            min_rounds=policy.min_rounds,
            budget=policy.max_rounds,
        )

    def _side(self, rounds: Sequence[Round], name: str, placed: Placed) -> ContestSide:
        runs = _runs_of(rounds, name)
        steady = [
            value for run in runs for samples in run.samples if samples.metric == METRIC for value in samples.steady
        ]
        metrics: dict[str, Measured | Estimate] = dict(summarise(rounds, name))
        metrics = {key: value for key, value in metrics.items() if key in _SHOWN}
        failures = [run.outcome for run in runs if run.outcome.kind != "ok"]
        return ContestSide(
            name=name,
            program=placed.program,
            placement=placed.placement,
            metrics={**metrics, "call_p90_s": p90(steady), "call_p99_s": p99(steady)},
            calls=len(steady),
            outcome=failures[-1] if failures else Outcome(kind="ok", attempts=len(runs), successes=len(runs)),
        )

    def _notes(self, rounds: Sequence[Round], sides: Sequence[ContestSide]) -> Iterator[str]:
        first, second = sides
        if first.program == second.program:
            yield "A and B are the same program: what differs is noise"
        if first.placement.startswith("in process"):
            yield f"{first.placement}; all rounds share one process, so they are less independent than fresh workers"
        for side in sides:
            runs = _runs_of(rounds, side.name)
            loops = [run.facts["calls_per_sample"] for run in runs if "calls_per_sample" in run.facts]
            numbers = [loop for loop in loops if isinstance(loop, int) and loop > 1]
            if numbers:
                yield f"{side.name}: one call is too short for the clock; a sample is the mean of {median(numbers):.0f}"
            centre = side.metrics.get("call_s")
            value = centre.value if isinstance(centre, Estimate) else centre
            if isinstance(value, float) and value < _SHORT_CALL_S:
                yield f"{side.name}: most of a call of {value * 1e9:.0f} ns is the cost of calling at all"
            unsettled = sum(str(run.facts.get("warm_up", "")).startswith("no steady state") for run in runs)
            if unsettled:
                yield f"{side.name}: no steady state was shown in {unsettled} of {len(runs)} rounds"


_SHOWN = frozenset({METRIC, CPU_METRIC, "first_call_s", "import_s", "peak_rss_bytes"})


def _row(side: ContestSide) -> Row:
    """The side as checks know it."""
    return Row(
        name=side.name,
        role="baseline" if side.name == FIRST else "candidate",
        artifact=Absent(reason="a program is no artifact"),
        metrics=side.metrics,
        outcome=side.outcome,
    )


def _runs_of(rounds: Sequence[Round], name: str) -> list[Run]:
    return [run for measured in rounds for run in measured.runs if run.variant == name]


def _failure(rounds: Sequence[Round]) -> str | None:
    """What failed, in the program's own words; None where nothing did."""
    for measured in rounds:
        for run in measured.runs:
            if run.outcome.kind != "ok":
                name = f"{FIRST} (its second copy)" if run.variant == NULL_NAME else run.variant
                return f"{name} {run.outcome.kind.replace('_', ' ')}: {run.outcome.message}"
    return None


def _not_comparable(comparison: Comparison, reason: str) -> Comparison:
    return comparison.model_copy(
        update={
            "outcome": "not_comparable",
            "reason": reason,
            "ratio": Absent(reason=reason),
            "smallest_effect": Absent(reason=reason),
        }
    )
