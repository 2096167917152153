"""What every check shares: the subject, the answer, and lookups over records. It refuses to guess an absent fact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from assay.core.figures import FigureTable
from assay.core.records import (
    Absent,
    Cell,
    Comparison,
    Environment,
    Estimate,
    Finding,
    Measured,
    ModelSource,
    Quality,
    Roofs,
    Round,
    Row,
    Run,
    Samples,
)

REPEATED_TIMES = frozenset(
    {"prefill_s", "tpot_s", "end_to_end_s", "call_s", "forward_s", "backward_s", "optimizer_step_s", "train_step_s"}
)
"""Times that are sampled call by call."""
RATES = {"prefill_s": "prefill_tok_per_s", "tpot_s": "decode_tok_per_s", "train_step_s": "train_tok_per_s"}
"""Rates that are computed from a sampled time."""
TIMES = {rate: time for time, rate in RATES.items()}


@dataclass(frozen=True)
class Subject:
    """All recorded facts that a check may read."""

    rows: tuple[Row, ...]
    rounds: tuple[Round, ...]
    quality: tuple[Quality, ...]
    comparisons: tuple[Comparison, ...]
    null_estimates: tuple[Comparison, ...]
    """The hidden A/A variant against the baseline."""
    environment: Environment | None
    """None where another tool's figures are judged: nothing is known of the machine but what their facts say."""
    source: ModelSource | None
    """The model; None where programs without one are compared."""
    roofs: Roofs | None = None
    """The machine's ceilings, where they were measured."""
    tables: tuple[FigureTable, ...] = ()
    """The figures: of a study `checks.tables.native_table`, of other tools what was read of them."""

    def row(self, name: str) -> Row | None:
        """The row of that name, if there is one."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def baseline(self) -> Row | None:
        """The row that speed is compared with."""
        return next((row for row in self.rows if row.role == "baseline"), None)

    def quality_of(self, name: str) -> Quality | None:
        """The quality record of a row, if it was measured."""
        return next((quality for quality in self.quality if quality.variant == name), None)

    def runs(self) -> Iterator[Run]:
        """Every run that ended well and stands in a row, round by round."""
        shown = {row.name for row in self.rows}
        for measured in sorted(self.rounds, key=lambda r: r.index):
            for run in measured.runs:
                if run.outcome.kind == "ok" and run.variant in shown:
                    yield run

    def samples(self, metrics: Iterable[str]) -> dict[Series, list[tuple[Run, Samples]]]:
        """Samples of some metrics by row, metric and workload, each with its run, in the order of the rounds."""
        wanted = frozenset(metrics)
        found: dict[Series, list[tuple[Run, Samples]]] = {}
        for run in self.runs():
            for samples in run.samples:
                if samples.metric in wanted:
                    key = Series(run.variant, samples.metric, run.workload.name)
                    found.setdefault(key, []).append((run, samples))
        return found

    def cell(self, row: str, metric: str, workload: str = "") -> Cell:
        """The cell of a metric as the row's table names it: with its workload only where there are several."""
        shown = self.row(row)
        full = f"{metric}@{workload}"
        return Cell(row=row, metric=full if workload and shown is not None and full in shown.metrics else metric)

    def value(self, row: Row, metric: str, workload: str = "") -> Measured | Estimate | None:
        """What a row shows of a metric on a workload, or None where it shows nothing."""
        return row.metrics.get(f"{metric}@{workload}", row.metrics.get(metric))

    def timed_cells(self, series: Series) -> tuple[Cell, ...]:
        """The cells that a sampled time feeds: itself, and its rate."""
        names = [series.metric, *([RATES[series.metric]] if series.metric in RATES else [])]
        return tuple(self.cell(series.row, name, series.workload) for name in names)


class Series(NamedTuple):
    """Which samples: of a row, a metric, a workload."""

    row: str
    metric: str
    workload: str

    def __str__(self) -> str:
        return f"{self.row} on {self.workload}"


class Symptom(NamedTuple):
    """What one series shows, before the series of a workload are told together."""

    series: Series
    said: str
    numbers: dict[str, float]


def by_workload(symptoms: Iterable[Symptom]) -> dict[str, list[Symptom]]:
    """Symptoms by workload: one finding for all rows reads better than one for each."""
    groups: dict[str, list[Symptom]] = {}
    for symptom in symptoms:
        groups.setdefault(symptom.series.workload, []).append(symptom)
    return groups


def told(group: Iterable[Symptom]) -> str:
    """`bf16 (what it shows), int8 (what it shows)`."""
    return ", ".join(f"{symptom.series.row} ({symptom.said})" for symptom in group)


def numbers_of(group: Iterable[Symptom]) -> dict[str, float | str]:
    """The figures of all symptoms, each under its row."""
    return {f"{s.series.row} {name}": value for s in group for name, value in s.numbers.items()}


class Answer(NamedTuple):
    """What a check says: its findings, and why it could not look at something."""

    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()


def number(value: Measured | Estimate | None) -> float | None:
    """The number in a cell, or None where there is none."""
    if value is None or isinstance(value, Absent):
        return None
    return value.value if isinstance(value, Estimate) else value


def of_rounds(count: int) -> str:
    """`1 round`, `12 rounds`."""
    return f"{count} round" if count == 1 else f"{count} rounds"


def enough_rounds(showing: int, rounds: int, share: float) -> bool:
    """True where a symptom shows in that share of the rounds, and in at least one."""
    return showing > 0 and showing >= math.ceil(share * rounds)
