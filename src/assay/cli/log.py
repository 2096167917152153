"""Commands of the journal: check, recheck, render, import, ledger."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.experiment import ROOT
from assay.cli.shared import Seconds


@click.group()
def log() -> None:
    """The journal of decisions: looked through, measured again, rendered, imported."""


@log.command()
@click.option("--strict", is_flag=True, help="Remarks, such as tools that are newer, give exit status 1 too.")
@click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True)
@ROOT
@click.pass_obj
def check(store: Path, /, root: Path, strict: bool, format_: str) -> None:
    """Contradictions, lost runs, two shipping variants, triggers that have come true, decisions older than their tools.

    Exit status 1 where a problem or a trigger asks for someone, 0 otherwise.
    """
    import json

    from assay.keep.journal import Journal
    from assay.keep.log_check import check_log
    from assay.keep.store import open_store
    from assay.pipeline.experiments import around, readable
    from assay.show.experiments import findings_text

    journal = Journal(root)
    found = journal.read()
    _, unreadable = readable(journal)
    now = around(found, open_store(store) if store.is_dir() else None)
    findings = (*unreadable, *check_log(found, now))
    if format_ == "json":
        click.echo(json.dumps([finding.model_dump(mode="json") for finding in findings], indent=2))
    else:
        click.echo(findings_text(findings, now.today))
    if any(strict or finding.kind != "remark" for finding in findings):
        raise click.exceptions.Exit(1)


@log.command()
@click.argument("name")
@click.option("--budget", type=Seconds(), help="Wall time, such as 3m. Default: the experiment's.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@ROOT
@click.pass_obj
def recheck(store: Path, /, name: str, root: Path, budget: float | None, quiet: bool) -> None:
    """Build and measure a decided experiment again, and say whether its verdict still holds.

    Exit status 0 where it holds, 1 where it does not or could not be decided.
    """
    from assay import api
    from assay.show.experiments import recheck_text
    from assay.show.progress import open_progress

    with open_progress(quiet=quiet) as progress:
        again = api.recheck_experiment(name, store, progress, root, budget_s=budget)
    click.echo(recheck_text(again))
    if again.holds is not True:
        raise click.exceptions.Exit(1)


@log.command()
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("EXPERIMENTS.md"),
              show_default=True)  # fmt: skip
@ROOT
def render(root: Path, output: Path) -> None:
    """Write EXPERIMENTS.md: one section per experiment, from the journal alone."""
    from assay.pipeline.experiments import experiments_page
    from assay.show.render import write_text

    text, problems = experiments_page(root)
    write_text(output, text)
    click.echo(f"Wrote {output}")
    for problem in problems:
        click.echo(f"assay: left out {problem.where}: {problem.found}. {problem.remedy}", err=True)
    if problems:
        raise click.exceptions.Exit(1)


@log.command()
@ROOT
def ledger(root: Path) -> None:
    """Every expectation beside what was measured, and how good the predictions have been."""
    from assay.judge.ledger import ledger as ledger_of
    from assay.keep.journal import Journal
    from assay.show.experiments import ledger_text

    decisions = [entry.decision for entry in Journal(root).read().entries]
    click.echo(ledger_text(ledger_of(decisions)))


@log.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True)
def import_(file: Path, format_: str) -> None:
    """Read a decision log in Markdown: its entries, statuses and figures, and what contradicts or does not add up.

    Nothing is written. Exit status 0, whatever was found.
    """
    from assay.keep.log_import import read_log
    from assay.show.imported_log import imported_text

    found = read_log(file)
    click.echo(found.model_dump_json(indent=2) if format_ == "json" else imported_text(found))


COMMANDS = (log,)
