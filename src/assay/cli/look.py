"""Commands that only look: doctor, report, list, schema."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from assay.cli.shared import RESULT_FORMATS, rendered

_LISTS = (
    "models", "families", "transforms", "runtimes", "workloads", "metrics", "checks", "readers", "studies", "artifacts",
    "study-keys",
)  # fmt: skip


@click.command()
@click.option("--measure", is_flag=True, help="Also measure this machine's ceilings (about 15 s).")
@click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.pass_obj
def doctor(store: Path, /, measure: bool, format_: str) -> None:
    """What runs here, what does not and why, and how noisy the machine is at the moment."""
    from assay.keep.store import open_store
    from assay.pipeline.doctor import examine
    from assay.show.doctor import render_examination

    kept = open_store(store) if measure or store.is_dir() else None
    click.echo(render_examination(examine(kept, measure), as_json=format_ == "json"))


@click.command()
@click.argument("study", required=False)
@click.option("--format", "format_", type=click.Choice((*RESULT_FORMATS, "html")), default="table", show_default=True)
@click.option(
    "--for",
    "purpose",
    type=click.Choice(("paper", "readme", "issue")),
    help="Text and a table for this, in Markdown: no claim rests on a number that failed a check.",
)
@click.option("--against", help="Show what changed since this result: a study by name or digest, or a .json report.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of standard output.")
@click.pass_obj
def report(
    store: Path, /, study: str | None, format_: str, purpose: Literal["paper", "readme", "issue"] | None,
    against: str | None, output: Path | None,
) -> None:  # fmt: skip
    """Show what is stored: the newest, or that of a study by its name or digest, or of two programs by its digest.

    STUDY may also be a .json file that --report wrote.
    """
    from assay import api
    from assay.show.render import write_text

    if against is not None:
        from assay.show.difference import render_difference

        if purpose is not None:
            raise click.UsageError("--for and --against do not go together.")
        text = render_difference(api.difference(store, against, study), format_)
    elif purpose is not None:
        from assay.show.prose import render_prose

        if format_ not in ("table", "markdown"):
            raise click.UsageError(f"--for writes Markdown; --format {format_} does not go with it.")
        text = render_prose(api.stored_result(store, study), purpose)
    else:
        text = rendered(api.stored(store, study), format_, store, colour=output is None and sys.stdout.isatty())
    if output is None:
        click.echo(text)
    else:
        write_text(output, text)
        click.echo(f"Wrote {output}")


@click.command("list")
@click.argument("what", type=click.Choice(_LISTS))
@click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.pass_obj
def list_(store: Path, /, what: str, format_: str) -> None:
    """List what Assay knows: models, families, transforms, runtimes, metrics, checks, stored studies..."""
    from assay.pipeline.listing import entries
    from assay.show.listing import render_entries

    click.echo(render_entries(entries(what, store), as_json=format_ == "json"))


@click.command()
@click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.pass_obj
def checks(store: Path, /, format_: str) -> None:
    """List the checks with their rules and thresholds, which --policy FILE overrides by name."""
    from assay.pipeline.listing import entries
    from assay.show.listing import render_entries

    click.echo(render_entries(entries("checks", store), as_json=format_ == "json"))


@click.command()
def schema() -> None:
    """Print the JSON schema of a study, for editors."""
    import json

    from assay.core.study import Study

    click.echo(json.dumps(Study.model_json_schema(), indent=2))


COMMANDS = (doctor, report, list_, checks, schema)
