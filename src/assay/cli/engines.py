"""Commands about engines: runner check, plan-audit."""

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


@click.command("plan-audit")
@click.argument("saved", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("now", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True)
def plan_audit(saved: Path, now: Path, format_: str) -> None:
    """Hold where operations run NOW against a SAVED plan: a new fallback to the CPU fails.

    Both are JSON: a dump of MLComputePlan, or a profile of ONNX Runtime. Exit status 1 where there is a new fallback.
    """
    from assay.judge.placements import audit, read_placements
    from assay.show.placements import render_placements

    found = audit(read_placements(saved), read_placements(now))
    click.echo(render_placements(found, as_json=format_ == "json"))
    if found.fallbacks:
        raise click.exceptions.Exit(1)


COMMANDS = (runner, plan_audit)
