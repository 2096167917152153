"""What every check shares: the subject, the answer, and lookups over records. It refuses to guess an absent fact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

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
    Round,
    Row,
    Run,
    Samples,
)


@dataclass(frozen=True)
class Subject:
    """All recorded facts that a check may read."""

    rows: tuple[Row, ...]
    rounds: tuple[Round, ...]
    quality: tuple[Quality, ...]
    comparisons: tuple[Comparison, ...]
    null_estimates: tuple[Comparison, ...]
    """The hidden A/A variant against the baseline."""
    environment: Environment
    source: ModelSource

    def row(self, name: str) -> Row | None:
        """The row of that name, if there is one."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def baseline(self) -> Row | None:
        """The row that speed is compared with."""
        return next((row for row in self.rows if row.role == "baseline"), None)

    def runs(self) -> Iterator[Run]:
        """Every run that ended well, round by round."""
        for measured in self.rounds:
            for run in measured.runs:
                if run.outcome.kind == "ok":
                    yield run

    def samples(self, metrics: frozenset[str]) -> Iterator[tuple[Run, Samples]]:
        """Samples of some metrics, with their runs."""
        for run in self.runs():
            for samples in run.samples:
                if samples.metric in metrics:
                    yield run, samples


class Answer(NamedTuple):
    """What a check says: its findings, and why it could not look at something."""

    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()


REPEATED_TIMES = frozenset(
    {"prefill_s", "tpot_s", "end_to_end_s", "call_s", "forward_s", "backward_s", "optimizer_step_s"}
)
"""Times that are sampled call by call."""
RATES = {"prefill_s": "prefill_tok_per_s", "tpot_s": "decode_tok_per_s"}


def cells_of(row: str, metric: str, workload: str) -> tuple[Cell, ...]:
    """The cells that a sampled time feeds: itself and its rate, on one workload."""
    names = [metric, *([RATES[metric]] if metric in RATES else [])]
    return tuple(Cell(row=row, metric=f"{name}@{workload}") for name in names)


def number(value: Measured | Estimate | None) -> float | None:
    """The number in a cell, or None where there is none."""
    if value is None or isinstance(value, Absent):
        return None
    return value.value if isinstance(value, Estimate) else value
