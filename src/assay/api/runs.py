"""Studies and comparisons from Python: run, plan, compare. It refuses what the command line refuses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from pydantic import ValidationError

from assay import catalog
from assay.core.errors import InputError
from assay.core.records import (
    Contest,
    Plan,
    Result,
)
from assay.core.study import MeasurePolicy, QualityPlan, Study, StudyVariant
from assay.core.study_file import read_study, validate_study
from assay.judge.checks.policy import CheckPolicy
from assay.keep.store import open_store
from assay.pipeline.contest import CONTEST, ContestRun, Pair, pair_of_callables, pair_of_commands
from assay.pipeline.prediction import plan_study
from assay.pipeline.results import judge
from assay.pipeline.short_form import variant_of
from assay.pipeline.study_run import Evidence, Progress, StudyRun
from assay.run.workloads.call import Program

if TYPE_CHECKING:
    pass

DEFAULT_STORE = Path(".assay")


class Interrupted(KeyboardInterrupt):
    """A study was stopped by Ctrl-C; `result` is what it had found, judged and stored as incomplete."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


class ContestInterrupted(KeyboardInterrupt):
    """A contest was stopped by Ctrl-C; `contest` is what it had found, stored as incomplete where it was undecided."""

    def __init__(self, contest: Contest) -> None:
        super().__init__()
        self.contest = contest


class Quiet:
    """Progress that tells nobody."""

    def stage(self, title: str, total: float, within_s: float | None = None) -> None:
        """Nothing."""

    def advance(self, done: float) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


def run(
    study: Study | Mapping[str, Any] | str | Path,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    checks: CheckPolicy | None = None,
) -> Result:
    """Run a study, or go on with it where it stopped, and return its result.

    What is finished is in the store at any moment; a repeated call goes on from there.

    Args:
        study: a `Study`, a mapping with the same keys, or the path of a TOML file.
        store: the directory that keeps rounds, artifacts and results.
        progress: who is told what happens; nobody by default.
        checks: thresholds of the checks; the defaults where None.

    Raises:
        AssayError: the study, the model or the store cannot be used; the message says what to do.
        Interrupted: Ctrl-C; the result so far is in the exception and in the store.
    """
    wanted = as_study(study)
    kept = open_store(store)
    measuring = StudyRun(wanted, kept, progress or Quiet())
    last: Evidence | None = None
    try:
        for evidence in measuring.measure():
            last = evidence
    except KeyboardInterrupt:
        if last is None:
            raise
        partial = judge(last, checks)
        kept.add_result(partial)
        raise Interrupted(partial) from None
    if last is None:
        raise RuntimeError("a study ended without evidence")
    result = judge(last, checks)
    kept.add_result(result)
    return result


def plan(
    study: Study | Mapping[str, Any] | str | Path, store: Path = DEFAULT_STORE, device_name: str | None = None
) -> Plan:
    """FLOPs, bytes, memory and bound of every cell of a study, before anything is built; no weight is read.

    Args:
        study: a `Study`, a mapping with the same keys, or the path of a TOML file.
        store: where `assay doctor --measure` has kept this machine's ceilings; without them no time is predicted.
        device_name: predict for this hardware of `assay.core.hardware` and not for this machine.

    Raises:
        AssayError: the study, the model or the device cannot be used; the message says what to do.
    """
    return plan_study(as_study(study), open_store(store) if store.is_dir() else None, device_name)


def is_encoder(model: str) -> bool:
    """Whether a model reads texts whole and writes none, by its config.json alone."""
    return catalog.model_type(model) in catalog.ENCODERS


def as_study(study: Study | Mapping[str, Any] | str | Path) -> Study:
    """A study from what a user has: a record, a mapping, or the path of a TOML file."""
    if isinstance(study, Study):
        return study
    if isinstance(study, Mapping):
        return validate_study(study, "the mapping")
    return read_study(Path(study))


@overload
def compare(
    first: str | StudyVariant, second: str | StudyVariant, *, model: str, budget_s: float = ..., max_rounds: int = ...,
    margin: float = ..., store: Path = ..., progress: Progress | None = ...,
) -> Result: ...  # fmt: skip


@overload
def compare(
    first: Program, second: Program, *, budget_s: float = ..., max_rounds: int = ..., margin: float = ...,
    store: Path = ..., progress: Progress | None = ...,
) -> Contest: ...  # fmt: skip


def compare(
    first: str | StudyVariant | Program,
    second: str | StudyVariant | Program,
    *,
    model: str | None = None,
    budget_s: float = 120.0,
    max_rounds: int = 40,
    margin: float = 0.02,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
) -> Result | Contest:
    """Compare two variants of one model, or two callables without arguments: the first is the baseline.

    Callables that a fresh interpreter can import run in fresh worker processes; others run in this process, and the
    result says so.

    Args:
        first: a variant, its short form such as `bf16` or `bf16+int8_weight_only`, or a callable.
        second: likewise; of the same kind.
        model: a name of the catalog or a path, for variants.
        budget_s: seconds of wall time for the whole comparison.
        max_rounds: rounds at most.
        margin: relative difference within which two programs are equivalent.
        store: the directory that keeps what is measured.
        progress: who is told what happens.

    Raises:
        AssayError: the variants or the model cannot be used; the message says what to do.
        Interrupted, ContestInterrupted: Ctrl-C; what was found is in the exception and in the store.
    """
    policy = policy_of(budget_s=budget_s, max_rounds=max_rounds, margin=margin)
    if isinstance(first, (str, StudyVariant)) and isinstance(second, (str, StudyVariant)):
        if model is None:
            asked = "A comparison of two variants was asked for"
            raise InputError(asked, "no model is named", "Give model=, or two callables; commands: compare_commands")
        study = comparison_study(first, second, model=model)
        return run(study.model_copy(update={"measure": policy}), store, progress)
    if callable(first) and callable(second) and model is None:
        return contest_of(pair_of_callables(first, second, policy), policy, store, progress)
    raise InputError(
        f"A comparison of {first!r} and {second!r} was asked for",
        "they are neither two variants nor two callables" if model is None else "callables have no model",
        "Give two variants and model=, or two callables",
    )


def compare_commands(
    first: str,
    second: str,
    *,
    budget_s: float = 120.0,
    max_rounds: int = 40,
    margin: float = 0.02,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    checks: CheckPolicy | None = None,
) -> Contest:
    """Compare two shell commands; each call is one execution, and the first command is the baseline.

    Args:
        first: a command line for the shell; it must end with exit status 0.
        second: likewise.
        budget_s: seconds of wall time for the whole comparison.
        max_rounds: rounds at most.
        margin: relative difference within which two programs are equivalent.
        store: the directory that keeps what is measured.
        progress: who is told what happens.
        checks: thresholds of the checks; the defaults where None.

    Raises:
        AssayError: a command is empty, or the system gives no account of its children.
        ContestInterrupted: Ctrl-C; what was found is in the exception and in the store.
    """
    policy = policy_of(budget_s=budget_s, max_rounds=max_rounds, margin=margin)
    return contest_of(pair_of_commands(first, second, policy), policy, store, progress, checks)


def policy_of(*, budget_s: float, max_rounds: int, margin: float) -> MeasurePolicy:
    """A policy from what a caller gave.

    Raises:
        InputError: a value is out of its range.
    """
    try:
        return MeasurePolicy(budget_s=budget_s, max_rounds=max_rounds, margin=margin)
    except ValidationError as error:
        said = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors(include_url=False))
        raise InputError("A comparison was asked for", said, "Give values within these bounds") from None


def contest_of(
    pair: Pair,
    policy: MeasurePolicy,
    store: Path,
    progress: Progress | None,
    checks: CheckPolicy | None = None,
) -> Contest:
    """Measure a pair of programs, and keep what was found. Raises ContestInterrupted on Ctrl-C."""
    kept = open_store(store)
    last: Contest | None = None
    try:
        for contest in ContestRun(pair, policy, kept, progress or Quiet(), checks).measure():
            last = contest
    except KeyboardInterrupt:
        if last is None:
            raise
        kept.put(CONTEST, last.id, last)
        raise ContestInterrupted(last) from None
    if last is None:
        raise RuntimeError("a contest ended without a round")
    kept.put(CONTEST, last.id, last)
    return last


def comparison_study(first: str | StudyVariant, second: str | StudyVariant, *, model: str) -> Study:
    """The study that `compare` runs. The same variant twice is a null comparison, and is marked as one."""
    a, b = (variant_of(item) if isinstance(item, str) else item for item in (first, second))
    if a.name == b.name:
        b = b.model_copy(update={"name": f"{b.name}-again", "null": True})
    return Study(
        name=f"{a.name}-against-{b.name}",
        model=model,
        baseline=a.name,
        reference=a.name,
        variants=(a, b),
        quality=QualityPlan(tokens=1024),
    )
