"""The command that disbelieves: audit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.core.errors import InputError

if TYPE_CHECKING:
    from assay.core.records import Scalar

_FORMATS = ("table", "json", "markdown", "html")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--device", help="Hardware that it ran on, such as 'RTX PRO 6000'.")
@click.option("--model", help="The model, such as gpt2 or smollm2-135m.")
@click.option("--samples", type=click.IntRange(1), help="Timed calls behind every mean.")
@click.option("--context", type=click.IntRange(1), help="Tokens of the window in which quality was scored.")
@click.option("--dataset", help="Text or task that quality was scored on, such as wikitext-2.")
@click.option("--batch", type=click.IntRange(1), help="Sequences side by side.")
@click.option("--shape", "shapes", multiple=True, help="Shape of a size: S=12x768x3072,gated (layers, width, MLP).")
@click.option("--fact", "facts", multiple=True, metavar="KEY=VALUE", help="Any other fact of the set-up; repeatable.")
@click.option("--unit", "units", multiple=True, help="Unit of columns that name none, such as ms or MiB; repeatable.")
@click.option(
    "--map", "map_", type=click.Path(path_type=Path, dir_okay=False), help="TOML that corrects what columns are."
)
@click.option("--policy", type=click.Path(path_type=Path, dir_okay=False), help="TOML with thresholds of the checks.")
@click.option("--format", "format_", type=click.Choice(_FORMATS), default="table", show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False),
              help="Also keep the audit in a file: .json, .md or .html.")  # fmt: skip
def audit(
    files: tuple[Path, ...], device: str | None, model: str | None, samples: int | None, context: int | None,
    dataset: str | None, batch: int | None, shapes: tuple[str, ...], facts: tuple[str, ...],
    units: tuple[str, ...], map_: Path | None, policy: Path | None, format_: str, output: Path | None,
) -> None:  # fmt: skip
    """Say which numbers of a result not to believe, and why; the result may be anybody's.

    FILES are Markdown, CSV, JSON of other tools, notes or power logs; - is standard input. Exit status: 0 nothing is
    invalid, 1 something is, 2 a file could not be read.
    """
    from assay.judge.checks.policy_file import read_policy
    from assay.judge.imports.correction import NOTHING, read_correction
    from assay.judge.imports.document import LIMIT_BYTES
    from assay.pipeline.audit import audit as audited
    from assay.show.audit import render_audit

    correction = read_correction(map_) if map_ else NOTHING
    if units:
        correction = correction.with_units(units)
    given: dict[str, Scalar | None] = {
        "device": device, "model": model, "samples": samples, "context": context, "dataset": dataset, "batch": batch,
        "shape": shapes or None, **_facts(facts),
    }  # fmt: skip
    kind = _kind(output) if output else ""
    report = audited(
        [("standard input", sys.stdin.buffer.read(LIMIT_BYTES + 1)) if str(file) == "-" else file for file in files],
        {name: value for name, value in given.items() if value is not None},
        correction,
        read_policy(policy) if policy else None,
    )
    click.echo(render_audit(report, format_, colour=sys.stdout.isatty()), nl=False)
    if output:
        from assay.show.render import write_text

        write_text(output, render_audit(report, kind))
        click.echo(f"Wrote {output}", err=True)
    if report.exit_status:
        raise click.exceptions.Exit(report.exit_status)


def _facts(written: tuple[str, ...]) -> dict[str, Scalar]:
    from assay.core.figures import FACTS
    from assay.judge.imports.facts import fact_value

    facts: dict[str, Scalar] = {}
    for text in written:
        name, equals, value = text.partition("=")
        name = name.strip()
        if name not in FACTS or not equals:
            found = f"{name!r} is no fact that a check reads" if equals else "it has no ="
            raise InputError(f"The fact {text!r} was given", found, f"Write key=value with one of: {', '.join(FACTS)}")
        read = fact_value(name, value.strip())
        if read is None:
            raise InputError(f"The fact {text!r} was given", f"{value!r} is no {FACTS[name]}", "Write another value")
        facts[name] = read
    return facts


def _kind(output: Path) -> str:
    from assay.show.render import format_of

    kind = format_of(output)
    if kind not in _FORMATS or kind == "table":
        raise InputError(
            f"The file {str(output)!r} was asked for", "an audit is not written in that form", "Use .json, .md or .html"
        )
    return kind


COMMANDS = (audit,)
