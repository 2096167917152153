"""Experiments from their file to a decision: found, run, remembered, decided.

It refuses expectations that were changed after the measurement, and decisions on an experiment that is no longer what
was measured.
"""

from __future__ import annotations

import datetime as dt
import getpass
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from assay.build.local_transforms import offered
from assay.core.decisions import (
    WITHOUT_RESULTS,
    DateTrigger,
    Decision,
    DeviceTrigger,
    Effect,
    Excerpt,
    Expectation,
    Experiment,
    ExperimentRun,
    LogFinding,
    NumberTrigger,
    RevisitTrigger,
    Status,
    VersionTrigger,
)
from assay.core.errors import InputError, JournalError, StudyError
from assay.core.experiment_file import EXPERIMENT_FILE, local_files, read_experiment
from assay.core.metrics import METRICS
from assay.core.records import Absent, Estimate, Machine, Measured, Result
from assay.core.study import Study
from assay.judge.excerpt import excerpt
from assay.judge.ledger import ledger
from assay.keep.journal import Journal, Log
from assay.keep.log_check import Surroundings
from assay.keep.store import Store
from assay.pipeline.plan import target_of
from assay.run.measure import environment as surroundings
from assay.show.experiments import render_experiments

KIND = "experiment"
"""Under which the store keeps what experiments measured."""
_OF_THE_MACHINE = ("memory_bytes", "usable_cpus", "logical_cpus")
_AGAINST_REFERENCE = ("perplexity_ratio", "kl_", "top1_agreement", "psnr_db", "rms_probability", "max_logit")


def find_experiment(root: Path, name: str) -> tuple[Path, Experiment]:
    """The directory of an experiment and what its file says.

    Raises:
        StudyError: there is none of that name, or its file breaks a rule.
    """
    directory = root / name
    if not (directory / EXPERIMENT_FILE).is_file():
        known = ", ".join(path.name for path in Journal(root).directories()) or "none"
        raise InputError(
            f"The experiment {name!r} was asked for",
            f"there is no {directory / EXPERIMENT_FILE}",
            f"Known: {known}. Start one with `assay experiment new {name}`",
        )
    return directory, read_experiment(directory)


def readable(journal: Journal) -> tuple[dict[str, Experiment], tuple[LogFinding, ...]]:
    """The experiments of a journal's directory by name, and a problem for each whose file cannot be read."""
    found: dict[str, Experiment] = {}
    problems: list[LogFinding] = []
    for directory in journal.directories():
        try:
            found[directory.name] = read_experiment(directory)
        except StudyError as error:
            path = str(directory / EXPERIMENT_FILE)
            problems.append(LogFinding(kind="problem", where=path, found=error.found, remedy=error.remedy))
    return found, tuple(problems)


def experiments_page(root: Path) -> tuple[str, tuple[LogFinding, ...]]:
    """The text of EXPERIMENTS.md, and the files that could not be read and are not in it."""
    journal = Journal(root)
    log = journal.read()
    experiments, problems = readable(journal)
    history = {name: [entry.decision for entry in log.history(name)] for name in log.experiments}
    text = render_experiments(experiments, history, ledger([entry.decision for entry in log.entries]))
    return text, (*problems, *log.problems)


@contextmanager
def at_work(directory: Path, experiment: Experiment) -> Iterator[None]:
    """Let the workers that are started inside the block find the experiment's own transforms."""
    with offered(local_files(directory, experiment)):
        yield


def remember(experiment: Experiment, result: Result, store: Store) -> ExperimentRun:
    """Set what was measured beside what was expected, and keep it.

    Raises:
        InputError: the expectations were chosen or changed after the measurement.
    """
    evidence = evidence_of(experiment, result, store)
    asked = f"The experiment {experiment.name!r} was run"
    if experiment.stated > result.created_utc[:10]:
        raise InputError(
            asked, f"its expectations are dated {experiment.stated}, after the measurement", "Mend the date `stated`"
        )
    for earlier in store.all(KIND, experiment.name, ExperimentRun):
        if earlier.evidence.study == result.study and earlier.experiment.expect != experiment.expect:
            raise InputError(
                asked,
                f"its expectations were changed after it was measured on {earlier.evidence.measured_utc}",
                "Put them back, or start another experiment: a prediction is made before its result",
            )
    run = ExperimentRun(experiment=experiment, evidence=evidence)
    store.put(KIND, experiment.name, run)
    return run


def evidence_of(experiment: Experiment, result: Result, store: Store) -> Excerpt:
    """What a decision on the experiment may rest on."""
    runtime = experiment.variant(experiment.candidate).runtimes[0]
    return excerpt(experiment, result, store.rounds(result.study), target_of(experiment.study, runtime))


def with_budget(study: Study, budget_s: float | None) -> Study:
    """The study with another budget, which changes none of its numbers' meaning."""
    if budget_s is None:
        return study
    return study.model_copy(update={"measure": study.measure.model_copy(update={"budget_s": budget_s})})


def decided_on_numbers(root: Path, name: str) -> Decision:
    """The newest standing decision on an experiment that rests on a measurement.

    Raises:
        InputError: there is none.
    """
    standing = [entry.decision for entry in Journal(root).read().standing(name)]
    measured = [decision for decision in standing if not isinstance(decision.evidence, Absent)]
    if not measured:
        found = f"its status is {standing[-1].status}" if standing else "nothing was decided on it"
        raise InputError(
            f"The decision on {name!r} was to be checked again", found, f"Measure it: assay experiment run {name}"
        )
    return measured[-1]


def last_run(store: Store | None, name: str) -> ExperimentRun | None:
    """What was measured last of an experiment, in this store."""
    return None if store is None else store.get(KIND, name, ExperimentRun)


def decision_on(
    experiment: Experiment,
    run: ExperimentRun | None,
    status: Status,
    reason: str,
    numbers: Sequence[str],
    triggers: Sequence[str],
    author: str = "",
) -> Decision:
    """A decision, not yet written down: the journal holds it against its rules.

    Args:
        experiment: what is decided on.
        run: what was measured of it.
        status: the status.
        reason: in words.
        numbers: names of measured figures, or `name=value` by hand; without any, what was expected and measured.
        triggers: as `trigger_of` reads them.
        author: who decides; the user of the system by default.

    Raises:
        JournalError: the experiment was changed since it was run.
        InputError: a number or a trigger cannot be read.
    """
    candidate = experiment.variant(experiment.candidate)
    evidence = None if run is None or status in WITHOUT_RESULTS else run.evidence
    if run is not None and evidence is not None and run.experiment != experiment:
        raise JournalError(
            f"The decision {status!r} on {experiment.name!r} was asked for",
            f"experiment.toml or a file of it was changed since it was run on {evidence.measured_utc}",
            f"Run it again: assay experiment run {experiment.name}",
        )
    chosen: tuple[Effect, ...] = tuple(_effect(number, run) for number in numbers)
    if not chosen and evidence is not None:
        chosen = (
            tuple(effect for effect in evidence.effects if not isinstance(effect.value, Absent)) or evidence.effects
        )
    return Decision(
        experiment=experiment.name,
        status=status,
        reason=reason,
        numbers=chosen,
        decided_utc=dt.datetime.now(dt.UTC).isoformat(timespec="microseconds"),
        author=author or getpass.getuser(),
        hypothesis=experiment.hypothesis,
        stated=experiment.stated,
        expected=experiment.expect,
        model=experiment.study.model,
        variant=candidate,
        baseline=experiment.variant(experiment.study.baseline),
        target=target_of(experiment.study, candidate.runtimes[0]),
        workloads=tuple(workload.name for workload in experiment.study.workloads),
        files=dict(experiment.files),
        evidence=evidence or Absent(reason=_no_evidence(status)),
        triggers=tuple(trigger_of(trigger) for trigger in triggers),
    )


def _no_evidence(status: Status) -> str:
    return f"{status} carries no results" if status in WITHOUT_RESULTS else "this store holds no run of the experiment"


def _effect(written: str, run: ExperimentRun | None) -> Effect:
    """A number of the reason: `decode_tok_per_s`, `kl_nats@decode 128+64`, or by hand `training_h=400`."""
    name, sign, value = written.partition("=")
    metric, _, workload = name.strip().partition("@")
    if sign:
        try:
            number = float(value)
        except ValueError:
            raise InputError(f"The number {written!r} was asked for", f"{value!r} is none", "Write name=3.5") from None
        return Effect(metric=metric, workload=workload, kind="value", value=number, source="by hand")
    if run is None:
        raise InputError(
            f"The number {written!r} was asked for", "the experiment was not run here", "Run it, or write name=value"
        )
    for effect in run.evidence.effects:
        if effect.metric == metric and workload in ("", effect.workload):
            return effect
    figure: Measured | Estimate | None = run.evidence.figures.get(name.strip())
    if figure is None:
        raise InputError(
            f"The number {written!r} was asked for",
            "the run has none of that name",
            f"It has: {', '.join(sorted(run.evidence.figures))}",
        )
    struck = [f for f in run.evidence.findings if f.severity == "ERR" and _concerns(f.cells, run, metric)]
    return Effect(
        metric=metric,
        workload=workload,
        kind="value",
        value=figure,
        struck=tuple(f"{finding.check}: {finding.summary}" for finding in struck),
    )


def _concerns(cells: Sequence[object], run: ExperimentRun, metric: str) -> bool:
    return any(
        getattr(cell, "row", "") == run.evidence.candidate and getattr(cell, "metric", "").partition("@")[0] == metric
        for cell in cells
    )


def trigger_of(written: str) -> RevisitTrigger:
    """A trigger from `torch>=2.14`, `device=cuda`, `date=2027-06-01`, `decode_tok_per_s>=40` or `memory_bytes>=3e10`.

    Raises:
        InputError: it is none of these.
    """
    asked = f"The trigger {written!r} was asked for"
    remedy = "Write torch>=2.14, device=cuda, date=2027-06-01 or decode_tok_per_s>=40"
    parts = re.fullmatch(r"\s*([\w.@ +-]+?)\s*(>=|<=|=)\s*(\S+)\s*", written)
    if not parts:
        raise InputError(asked, "it names no version, device, date or number", remedy)
    name, sign, value = parts.groups()
    try:
        if sign == "=":
            if name == "device":
                return DeviceTrigger(device=value)
            if name == "date":
                return DateTrigger(on=value)
            raise InputError(asked, f"{name!r} is neither device nor date", remedy)
        if name.partition("@")[0] in METRICS or name in _OF_THE_MACHINE:
            bound = float(value)
            at_least, at_most = (bound, None) if sign == ">=" else (None, bound)
            return NumberTrigger(metric=name, at_least=at_least, at_most=at_most)
        if sign == "<=":
            raise InputError(asked, f"{name!r} is no metric, and a version only rises", remedy)
        return VersionTrigger(package=name, at_least=value)
    except ValidationError as error:
        raise InputError(asked, error.errors(include_url=False)[0]["msg"], remedy) from None
    except ValueError:
        raise InputError(asked, f"{value!r} is no number", remedy) from None


def expectation_of(written: str) -> Expectation:
    """An expectation from `metric=value:low:high` or `metric@workload=value:low:high`.

    Metrics that are already relative to the reference are expected as values, all others as a ratio to the baseline.

    Raises:
        InputError: it is not written so, or the metric is unknown.
    """
    asked = f"The expectation {written!r} was asked for"
    remedy = "Write metric@workload=value:low:high, such as 'decode_tok_per_s@decode 128+64=1.3:1.1:1.6'"
    parts = re.fullmatch(r"\s*(\w+)(?:@([^=]+))?=([^:]+):([^:]+):([^:]+)", written)
    if not parts:
        raise InputError(asked, "it has no value with an interval", remedy)
    metric, workload = parts[1], (parts[2] or "").strip()
    if metric not in METRICS:
        raise InputError(asked, f"there is no metric {metric!r}", "`assay list metrics` shows all")
    try:
        value, low, high = (float(part) for part in parts.groups()[2:])
        return Expectation(
            metric=metric,
            workload=workload,
            kind="value" if metric.startswith(_AGAINST_REFERENCE) else "ratio",
            value=value,
            low=low,
            high=high,
        )
    except ValidationError as error:
        raise InputError(asked, error.errors(include_url=False)[0]["msg"], remedy) from None
    except ValueError:
        raise InputError(asked, "value, low and high are no numbers", remedy) from None


# ---------------------------------------------------------------------------------------------- what ships, and where


def shipping(log: Log, model: str, *, workload: str = "", runtime: str = "", device: str = "") -> tuple[Decision, ...]:
    """The standing decisions by which a variant of a model ships, narrowed to a workload, a runtime or a device."""
    return tuple(
        entry.decision
        for entry in log.standing()
        if entry.decision.status == "shipping"
        and entry.decision.model == model
        and (not workload or any(name.startswith(workload) for name in entry.decision.workloads))
        and runtime in ("", entry.decision.target.runtime)
        and device in ("", entry.decision.target.device)
    )


def around(log: Log, store: Store | None) -> Surroundings:
    """This machine, its packages and what the store has measured, for the checks of the journal."""
    machine = surroundings.machine()
    figures = {}
    for name in log.experiments:
        if run := last_run(store, name):
            figures[name] = run.evidence.figures
    return Surroundings(
        today=dt.datetime.now(dt.UTC).date(),
        machine=machine,
        devices=_devices(machine),
        version_of=_version,
        has_run=None if store is None else lambda run: store.run(run) is not None,
        figures=figures,
    )


def _devices(machine: Machine) -> tuple[str, ...]:
    cuda = any("nvidia" in name.lower() for name in machine.accelerators)
    mps = machine.system == "Darwin" and machine.architecture == "arm64"
    return ("cpu", *(("cuda",) if cuda else ()), *(("mps",) if mps else ()))


def _version(package: str) -> str | None:
    if package == "python":
        return platform.python_version()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
