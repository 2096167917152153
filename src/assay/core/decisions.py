"""Experiments and decisions as records: what was expected, measured and decided, and what would reopen it.

They refuse expectations without an interval and triggers that nobody could ever see come true. The rules of the journal
(`keep/rules.py`) say which decisions may be written down.
"""

from __future__ import annotations

import datetime as dt
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from assay.core.canonical import digest
from assay.core.records import (
    Absent,
    Comparison,
    Estimate,
    Finding,
    FrozenMap,
    Measured,
    ModelSource,
    Outcome,
    Record,
    Target,
    Verdict,
    Versioned,
)
from assay.core.study import Study, StudyVariant

Status = Literal["planned", "in_training", "prototype", "measured", "shipping", "shelved", "rejected", "abandoned"]

STATUSES = MappingProxyType(
    {
        "planned": "an idea with a hypothesis; nothing was measured, and it carries no results",
        "in_training": "weights are being made for it; it carries no results",
        "prototype": "it runs, and one number says so; it is not ready to be judged",
        "measured": "measured by the procedure; nothing was decided on it",
        "shipping": "it passed its gate on the target, and is what ships for the model, target and workload",
        "shelved": "it works, and is not worth it now; a trigger says when to look again",
        "rejected": "measured, and it does not do what was hoped; a trigger says when to look again",
        "abandoned": "it could not be made to work; a trigger says when to look again",
    }
)
"""The legend: every status and what it claims."""

WITHOUT_RESULTS = frozenset({"planned", "in_training"})
NEEDS_TRIGGER = frozenset({"shelved", "rejected", "abandoned"})
NEEDS_RUNS = frozenset({"measured", "shipping", "shelved", "rejected", "abandoned"})


def _iso_date(text: str) -> str:
    dt.date.fromisoformat(text)
    return text


Day = Annotated[str, AfterValidator(_iso_date)]
"""A date such as 2026-11-27."""
Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
"""A name that is a directory's too."""


class Expectation(Record, use_attribute_docstrings=True):
    """What a number will be, said before it was measured."""

    metric: str = Field(min_length=1)
    """Name of a metric (`assay list metrics`)."""
    workload: str = ""
    """Name of a workload, such as `decode 128+64`; empty where the metric has one workload or none."""
    kind: Literal["ratio", "value"] = "ratio"
    """`ratio` is candidate / baseline of the metric; `value` is the candidate's own."""
    value: float
    """The likeliest value."""
    low: float
    """The lower end of the interval."""
    high: float
    """The upper end of the interval."""
    level: float = Field(default=0.9, gt=0, lt=1)
    """Chance that the interval holds what will be measured, in the opinion of who states it."""
    why: str = ""
    """What the expectation stands on."""

    @model_validator(mode="after")
    def _holds_its_value(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"value = {self.value:g} lies outside of [low, high] = [{self.low:g}, {self.high:g}]")
        if self.kind == "ratio" and self.low <= 0:
            raise ValueError(f"low = {self.low:g}: a ratio is positive")
        return self

    @property
    def name(self) -> str:
        """Such as `decode_tok_per_s@decode 128+64 (ratio)`."""
        workload = f"@{self.workload}" if self.workload else ""
        return f"{self.metric}{workload} ({self.kind})"


class Effect(Record):
    """One number that a decision rests on: measured, or given by hand."""

    metric: str
    workload: str = ""
    kind: Literal["ratio", "value"] = "ratio"
    value: Measured | Estimate
    source: Literal["measured", "by hand"] = "measured"
    outcome: str = ""
    """The comparison's outcome, where there was one."""
    struck: tuple[str, ...] = ()
    """Checks that found the number invalid (ERR), in their words: no decision may rest on it."""

    @property
    def name(self) -> str:
        """Such as `decode_tok_per_s@decode 128+64 (ratio)`."""
        workload = f"@{self.workload}" if self.workload else ""
        return f"{self.metric}{workload} ({self.kind})"

    @property
    def centre(self) -> Measured:
        """The number without its interval."""
        return self.value.value if isinstance(self.value, Estimate) else self.value


# ---------------------------------------------------------------------------------------------- what reopens a decision


class VersionTrigger(Record):
    """A package of at least this version is installed."""

    kind: Literal["version"] = "version"
    package: str = Field(min_length=1)
    at_least: str = Field(pattern=r"^\d+(\.\d+)*")


class DeviceTrigger(Record):
    """A machine has this device: `cuda`, `mps`, or words of an accelerator's or a processor's name."""

    kind: Literal["device"] = "device"
    device: str = Field(min_length=1)


class DateTrigger(Record):
    """A day has come."""

    kind: Literal["date"] = "date"
    on: Day


class NumberTrigger(Record):
    """A figure has reached a bound: of the newest stored result of the experiment, or of the machine itself.

    Of the machine: `memory_bytes`, `usable_cpus`, `logical_cpus`.
    """

    kind: Literal["number"] = "number"
    metric: str = Field(min_length=1)
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a number trigger has one bound: at_least or at_most")
        return self


RevisitTrigger = Annotated[VersionTrigger | DeviceTrigger | DateTrigger | NumberTrigger, Field(discriminator="kind")]


# ---------------------------------------------------------------------------------------------- experiment and decision


class Experiment(Versioned, use_attribute_docstrings=True):
    """A study with a hypothesis: one candidate against one baseline, and what is expected of it."""

    name: Name
    """The name of its directory."""
    hypothesis: str = Field(min_length=1)
    """What is believed, in a sentence that a measurement can refute."""
    stated: Day
    """The day on which the expectations were chosen: before anything was measured."""
    candidate: str = Field(min_length=1)
    """The variant of the study that is tried; the study's `baseline` is what it is tried against."""
    expect: tuple[Expectation, ...] = Field(min_length=1)
    """What is expected, each with its interval."""
    layered_on: str = ""
    """The decision whose shipping variant is the baseline; empty where the baseline was chosen by hand."""
    study: Study
    """The study that measures it, with its gate."""
    files: FrozenMap[str] = Field(default_factory=dict)
    """Filled in by Assay: files of one's own and their SHA-256."""

    @model_validator(mode="after")
    def _candidate_is_measured(self) -> Self:
        names = [variant.name for variant in self.study.variants]
        if self.candidate not in names:
            raise ValueError(f"candidate = {self.candidate!r} is no variant; the variants are {', '.join(names)}")
        if self.candidate == self.study.baseline:
            raise ValueError(f"candidate = {self.candidate!r} is the baseline; a null experiment writes it twice")
        workloads = {workload.name for workload in self.study.workloads}
        for expected in self.expect:
            if expected.workload and expected.workload not in workloads:
                raise ValueError(
                    f"expect: {expected.workload!r} is no workload; the workloads are {', '.join(sorted(workloads))}"
                )
        return self

    def variant(self, name: str) -> StudyVariant:
        """A variant of the study by its name."""
        return next(variant for variant in self.study.variants if variant.name == name)


class Excerpt(Record):
    """What a decision keeps of the result that it rests on: enough to be rendered and checked without the store."""

    study: str
    """Digest of what the study measures."""
    study_name: str
    model: ModelSource
    measured_utc: str
    complete: bool
    rounds: int = Field(ge=0)
    runs: tuple[str, ...]
    """Ids of the runs of baseline and candidate."""
    baseline: str
    candidate: str
    target: Target
    workloads: tuple[str, ...]
    artifacts: FrozenMap[str]
    """Digests of the artifacts by variant."""
    effects: tuple[Effect, ...]
    """What was measured of each expectation, in their order."""
    figures: FrozenMap[Measured | Estimate]
    """The candidate's figures."""
    baseline_figures: FrozenMap[Measured | Estimate]
    comparisons: tuple[Comparison, ...]
    """Candidate against baseline."""
    noise: tuple[Comparison, ...]
    """The hidden A/A variant against the baseline."""
    findings: tuple[Finding, ...]
    """Those that concern baseline or candidate."""
    verdict: Verdict
    gate: FrozenMap[float]
    outcome: Outcome
    machine: str
    """Digest of the machine."""
    machine_about: str
    policy: FrozenMap[float]
    """Margin, level, rounds and budget by which it was measured."""
    toolchain: FrozenMap[str]
    """Versions of what computed and measured."""


class ExperimentRun(Versioned):
    """An experiment as it stood when it was run, and what was measured."""

    experiment: Experiment
    evidence: Excerpt


class Decision(Versioned):
    """A status of a variant on a target for a workload, with the number that made it. It is never edited."""

    id: str = ""
    """The day and eight digits of the content's digest; `sealed` fills it in."""
    experiment: Name
    status: Status
    reason: str = Field(min_length=1)
    """In words: the obituary of what is given up."""
    numbers: tuple[Effect, ...] = ()
    """The numeric reason."""
    decided_utc: str
    author: str = Field(min_length=1)
    hypothesis: str
    stated: Day
    expected: tuple[Expectation, ...]
    """As they stood when it was measured; as they stand now where nothing was."""
    model: str
    """The model as the study names it."""
    variant: StudyVariant
    baseline: StudyVariant
    target: Target
    workloads: tuple[str, ...]
    files: FrozenMap[str] = Field(default_factory=dict)
    """Files of the experiment and their SHA-256."""
    evidence: Excerpt | Absent
    triggers: tuple[RevisitTrigger, ...] = ()
    """What makes it worth another look."""
    supersedes: tuple[str, ...] = ()
    """Ids of the decisions that this one takes the place of."""

    def sealed(self) -> Decision:
        """The same decision with the id that its content gives it."""
        # Without what has its default value: a field that is added later leaves the ids of old files as they are.
        content = self.model_dump(mode="json", exclude={"id"}, exclude_defaults=True)
        return self.model_copy(update={"id": f"{self.decided_utc[:10]}-{digest(content)[:8]}"})


class Recheck(Record):
    """A decision held against a measurement that was made again."""

    experiment: str
    status: Status
    decided_utc: str
    holds: bool | Absent
    """Absent where the new measurement does not decide it."""
    reasons: tuple[str, ...]
    then: tuple[Effect, ...]
    now: tuple[Effect, ...]
    gate_then: str
    gate_now: str


class LogFinding(Record):
    """Something about the journal: a problem, a trigger that has come true, or a remark."""

    kind: Literal["problem", "trigger", "remark"]
    where: str
    """The file, or the experiment."""
    found: str
    remedy: str


class Ledger(Record):
    """How good the predictions have been over all experiments."""

    expectations: int = Field(ge=0)
    """Expectations of experiments that were measured, each once."""
    unmeasured: int = Field(ge=0)
    """Those whose number is absent or invalid."""
    inside: int = Field(ge=0)
    stated_level: Measured
    """Mean of the levels that were stated."""
    coverage: Estimate | Absent
    """Share of intervals that held what was measured."""
    bias: Estimate | Absent
    """exp(mean log(measured / expected)) of positive numbers: above 1, more was measured than was expected."""
    lines: tuple[LedgerLine, ...]


class LedgerLine(Record):
    """One expectation beside what was measured."""

    experiment: str
    expected: Expectation
    measured: Measured
    inside: bool | Absent


Ledger.model_rebuild()
