"""Commands about engines that own their loop: runner check."""

from __future__ import annotations

import json
from pathlib import Path

import click

from assay.cli.shared import Seconds


@click.group()
def runner() -> None:
    """A runner of your own: any command on any device that speaks one page of protocol."""


@runner.command()
@click.argument("command")
@click.option("--model", help="A model whose artifact the runner is to open; without one it has weights of its own.")
@click.option("--variant", default="fp32", show_default=True, help="The artifact's short form.")
@click.option("--patience", type=Seconds(), default=60.0, show_default=True, help="Longest wait for one answer.")
@click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.pass_obj
def check(store: Path, /, command: str, model: str | None, variant: str, patience: float, format_: str) -> None:
    """Test a runner against the protocol: COMMAND is a command line, or host:port.

    Exit status 1 unless every check passed.
    """
    from assay import api
    from assay.show.listing import render_entries

    answers = api.check_runner(command, model, variant, patience_s=patience, store=store)
    if format_ == "json":
        click.echo(json.dumps([answer.model_dump(mode="json") for answer in answers], indent=2, ensure_ascii=False))
    else:
        click.echo(render_entries([answer.model_dump(mode="json") for answer in answers]))
    if any(answer.outcome in ("fail", "not checked") for answer in answers):
        raise click.exceptions.Exit(1)


COMMANDS = (runner,)
