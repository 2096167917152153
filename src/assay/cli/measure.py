"""Commands that measure: run, bench, compare, quality."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from assay.cli.shared import ADAPTER, bench_study, result_options, run_study


@click.command()
@click.argument("study", type=click.Path(path_type=Path))
@result_options
@click.pass_obj
def run(store: Path, /, study: Path, **options: Any) -> None:
    """Run the study in a TOML file, or go on with it where it stopped."""
    from assay.core.study_file import read_study

    run_study(read_study(study), store, **options)


@click.command()
@click.argument("model")
@click.option("--variants", default="fp32,bf16,int8", show_default=True,
              help="Variants in short form, such as bf16, int8, lut4-oc8, cast(dtype=fp16).")  # fmt: skip
@click.option("--baseline", help="Speed is compared with this variant. Default: bf16, or the first.")
@click.option("--reference", help="Quality is compared with this variant. Default: fp32, or the first.")
@click.option("-p", "--prompt-tokens", type=click.IntRange(0),
              help="Tokens of the prefill, 512 by default, or of an encoder's texts, 128; 0 for none.")  # fmt: skip
@click.option("-n", "--new-tokens", type=click.IntRange(0), default=64, show_default=True,
              help="Decode steps; 0 for none.")  # fmt: skip
@click.option("-d", "--depth", type=click.IntRange(1), default=128, show_default=True,
              help="Tokens in the KV cache when decoding begins.")  # fmt: skip
@click.option("--train", "train_tokens", type=click.IntRange(0), default=0, show_default=True,
              help="Tokens of a training step (forward, backward, AdamW); 0 for none.")  # fmt: skip
@click.option("-r", "--rounds", type=click.IntRange(2), default=40, show_default=True, help="Rounds at most.")
@click.option("-t", "--threads", type=click.IntRange(0), default=0, help="Threads; 0 for all CPUs.")
@click.option("--runtime", "runtimes", multiple=True, default=("torch",), show_default=True)
@click.option("--runner", "runners", multiple=True, metavar="[NAME=]COMMAND",
              help="A runner of your own: a command or host:port (`assay runner check`). Repeatable.")  # fmt: skip
@click.option("--server", "servers", multiple=True, metavar="[NAME=]URL",
              help="A running server with OpenAI's completions: http://HOST:PORT/v1. Repeatable.")  # fmt: skip
@click.option("--text", default="prose", show_default=True, help="Text for quality: prose, or a UTF-8 file.")
@click.option("--quality-tokens", type=click.IntRange(0), default=4096, show_default=True, help="0 skips quality.")
@click.option("--min-speedup", type=float, help="Gate: decode speed against the baseline.")
@click.option("--max-kl", type=float, help="Gate: KL divergence from the reference, in nats.")
@ADAPTER
@result_options
@click.pass_obj
def bench(store: Path, /, model: str, **options: Any) -> None:
    """Compare variants of a model without a study file.

    MODEL is a name (see `assay list models`), a .gguf file, a directory with config.json and safetensors, a nanoGPT
    checkpoint, or a model of the Hugging Face hub (hub:org/name@revision).
    """
    shared = {key: options.pop(key) for key in ("budget", "format_", "reports", "use_gate", "quiet", "policy")}
    run_study(bench_study(model, **options), store, **shared)


@click.command()
@click.argument("first", required=False)
@click.argument("second", required=False)
@click.option("--model", help="The model of both variants.")
@click.option("--command", "commands", multiple=True, help="A shell command; given twice, instead of variants.")
@click.option("-r", "--rounds", type=click.IntRange(2), default=40, show_default=True, help="Rounds at most.")
@click.option("--margin", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.02, show_default=True,
              help="Relative difference within which two programs are equivalent.")  # fmt: skip
@click.option("-t", "--threads", type=click.IntRange(0), default=0, help="Threads of variants; 0 for all CPUs.")
@result_options
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
    run_study(study.model_copy(update={"threads": threads, "measure": policy}), store, **options)


@click.command()
@click.argument("model")
@click.option("--variants", default="fp32,bf16,int8", show_default=True)
@click.option("--reference", help="Default: fp32, or the first variant.")
@click.option("--text", default="prose", show_default=True, help="prose, or a UTF-8 file.")
@click.option("--tokens", type=click.IntRange(16), default=4096, show_default=True, help="Tokens of text.")
@click.option("--context", type=click.IntRange(8), default=1024, show_default=True, help="Tokens of a window.")
@click.option("--text-check", is_flag=True,
              help="Let every variant write 3 x 256 tokens, and hold them against the reference's own "
              "text.")  # fmt: skip
@click.option("--chat", is_flag=True, help="Put the sample's prompt into the model's chat template.")
@click.option("-t", "--threads", type=click.IntRange(0), default=0, help="Threads; 0 for all CPUs.")
@ADAPTER
@result_options
@click.pass_obj
def quality(store: Path, /, model: str, **options: Any) -> None:
    """Perplexity, KL divergence, PSNR and top-1 agreement of variants; nothing is timed."""
    from assay.core.study import QualityPlan

    shared = {key: options.pop(key) for key in ("budget", "format_", "reports", "use_gate", "quiet", "policy")}
    study = bench_study(
        model,
        options["variants"],
        None,
        options["reference"],
        prompt_tokens=0,
        new_tokens=0,
        threads=options["threads"],
        adapter=options["adapter"],
    )
    plan = QualityPlan(text=options["text"], tokens=options["tokens"], context=options["context"],
                       sample_chat=options["chat"], text_check=options["text_check"])  # fmt: skip
    run_study(study.model_copy(update={"quality": plan, "workloads": ()}), store, **shared)


def _compare_commands(
    first: str, second: str, store: Path, *, rounds: int, margin: float, budget: float | None, format_: str,
    reports: tuple[Path, ...], use_gate: bool, quiet: bool, policy: Path | None,
) -> None:  # fmt: skip
    from assay import api
    from assay.judge.checks.policy_file import read_policy
    from assay.show.contest import CONTEST_FORMATS, render_contest
    from assay.show.progress import open_progress
    from assay.show.render import format_of, write_text

    kinds = {path: format_of(path) for path in reports}
    checks = read_policy(policy) if policy else None
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
                checks=checks,
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


COMMANDS = (run, bench, compare, quality)
