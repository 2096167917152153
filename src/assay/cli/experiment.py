"""Commands of experiments: new, run, decide, list, show, history; and ship, what they led to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.cli.shared import Seconds, rendered

if TYPE_CHECKING:
    from assay.core.decisions import Decision, Status

STATUSES = ("planned", "in_training", "prototype", "measured", "shipping", "shelved", "rejected", "abandoned")
"""Those of `core.decisions`, which is not loaded for a help text; a test holds one against the other."""

ROOT = click.option("--experiments", "root", type=click.Path(path_type=Path, file_okay=False),
                    default=Path("experiments"), show_default=True,
                    help="The project's directory of experiments.")  # fmt: skip


@click.group()
def experiment() -> None:
    """A hypothesis, its expectation, its measurement and its decision, kept in files of the project."""


@experiment.command("new")
@click.argument("name")
@click.option("--model", required=True, help="A name (assay list models), a path, or hub:org/name@revision.")
@click.option("--hypothesis", default="", help="What is believed, in a sentence that a measurement can refute.")
@click.option("--candidate", default="", help="Short form of what is tried; added to what ships.")
@click.option("--baseline", default="", help="Short form. Default: what ships (see assay ship), or bf16.")
@click.option("--own-transform", is_flag=True, help="Write a variant.py with a transform of your own.")
@click.option("--expect", "expected", multiple=True, metavar="METRIC@WORKLOAD=VALUE:LOW:HIGH",
              help="What you expect (candidate / baseline), with its interval. May be repeated.")  # fmt: skip
@click.option("--min-speedup", type=float, help="Gate: decode speed against the baseline.")
@click.option("--max-kl", "max_kl_nats", type=float, help="Gate: KL divergence from the baseline, in nats.")
@click.option("-p", "--prompt-tokens", type=click.IntRange(0), default=512, show_default=True)
@click.option("-n", "--new-tokens", type=click.IntRange(0), default=64, show_default=True)
@click.option("-d", "--depth", type=click.IntRange(1), default=128, show_default=True,
              help="Tokens in the KV cache when decoding begins.")  # fmt: skip
@click.option("--quality-tokens", type=click.IntRange(0), default=2048, show_default=True)
@click.option("-r", "--rounds", type=click.IntRange(2), default=40, show_default=True, help="Rounds at most.")
@click.option("-t", "--threads", type=click.IntRange(0), default=0, help="Threads; 0 for all CPUs.")
@click.option("--budget", "budget_s", type=Seconds(), default=180.0, help="Wall time of a run. Default: 3m.")
@ROOT
def new(root: Path, expected: tuple[str, ...], **options: Any) -> None:
    """Write experiments/NAME/experiment.toml, layered on what ships for the model."""
    from assay.keep.journal import Journal
    from assay.pipeline.experiments import expectation_of, shipping
    from assay.pipeline.scaffold import Wish, scaffold

    wish = Wish(**options, expect=tuple(expectation_of(written) for written in expected))
    directory = scaffold(root, wish, shipping(Journal(root).read(), wish.model))
    click.echo(f"Wrote {directory}/experiment.toml")
    if not wish.hypothesis or not wish.expect:
        click.echo("State the hypothesis and what you expect there, before you measure.")
    click.echo(f"Then: assay experiment run {wish.name}")


@experiment.command("run")
@click.argument("name")
@click.option("--budget", type=Seconds(), help="Wall time, such as 3m; it need not be the file's.")
@click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@ROOT
@click.pass_obj
def run_(store: Path, /, name: str, root: Path, budget: float | None, format_: str, quiet: bool) -> None:
    """Build, prove, measure and check an experiment, and set the result beside what was expected."""
    from assay import api
    from assay.show.experiments import run_text
    from assay.show.progress import open_progress

    with open_progress(quiet=quiet) as progress:
        result, run = api.run_experiment(name, store, progress, root, budget_s=budget)
    if format_ == "json":
        click.echo(run.to_json())
        return
    click.echo(rendered(result, "table", store))
    click.echo()
    click.echo(run_text(run))


@experiment.command()
@click.argument("name")
@click.option("--status", type=click.Choice(STATUSES), required=True)
@click.option("--reason", required=True, help="In words: why, and for what is given up its obituary.")
@click.option("--number", "numbers", multiple=True, metavar="METRIC[@WORKLOAD] | NAME=VALUE",
              help="A number that the decision rests on. Default: what was expected and measured.")  # fmt: skip
@click.option("--trigger", "triggers", multiple=True, metavar="CONDITION",
              help="What reopens it: torch>=2.14, device=cuda, date=2027-06-01, decode_tok_per_s>=40.")  # fmt: skip
@click.option("--author", default="", help="Who decides. Default: the user of this system.")
@ROOT
@click.pass_obj
def decide(
    store: Path, /, name: str, root: Path, status: Status, reason: str, numbers: tuple[str, ...],
    triggers: tuple[str, ...], author: str,
) -> None:  # fmt: skip
    """Record a status with its reason and its numbers; it supersedes what stood, and is never edited."""
    from assay.keep.journal import Journal
    from assay.keep.store import open_store
    from assay.pipeline.experiments import decision_on, find_experiment, last_run

    _, found = find_experiment(root, name)
    run = last_run(open_store(store) if store.is_dir() else None, name)
    entry = Journal(root).add(decision_on(found, run, status, reason, numbers, triggers, author))
    click.echo(f"Wrote {entry.path}")
    for old in entry.decision.supersedes:
        click.echo(f"It supersedes {old}")


@experiment.command("list")
@ROOT
def list_experiments(root: Path) -> None:
    """Every experiment with its status and first number, and how good the predictions have been."""
    from assay.judge.ledger import ledger
    from assay.keep.journal import Journal
    from assay.pipeline.experiments import readable
    from assay.show.experiments import list_text

    journal = Journal(root)
    log = journal.read()
    experiments, problems = readable(journal)
    standing = {name: [entry.decision for entry in log.standing(name)] for name in log.experiments}
    click.echo(list_text(experiments, standing, ledger([entry.decision for entry in log.entries])))
    for problem in (*problems, *log.problems):
        click.echo(f"assay: {problem.where}: {problem.found}. {problem.remedy}", err=True)


@experiment.command()
@click.argument("name")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False),
              help="Also write the report of its last run as .html, with what was expected and decided.")  # fmt: skip
@ROOT
@click.pass_obj
def show(store: Path, /, name: str, root: Path, report: Path | None) -> None:
    """One experiment: what was expected, measured and decided, as in EXPERIMENTS.md."""
    from assay import api
    from assay.keep.journal import Journal
    from assay.keep.store import open_store
    from assay.pipeline.experiments import find_experiment, last_run
    from assay.show.experiments import run_text, section_text

    _, found = find_experiment(root, name)
    decisions = [entry.decision for entry in Journal(root).read().history(name)]
    run = last_run(open_store(store) if store.is_dir() else None, name)
    click.echo(section_text(name, found, decisions))
    if run is not None and not decisions:
        click.echo(run_text(run))
    if report is not None:
        from assay.show.render import write_text

        write_text(report, api.experiment_report(name, store, root))
        click.echo(f"Wrote {report}", err=True)


@experiment.command()
@click.argument("name")
@ROOT
def history(name: str, root: Path) -> None:
    """Every decision on an experiment, oldest first, with its numbers and triggers."""
    from assay.core.errors import InputError
    from assay.keep.journal import Journal
    from assay.show.experiments import history_text

    log = Journal(root).read()
    entries = log.history(name)
    if not entries:
        known = ", ".join(log.experiments) or "none"
        raise InputError(f"The history of {name!r} was asked for", "nothing was decided", f"Decided on: {known}")
    click.echo(history_text([entry.decision for entry in entries]))


@click.command()
@click.argument("model")
@click.option("--workload", default="", help="Such as decode, or 'decode 128+64'. Default: any.")
@click.option("--runtime", default="", help="Default: any.")
@click.option("--device", default="", help="Default: any.")
@click.option("--output", type=click.Path(path_type=Path), help="Also build it there; must not exist.")
@click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True)
@ROOT
@click.pass_obj
def ship(
    store: Path, /, model: str, workload: str, runtime: str, device: str, output: Path | None, format_: str, root: Path,
) -> None:  # fmt: skip
    """The variant of a model whose decision is shipping, for a target and workload; with --output, built.

    It is the baseline of the next experiment.
    """
    from assay.core.errors import InputError
    from assay.keep.journal import Journal
    from assay.pipeline.experiments import shipping
    from assay.show.experiments import ship_text

    found = shipping(Journal(root).read(), model, workload=workload, runtime=runtime, device=device)
    if not found:
        raise InputError(
            f"What ships of {model!r} was asked for",
            f"no decision in {root} says so for this target and workload",
            "Decide on an experiment whose gate passed: assay experiment decide NAME --status shipping",
        )
    if format_ == "json":
        click.echo("[" + ",\n".join(decision.to_json() for decision in found) + "]")
    else:
        click.echo(ship_text(found))
    if output is not None:
        _build(found, output, root, store)


def _build(found: tuple[Decision, ...], output: Path, root: Path, store: Path) -> None:
    from assay import api
    from assay.core.errors import InputError
    from assay.show.table import describe_artifact

    if len(found) > 1:
        raise InputError(
            f"{output} was asked for",
            f"{len(found)} variants ship",
            "Choose one with --workload, --runtime or --device",
        )
    artifact = api.build_shipped(found[0], output, store, root)
    click.echo(describe_artifact(artifact, str(output)))


COMMANDS = (experiment, ship)
