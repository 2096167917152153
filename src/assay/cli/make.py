"""Commands that build: plan, build, generate."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.shared import ADAPTER, bench_study


@click.command()
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
        study = bench_study(study_or_model, variants, None, None, prompt_tokens=None, new_tokens=64)
    if threads is not None:
        study = study.model_copy(update={"threads": threads})
    click.echo(render_plan(api.plan(study, store, device_name), format_))


@click.command()
@click.argument("model")
@click.option("--transform", "transforms", multiple=True, help="A variant's short form or a transform; repeatable.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Directory to write; must not exist.")
@click.option("--format", "format_", default="torch", show_default=True)
@ADAPTER
@click.pass_obj
def build(store: Path, /, model: str, transforms: tuple[str, ...], output: Path, format_: str, adapter: str) -> None:
    """Build an artifact: safetensors with config.json and tokenizer.json, which others can load."""
    from assay import api
    from assay.show.table import describe_artifact

    artifact = api.build_to(model, "+".join(transforms), output, format_name=format_, adapter=adapter, store=store)
    click.echo(describe_artifact(artifact, str(output)))


@click.command()
@click.argument("model")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    default=("The old lighthouse keeper opened the door and",),
    show_default=True,
    help="Repeatable: several prompts are read side by side.",
)
@click.option("--variant", default="fp32", show_default=True, help="A variant's short form.")
@click.option("-n", "--new-tokens", type=click.IntRange(1), default=64, show_default=True)
@click.option("-t", "--threads", type=click.IntRange(0), default=0, help="Threads; 0 for all CPUs.")
@click.option("--chat", is_flag=True, help="Give the prompt as a user's message, through the model's chat template.")
@ADAPTER
@click.pass_obj
def generate(
    store: Path, /, model: str, prompts: tuple[str, ...], variant: str, new_tokens: int, threads: int, chat: bool,
    adapter: str,
) -> None:  # fmt: skip
    """Continue a prompt greedily, and stream the text; several prompts at once. With --chat, answer."""
    from assay import api

    with api.load(model, variant, threads=threads, batch=len(prompts), adapter=adapter, store=store) as loaded:
        if len(prompts) > 1:
            texts = loaded.generate_all(prompts, new_tokens, chat=chat)
            click.echo(
                "\n\n".join(text if chat else prompt + text for prompt, text in zip(prompts, texts, strict=True))
            )
            return
        if not chat:
            click.echo(prompts[0], nl=False)
        for piece in loaded.stream(prompts[0], new_tokens, chat=chat):
            click.echo(piece, nl=False)
        click.echo()


COMMANDS = (plan, build, generate)
