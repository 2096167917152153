"""Experiments, what ships, and gates, from Python. It refuses expectations that follow their measurement."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay import catalog
from assay.api.models import write_artifact
from assay.api.results import ceilings_of, rounds_of, stored_result
from assay.api.runs import DEFAULT_STORE, as_study, contest_of, policy_of, run
from assay.build.local_transforms import offered
from assay.core.decisions import Decision, ExperimentRun, Recheck
from assay.core.errors import InputError
from assay.core.experiment_file import is_local
from assay.core.gate import GateReport
from assay.core.records import (
    Artifact,
    Result,
)
from assay.core.study import Study
from assay.judge.gate import LEVEL, baseline_of, gate, gate_contest, gated
from assay.judge.recheck import recheck
from assay.keep.journal import EXPERIMENTS, Journal
from assay.keep.store import open_store
from assay.pipeline.contest import pair_of_commands
from assay.pipeline.experiments import (
    at_work,
    decided_on_numbers,
    evidence_of,
    find_experiment,
    last_run,
    remember,
    with_budget,
)
from assay.pipeline.gates import fresh_rounds, read_baseline, write_baseline
from assay.pipeline.study_run import Progress

if TYPE_CHECKING:
    pass


def run_experiment(
    name: str,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    root: Path = EXPERIMENTS,
    *,
    budget_s: float | None = None,
) -> tuple[Result, ExperimentRun]:
    """Build, check and measure an experiment, and set the result beside what was expected of it.

    Args:
        name: the experiment's directory under `root`.
        store: the directory that keeps rounds, artifacts and results.
        progress: who is told what happens; nobody by default.
        root: the project's directory of experiments.
        budget_s: seconds of wall time; the experiment's own by default.

    Raises:
        AssayError: the experiment cannot be carried out, or its expectations were changed after the measurement.
        Interrupted: Ctrl-C; a repeated call goes on.
    """
    directory, experiment = find_experiment(root, name)
    with at_work(directory, experiment):
        result = run(with_budget(experiment.study, budget_s), store, progress)
    return result, remember(experiment, result, open_store(store))


def experiment_report(name: str, store: Path = DEFAULT_STORE, root: Path = EXPERIMENTS) -> str:
    """The HTML report of an experiment's last run, with what was expected of it and every decision.

    Raises:
        InputError: it was not run in this store.
        MissingDependencyError: the extra that draws charts is not installed.
    """
    from assay.show.html.experiment import Story
    from assay.show.html.report import render_html

    measured = last_run(open_store(store) if store.is_dir() else None, name)
    if measured is None:
        asked = f"A report of the experiment {name!r} was asked for"
        raise InputError(asked, f"{str(store)!r} holds no run of it", f"Measure it: assay experiment run {name}")
    result = stored_result(store, measured.evidence.study)
    decisions = tuple(entry.decision for entry in Journal(root).read().history(name))
    return render_html(result, rounds_of(store, result), ceilings_of(store, result), Story(measured, decisions))


def recheck_experiment(
    name: str,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    root: Path = EXPERIMENTS,
    *,
    budget_s: float | None = None,
) -> Recheck:
    """Build and measure a decided experiment again in a store of its own, and hold the result against the decision.

    Raises:
        AssayError: nothing was decided on numbers, or the experiment cannot be carried out.
    """
    directory, experiment = find_experiment(root, name)
    decision = decided_on_numbers(root, name)
    fresh = store / "rechecks" / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with at_work(directory, experiment):
        result = run(with_budget(experiment.study, budget_s), fresh, progress)
    shutil.rmtree(fresh / "artifacts", ignore_errors=True)  # large, and in the cache of the main store anyway
    return recheck(decision, evidence_of(experiment, result, open_store(fresh)))


def build_shipped(decision: Decision, output: Path, store: Path = DEFAULT_STORE, root: Path = EXPERIMENTS) -> Artifact:
    """Build the variant of a decision into a directory that must not exist or be empty.

    Raises:
        AssayError: the model or a transform of the experiment's own is not as it was.
    """
    specs = decision.variant.transforms
    files = {spec.kind: root / decision.experiment / spec.kind.partition("@")[0] for spec in specs}
    with offered({kind: path for kind, path in files.items() if is_local(kind)}):
        return write_artifact(
            decision.model, specs, output, catalog.RUNTIMES[decision.target.runtime].format, "", store
        )


def gate_study(
    study: Study | Mapping[str, Any] | str | Path,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    *,
    margin: float = 0.02,
    budget_s: float | None = None,
    baseline: Path | None = None,
    save: Path | None = None,
) -> GateReport:
    """Run a study at the gate's level, in a store of its own, and hold it against a kept run or its own base variant.

    Args:
        study: as for `run`.
        store: where artifacts are cached; what is measured is kept beside it and never used again.
        progress: who is told what happens; nobody by default.
        margin: relative loss that is allowed.
        budget_s: seconds of wall time; the study's own by default.
        baseline: the file of an earlier `save`; None asks only that nothing is slower than the base variant.
        save: where this run's numbers are kept.

    Raises:
        AssayError: the study cannot be carried out, or the baseline cannot be read.
    """
    kept = None if baseline is None else read_baseline(baseline)
    wanted = gated(with_budget(as_study(study), budget_s))
    with fresh_rounds(store) as fresh:
        result = run(wanted, fresh, progress)
    if save is not None:
        write_baseline(save, baseline_of(result))
    return gate(result, kept, margin)


def gate_commands(
    base: str,
    command: str,
    store: Path = DEFAULT_STORE,
    progress: Progress | None = None,
    *,
    margin: float = 0.02,
    budget_s: float = 300.0,
) -> GateReport:
    """Hold a shell command against the base tree's, in one run.

    Raises:
        AssayError: a command is empty, or the system gives no account of its children.
    """
    policy = policy_of(budget_s=budget_s, max_rounds=40, margin=margin).model_copy(update={"alpha": LEVEL})
    with fresh_rounds(store) as fresh:
        return gate_contest(contest_of(pair_of_commands(base, command, policy), policy, fresh, progress), margin)
