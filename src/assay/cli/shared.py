"""What commands share: durations, the options of a result, and how one is run, rendered and written.

It refuses to import a framework or the pipeline before a command needs them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.core.errors import InputError

if TYPE_CHECKING:
    from assay.core.records import Contest, Result
    from assay.core.study import Study

RESULT_FORMATS = ("table", "markdown", "json", "csv", "llama-bench", "pyperf")


class Seconds(click.ParamType[float]):
    """A duration such as 90, 90s, 5m or 1h, in seconds."""

    name = "duration"
    _UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}  # noqa: RUF012 - click makes one instance

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds from what was written."""
        if isinstance(value, (int, float)):
            return float(value)
        written = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value).strip())
        if not written or float(written[1]) == 0:
            self.fail(f"{value!r} is no duration; write 90s, 5m or 1h", param, ctx)
        return float(written[1]) * self._UNITS[written[2]]


def result_options(command: Any) -> Any:
    """Options of every command that ends in a result."""
    for option in (
        click.option("--budget", type=Seconds(), help="Wall time for the whole command, such as 90s, 5m, 1h."),
        click.option("--format", "format_", type=click.Choice(RESULT_FORMATS), default="table", show_default=True),
        click.option("--report", "reports", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
                     help="Also write a report: .md, .html, .json or .csv. May be repeated."),
        click.option("--gate", "use_gate", is_flag=True, help="Exit with status 1 unless every candidate passes."),
        click.option("--policy", type=click.Path(path_type=Path, dir_okay=False),
                     help="TOML with thresholds of the checks (see `assay checks`)."),
        click.option("--quiet", is_flag=True, help="No progress on standard error."),
    ):  # fmt: skip
        command = option(command)
    return command


ADAPTER = click.option("--adapter", default="", metavar="DIR", help="A LoRA adapter (peft directory) to merge.")
"""The option of every command that reads a model."""


def bench_study(
    model: str,
    variants: str,
    baseline: str | None,
    reference: str | None,
    *,
    prompt_tokens: int | None,
    new_tokens: int,
    depth: int = 128,
    train_tokens: int = 0,
    rounds: int = 40,
    threads: int = 0,
    runtimes: tuple[str, ...] = ("torch",),
    runners: tuple[str, ...] = (),
    servers: tuple[str, ...] = (),
    text: str = "prose",
    quality_tokens: int = 4096,
    min_speedup: float | None = None,
    max_kl: float | None = None,
    adapter: str = "",
) -> Study:
    """The study of `assay bench`: variants in short form, a prefill and a decode workload, or an encoder's two.

    `prompt_tokens` None means 512, or 128 for an encoder. Raises InputError.
    """
    from assay import api
    from assay.core.study_file import validate_study

    shorts = [short.strip() for short in variants.split(",") if short.strip()]
    if not shorts:
        raise InputError(f"The variants {variants!r} were asked for", "they are none", "Name one, such as fp32")
    named = dict(_named(engine) for engine in (*runners, *servers))
    runtimes += tuple(f"runner:{_named(runner)[0]}" for runner in runners)
    runtimes += tuple(f"openai:{_named(server)[0]}" for server in servers)
    written = [api.variant_of(short).model_copy(update={"runtimes": runtimes}) for short in shorts]
    names = [variant.name for variant in written]
    workloads: list[dict[str, Any]] = [{"kind": "load"}]
    encodes = api.is_encoder(model)
    if encodes and prompt_tokens != 0:
        each = {"kind": "encode", "prompt_tokens": prompt_tokens or 128, "new_tokens": 0}
        workloads += [each, {**each, "batch": 16}]
    prompt_tokens = 512 if prompt_tokens is None else prompt_tokens
    if encodes:
        new_tokens = 0
    elif prompt_tokens:
        workloads.append({"kind": "prefill", "prompt_tokens": prompt_tokens, "new_tokens": 0})
    if new_tokens:
        workloads.append({"kind": "decode", "prompt_tokens": depth, "new_tokens": new_tokens})
    if train_tokens:
        workloads.append({"kind": "train_step", "prompt_tokens": train_tokens, "new_tokens": 0})
    content = {
        "name": f"bench-{Path(model).name}",
        "model": model,
        "adapter": adapter,
        "baseline": baseline or ("bf16" if "bf16" in names else names[0]),
        "reference": reference or ("fp32" if "fp32" in names else names[0]),
        "variants": [variant.model_dump(mode="json") for variant in written],
        "workloads": workloads,
        "gate": {
            key: bound for key, bound in (("min_speedup", min_speedup), ("max_kl_nats", max_kl)) if bound is not None
        },
        "quality": {"text": text, "tokens": quality_tokens},
        "measure": {"max_rounds": rounds},
        "threads": threads,
        "engines": {name: address for name, address in named.items() if name != address},
    }
    return validate_study(content, "the command line")


def _named(written: str) -> tuple[str, str]:
    """Name and address of `NAME=ADDRESS`; both are the address where no name is given."""
    named = re.fullmatch(r"([A-Za-z0-9._-]+)=(.+)", written.strip())
    return (named[1], named[2]) if named else (written.strip(), written.strip())


def run_study(
    study: Study, store: Path, *, budget: float | None, format_: str, reports: tuple[Path, ...], use_gate: bool,
    quiet: bool, policy: Path | None = None,
) -> None:  # fmt: skip
    """Run a study with progress, print its result, write its reports; with the gate, turn it into exit status 1."""
    from assay import api
    from assay.judge.checks.policy_file import read_policy
    from assay.show.progress import open_progress
    from assay.show.render import format_of, write_text

    kinds = {path: format_of(path) for path in reports}
    checks = read_policy(policy) if policy else None
    if budget is not None:
        study = study.model_copy(update={"measure": study.measure.model_copy(update={"budget_s": budget})})
    colour = sys.stdout.isatty()
    try:
        with open_progress(quiet=quiet) as progress:
            result = api.run(study, store, progress, checks)
    except api.Interrupted as stopped:
        click.echo(rendered(stopped.result, format_, store, colour=colour))
        raise
    click.echo(rendered(result, format_, store, colour=colour))
    for path, kind in kinds.items():
        write_text(path, rendered(result, kind, store))
        click.echo(f"Wrote {path}", err=True)
    if use_gate and any(verdict.status not in {"pass", "baseline", "reference"} for verdict in result.verdicts):
        raise click.exceptions.Exit(1)


def rendered(result: Result | Contest, format_: str, store: Path, *, colour: bool = False) -> str:
    """A result in one of the formats, with the rounds behind it and the machine's ceilings where they were taken."""
    from assay import api
    from assay.show.contest import render_contest
    from assay.show.render import render

    if isinstance(result, api.Contest):
        return render_contest(result, format_, colour=colour)
    ceilings = api.ceilings_of(store, result) if format_ == "html" else None
    return render(result, api.rounds_of(store, result), format_, ceilings=ceilings, colour=colour)
