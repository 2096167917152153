"""The gate for continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.shared import Seconds

if TYPE_CHECKING:
    from assay.core.gate import GateReport


@click.command()
@click.argument("study", required=False, type=click.Path(path_type=Path))
@click.option(
    "--baseline",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Numbers of a good run, kept by --save-baseline. Default: the study's base variant alone.",
)
@click.option("--save-baseline", type=click.Path(path_type=Path, dir_okay=False), help="Keep this run's numbers there.")
@click.option("--base-command", help="The base tree's command: held against --command in one run.")
@click.option("--command", help="This tree's command, instead of a study.")
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.02,
    show_default=True,
    help="Relative loss that is allowed.",
)
@click.option("--budget", type=Seconds(), help="Wall time, such as 5m.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML there.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write a Markdown summary there.")
@click.option("--strict", is_flag=True, help="What stays inconclusive fails too.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@click.pass_obj
def gate(
    store: Path, /, study: Path | None, baseline: Path | None, save_baseline: Path | None, base_command: str | None,
    command: str | None, margin: float, budget: float | None, junit: Path | None, markdown: Path | None, strict: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Exit with 1 on a regression: against a kept run, or against the base variant or command of the same run.

    A number fails only where its interval lies wholly beyond the margin: an unchanged tree fails in at most one of
    100 runs.
    """
    from assay import api
    from assay.show.gate import gate_junit, gate_markdown, gate_text
    from assay.show.progress import open_progress
    from assay.show.render import write_text

    commands = base_command is not None and command is not None
    if (study is None) is not commands or ((base_command or command) and not commands):
        raise click.UsageError("Give a study, or both --base-command and --command.")
    if commands and (baseline or save_baseline):
        raise click.UsageError("Two commands are held against each other in one run; nothing is kept.")
    with open_progress(quiet=quiet) as progress:
        report: GateReport
        if base_command is not None and command is not None:
            report = api.gate_commands(base_command, command, store, progress, margin=margin, budget_s=budget or 300.0)
        elif study is not None:
            report = api.gate_study(
                study, store, progress, margin=margin, budget_s=budget, baseline=baseline, save=save_baseline
            )
    click.echo(gate_text(report))
    for path, render in ((junit, gate_junit), (markdown, gate_markdown)):
        if path is not None:
            write_text(path, render(report))
            click.echo(f"Wrote {path}", err=True)
    if report.failed or (strict and any(test.outcome == "inconclusive" for test in report.tests)):
        raise click.exceptions.Exit(1)


COMMANDS = (gate,)
