"""The command line: parsing only. It refuses to show a traceback unless --debug asks for it.

Exit status: 0 success; 1 a gate failed (`--gate`); 2 a file, study or option is wrong; 3 not supported here;
4 the store; 5 a worker failed; 6 parts of a bundle disagree; 70 a defect of Assay; 130 interrupted.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.core.errors import AssayError, InputError

if TYPE_CHECKING:
    from assay.core.records import Result
    from assay.core.study import Study

_RESULT_FORMATS = ("table", "markdown", "json", "csv", "llama-bench", "pyperf")
_LISTS = (
    "models", "families", "transforms", "runtimes", "workloads", "metrics", "checks", "studies", "artifacts",
    "study-keys",
)  # fmt: skip


class _Seconds(click.ParamType[float]):
    """A duration such as 90, 90s, 5m or 1h, in seconds."""

    name = "duration"
    _UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}  # noqa: RUF012 - click makes one instance

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        written = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value).strip())
        if not written or float(written[1]) == 0:
            self.fail(f"{value!r} is no duration; write 90s, 5m or 1h", param, ctx)
        return float(written[1]) * self._UNITS[written[2]]


class _Main(click.Group):
    """Turns Assay's errors into a message and an exit status."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        debug = "--debug" in (kwargs.get("args") or sys.argv[1:])
        try:
            status = super().main(*args, **{**kwargs, "standalone_mode": False})
            if isinstance(status, int) and status:  # click returns the status of an Exit rather than ending with it
                sys.exit(status)
            return status
        except click.exceptions.Exit as leave:
            sys.exit(leave.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted. What was finished is kept; the same command goes on from there.", err=True)
            sys.exit(130)
        except BrokenPipeError:
            sys.exit(0)
        except AssayError as error:
            if debug:
                raise
            click.echo(f"assay: {error}", err=True)
            sys.exit(error.exit_status)
        except Exception as error:
            if debug:
                raise
            click.echo(
                f"assay: a defect of Assay: {type(error).__name__}: {error}. "
                "Run the command again with --debug, and report what it prints.",
                err=True,
            )
            sys.exit(70)


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--store", type=click.Path(path_type=Path), default=Path(".assay"), show_default=True,
              help="Directory that keeps artifacts, rounds and results.")  # fmt: skip
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="assay")
@click.pass_context
def main(context: click.Context, store: Path, debug: bool) -> None:
    """Know which variant of a language model to ship on this device.

    Start with `assay doctor`, then `assay bench MODEL`.
    """
    context.obj = store


def _result_options(command: Any) -> Any:
    """Options of every command that ends in a result."""
    for option in (
        click.option("--budget", type=_Seconds(), help="Wall time for the whole command, such as 90s, 5m, 1h."),
        click.option("--format", "format_", type=click.Choice(_RESULT_FORMATS), default="table", show_default=True),
        click.option("--report", "reports", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
                     help="Also write a report: .md, .html, .json or .csv. May be repeated."),
        click.option("--gate", "use_gate", is_flag=True, help="Exit with status 1 unless every candidate passes."),
        click.option("--quiet", is_flag=True, help="No progress on standard error."),
    ):  # fmt: skip
        command = option(command)
    return command


# ------------------------------------------------------------------------------------------------ commands


@main.command()
@click.argument("study", type=click.Path(path_type=Path))
@_result_options
@click.pass_obj
def run(store: Path, /, study: Path, **options: Any) -> None:
    """Run the study in a TOML file, or go on with it where it stopped."""
    from assay.core.study_file import read_study

    _run_study(read_study(study), store, **options)


@main.command()
@click.argument("model")
@click.option("--variants", default="fp32,bf16,int8", show_default=True,
              help="Variants in short form, such as bf16, int8, lut4-oc8, cast(dtype=fp16).")  # fmt: skip
@click.option("--baseline", help="Speed is compared with this variant. Default: bf16, or the first.")
@click.option("--reference", help="Quality is compared with this variant. Default: fp32, or the first.")
@click.option("-p", "--prompt-tokens", type=click.IntRange(0), default=512, show_default=True,
              help="Tokens of the prefill; 0 for none.")  # fmt: skip
@click.option("-n", "--new-tokens", type=click.IntRange(0), default=64, show_default=True,
              help="Decode steps; 0 for none.")  # fmt: skip
@click.option("-d", "--depth", type=click.IntRange(1), default=128, show_default=True,
              help="Tokens in the KV cache when decoding begins.")  # fmt: skip
@click.option("-r", "--rounds", type=click.IntRange(2), default=40, show_default=True, help="Rounds at most.")
@click.option("-t", "--threads", type=click.IntRange(0), default=0, help="Threads; 0 for all CPUs.")
@click.option("--runtime", "runtimes", multiple=True, default=("torch",), show_default=True)
@click.option("--text", default="prose", show_default=True, help="Text for quality: prose, or a UTF-8 file.")
@click.option("--quality-tokens", type=click.IntRange(0), default=4096, show_default=True, help="0 skips quality.")
@click.option("--min-speedup", type=float, help="Gate: decode speed against the baseline.")
@click.option("--max-kl", type=float, help="Gate: KL divergence from the reference, in nats.")
@_result_options
@click.pass_obj
def bench(store: Path, /, model: str, **options: Any) -> None:
    """Compare variants of a model without a study file.

    MODEL is a name (see `assay list models`), a .gguf file, a directory with config.json and safetensors, or a nanoGPT
    checkpoint.
    """
    shared = {key: options.pop(key) for key in ("budget", "format_", "reports", "use_gate", "quiet")}
    _run_study(_bench_study(model, **options), store, **shared)


@main.command()
@click.argument("first", required=False)
@click.argument("second", required=False)
@click.option("--model", help="The model of both variants.")
@click.option("--command", "commands", multiple=True, help="A shell command; given twice, instead of variants.")
@click.option("-r", "--rounds", type=click.IntRange(2), default=40, show_default=True, help="Rounds at most.")
@click.option("--margin", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.02, show_default=True,
              help="Relative difference within which two programs are equivalent.")  # fmt: skip
@click.option("-t", "--threads", type=click.IntRange(0), default=0, help="Threads of variants; 0 for all CPUs.")
@_result_options
@click.pass_obj
def compare(
    store: Path, /, first: str | None, second: str | None, model: str | None, commands: tuple[str, ...], rounds: int,
    margin: float, threads: int, **options: Any,
) -> None:  # fmt: skip
    """Compare two variants of one model, or two shell commands; the first is the baseline.

    assay compare bf16 int8 --model MODEL

    assay compare --command "./old" --command "./new"
    """
    from assay import api

    if commands:
        if first or model or len(commands) != 2:
            raise click.UsageError("Give --command exactly twice, without variants and without --model.")
        _compare_commands(commands[0], commands[1], store, rounds=rounds, margin=margin, **options)
        return
    if first is None or second is None or model is None:
        raise click.UsageError("Give two variants and --model, or two commands: --command A --command B.")
    study = api.comparison_study(first, second, model=model)
    policy = study.measure.model_copy(update={"max_rounds": rounds, "margin": margin})
    _run_study(study.model_copy(update={"threads": threads, "measure": policy}), store, **options)


@main.command()
@click.argument("study_or_model")
@click.option("--variants", help="For a model: variants in short form, such as fp32,bf16,int8.")
@click.option("-t", "--threads", type=click.IntRange(0), help="Threads; 0 for all CPUs. Default: as in the study.")
@click.option("--device-name", help="Predict for hardware that is not here, such as 'RTX PRO 6000'.")
@click.option("--format", "format_", type=click.Choice(("table", "markdown", "json")), default="table",
              show_default=True)  # fmt: skip
@click.pass_obj
def plan(
    store: Path, /, study_or_model: str, variants: str | None, threads: int | None, device_name: str | None,
    format_: str,
) -> None:  # fmt: skip
    """FLOPs, bytes, memory and bound of every cell of a study, before anything is built.

    STUDY_OR_MODEL is a study in a TOML file, or a model with --variants.
    """
    from assay import api
    from assay.core.study_file import read_study
    from assay.show.plan import render_plan

    if variants is None:
        study = read_study(Path(study_or_model))
    else:
        study = _bench_study(study_or_model, variants, None, None, prompt_tokens=512, new_tokens=64)
    if threads is not None:
        study = study.model_copy(update={"threads": threads})
    click.echo(render_plan(api.plan(study, store, device_name), format_))


@main.command()
@click.argument("model")
@click.option("--transform", "transforms", multiple=True, help="A variant's short form or a transform; repeatable.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Directory to write; must not exist.")
@click.option("--format", "format_", default="torch", show_default=True)
@click.pass_obj
def build(store: Path, /, model: str, transforms: tuple[str, ...], output: Path, format_: str) -> None:
    """Build an artifact: safetensors with config.json and tokenizer.json, which others can load."""
    from assay import api
    from assay.show.table import describe_artifact

    artifact = api.build_to(model, "+".join(transforms), output, format_name=format_, store=store)
    click.echo(describe_artifact(artifact, str(output)))


@main.command()
@click.argument("model")
@click.option("--variants", default="fp32,bf16,int8", show_default=True)
@click.option("--reference", help="Default: fp32, or the first variant.")
@click.option("--text", default="prose", show_default=True, help="prose, or a UTF-8 file.")
@click.option("--tokens", type=click.IntRange(16), default=4096, show_default=True, help="Tokens of text.")
@click.option("--context", type=click.IntRange(8), default=1024, show_default=True, help="Tokens of a window.")
@click.option("-t", "--threads", type=click.IntRange(0), default=0, help="Threads; 0 for all CPUs.")
@_result_options
@click.pass_obj
def quality(store: Path, /, model: str, **options: Any) -> None:
    """Perplexity, KL divergence, PSNR and top-1 agreement of variants; nothing is timed."""
    from assay.core.study import QualityPlan

    shared = {key: options.pop(key) for key in ("budget", "format_", "reports", "use_gate", "quiet")}
    study = _bench_study(
        model,
        options["variants"],
        None,
        options["reference"],
        prompt_tokens=0,
        new_tokens=0,
        threads=options["threads"],
    )
    plan = QualityPlan(text=options["text"], tokens=options["tokens"], context=options["context"])
    _run_study(study.model_copy(update={"quality": plan, "workloads": ()}), store, **shared)


@main.command()
@click.argument("model")
@click.option("--prompt", default="The old lighthouse keeper opened the door and", show_default=True)
@click.option("--variant", default="fp32", show_default=True, help="A variant's short form.")
@click.option("-n", "--new-tokens", type=click.IntRange(1), default=64, show_default=True)
@click.option("-t", "--threads", type=click.IntRange(0), default=0, help="Threads; 0 for all CPUs.")
@click.pass_obj
def generate(store: Path, /, model: str, prompt: str, variant: str, new_tokens: int, threads: int) -> None:
    """Continue a prompt greedily, and stream the text."""
    from assay import api

    with api.load(model, variant, threads=threads, store=store) as loaded:
        click.echo(prompt, nl=False)
        for piece in loaded.stream(prompt, new_tokens):
            click.echo(piece, nl=False)
        click.echo()


@main.command()
@click.argument("study", required=False)
@click.option("--format", "format_", type=click.Choice((*_RESULT_FORMATS, "html")), default="table", show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of standard output.")
@click.pass_obj
def report(store: Path, /, study: str | None, format_: str, output: Path | None) -> None:
    """Show a stored result: the newest, or that of a study by its name or digest."""
    from assay import api
    from assay.show.render import write_text

    text = _rendered(api.stored_result(store, study), format_, store, colour=output is None and sys.stdout.isatty())
    if output is None:
        click.echo(text)
    else:
        write_text(output, text)
        click.echo(f"Wrote {output}")


@main.command("list")
@click.argument("what", type=click.Choice(_LISTS))
@click.option("--format", "format_", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.pass_obj
def list_(store: Path, /, what: str, format_: str) -> None:
    """List what Assay knows: models, families, transforms, runtimes, metrics, checks, stored studies..."""
    from assay.pipeline.listing import entries
    from assay.show.listing import render_entries

    click.echo(render_entries(entries(what, store), as_json=format_ == "json"))


@main.command()
def schema() -> None:
    """Print the JSON schema of a study, for editors."""
    import json

    from assay.core.study import Study

    click.echo(json.dumps(Study.model_json_schema(), indent=2))


@main.command()
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


# ------------------------------------------------------------------------------------------------ shared by commands


def _bench_study(
    model: str,
    variants: str,
    baseline: str | None,
    reference: str | None,
    *,
    prompt_tokens: int,
    new_tokens: int,
    depth: int = 128,
    rounds: int = 40,
    threads: int = 0,
    runtimes: tuple[str, ...] = ("torch",),
    text: str = "prose",
    quality_tokens: int = 4096,
    min_speedup: float | None = None,
    max_kl: float | None = None,
) -> Study:
    from assay import api
    from assay.core.study_file import validate_study

    shorts = [short.strip() for short in variants.split(",") if short.strip()]
    if not shorts:
        raise InputError(f"The variants {variants!r} were asked for", "they are none", "Name one, such as fp32")
    written = [api.variant_of(short).model_copy(update={"runtimes": runtimes}) for short in shorts]
    names = [variant.name for variant in written]
    workloads: list[dict[str, Any]] = [{"kind": "load"}]
    if prompt_tokens:
        workloads.append({"kind": "prefill", "prompt_tokens": prompt_tokens, "new_tokens": 0})
    if new_tokens:
        workloads.append({"kind": "decode", "prompt_tokens": depth, "new_tokens": new_tokens})
    content = {
        "name": f"bench-{Path(model).name}",
        "model": model,
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
    }
    return validate_study(content, "the command line")


def _run_study(
    study: Study, store: Path, *, budget: float | None, format_: str, reports: tuple[Path, ...], use_gate: bool,
    quiet: bool,
) -> None:  # fmt: skip
    from assay import api
    from assay.show.progress import open_progress
    from assay.show.render import format_of, write_text

    kinds = {path: format_of(path) for path in reports}
    if budget is not None:
        study = study.model_copy(update={"measure": study.measure.model_copy(update={"budget_s": budget})})
    colour = sys.stdout.isatty()
    try:
        with open_progress(quiet=quiet) as progress:
            result = api.run(study, store, progress)
    except api.Interrupted as stopped:
        click.echo(_rendered(stopped.result, format_, store, colour=colour))
        raise
    click.echo(_rendered(result, format_, store, colour=colour))
    for path, kind in kinds.items():
        write_text(path, _rendered(result, kind, store))
        click.echo(f"Wrote {path}", err=True)
    if use_gate and any(verdict.status not in {"pass", "baseline", "reference"} for verdict in result.verdicts):
        raise click.exceptions.Exit(1)


def _compare_commands(
    first: str, second: str, store: Path, *, rounds: int, margin: float, budget: float | None, format_: str,
    reports: tuple[Path, ...], use_gate: bool, quiet: bool,
) -> None:  # fmt: skip
    from assay import api
    from assay.show.contest import CONTEST_FORMATS, render_contest
    from assay.show.progress import open_progress
    from assay.show.render import format_of, write_text

    kinds = {path: format_of(path) for path in reports}
    if use_gate or not {format_, *kinds.values()} <= set(CONTEST_FORMATS):
        raise click.UsageError(f"Two commands have no gate, and no formats but {', '.join(CONTEST_FORMATS)}.")
    colour, interrupted = sys.stdout.isatty(), False
    try:
        with open_progress(quiet=quiet) as progress:
            contest = api.compare_commands(
                first,
                second,
                budget_s=budget or 120.0,
                max_rounds=rounds,
                margin=margin,
                store=store,
                progress=progress,
            )
    except api.ContestInterrupted as stopped:
        contest, interrupted = stopped.contest, True
    click.echo(render_contest(contest, format_, colour=colour))
    for path, kind in kinds.items():
        write_text(path, render_contest(contest, kind))
        click.echo(f"Wrote {path}", err=True)
    if interrupted:
        click.echo("Interrupted: this is what was found until then.", err=True)
        raise SystemExit(130)
    if any(side.outcome.kind != "ok" for side in contest.sides):
        raise SystemExit(5)


def _rendered(result: Result, format_: str, store: Path, *, colour: bool = False) -> str:
    from assay import api
    from assay.show.render import render

    ceilings = api.ceilings_of(store, result) if format_ == "html" else None
    return render(result, api.rounds_of(store, result), format_, ceilings=ceilings, colour=colour)


if __name__ == "__main__":
    main()
