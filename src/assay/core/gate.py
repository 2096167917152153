"""What a gate for continuous integration keeps and says. It keeps no absolute time: those are of one day alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assay.core.records import Estimate, FrozenMap, Record, Versioned


class GateNumber(Record):
    """One number that a later run is held against."""

    row: str
    metric: str
    workload: str = ""
    kind: Literal["ratio", "value"]
    """`ratio` is against the base variant of the same run: the only way in which a speed is kept."""
    value: float | Estimate


class GateBaseline(Versioned):
    """The numbers of a run that was good."""

    study: str
    created_utc: str
    base: str
    """The variant that speeds are ratios to."""
    numbers: tuple[GateNumber, ...]
    machine: str
    toolchain: FrozenMap[str]


class GateTest(Record):
    """One number held against its bound."""

    name: str
    outcome: Literal["passed", "failed", "inconclusive", "new"]
    """`new`: nothing is kept to hold it against."""
    said: str


class GateReport(Record):
    """What a gate says of a run."""

    study: str
    level: float = Field(gt=0, lt=1)
    """Chance of any false alarm in a run of an unchanged tree."""
    margin: float
    tests: tuple[GateTest, ...]
    elapsed_s: float = Field(ge=0)

    @property
    def failed(self) -> tuple[GateTest, ...]:
        """Tests that failed."""
        return tuple(test for test in self.tests if test.outcome == "failed")
