"""Writes the files of a new experiment, layered on what ships. It refuses to overwrite one, and to state a hypothesis.

A hypothesis or an expectation that was not given stays empty, and `assay experiment run` refuses it until it is stated.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.core.decisions import Decision, Expectation
from assay.core.errors import InputError
from assay.core.experiment_file import EXPERIMENT_FILE
from assay.core.records import TransformSpec
from assay.core.study import StudyVariant
from assay.keep.failures import as_store_error
from assay.pipeline.short_form import transforms_of

VARIANT_FILE = "variant.py"

_VARIANT = '''"""A transform of this experiment's own. This one sets the smallest weights to zero; write your own.

A change of structure needs a function `restructure(model, options, modules)` too: it repeats the structure at load.
"""

from assay.build.nn.select import select
from assay.core.records import Change, Record


class Options(Record):
    """Options; in experiment.toml they stand beside `kind`."""

    share: float = 0.1
    """Share of each matrix that is set to zero."""


def apply(model, options):
    """Change the linear layers in place, and report which."""
    chosen = select(model)
    for layer in chosen.values():
        weight = layer.weight.data
        bound = weight.abs().float().flatten().kthvalue(max(1, int(options.share * weight.numel()))).values
        weight[weight.abs() <= bound] = 0
    size = sum(layer.weight.nbytes for layer in chosen.values())
    return Change(kind="variant", modules=tuple(chosen), bytes_before=size, bytes_after=size)
'''


@dataclass(frozen=True)
class Wish:
    """What a new experiment is to hold."""

    name: str
    model: str
    hypothesis: str = ""
    baseline: str = ""
    """Short form; empty for what ships, or bf16."""
    candidate: str = ""
    """Short form, added to what ships where the baseline is that."""
    own_transform: bool = False
    expect: tuple[Expectation, ...] = ()
    prompt_tokens: int = 512
    depth: int = 128
    new_tokens: int = 64
    threads: int = 0
    budget_s: float = 180.0
    rounds: int = 40
    quality_tokens: int = 2048
    min_speedup: float | None = None
    max_kl_nats: float | None = None


def scaffold(root: Path, wish: Wish, ships: Sequence[Decision]) -> Path:
    """Write experiments/<name>/experiment.toml, and variant.py where a transform of one's own is wanted.

    Raises:
        InputError: the name is no directory's name, the experiment exists, or several variants ship and none is chosen.
        StoreError: the files cannot be written.
    """
    asked = f"The experiment {wish.name!r} was asked for"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}", wish.name):
        raise InputError(asked, "it is no name", "Use letters, digits, dots, dashes and underscores")
    directory = root / wish.name
    if directory.exists():
        raise InputError(asked, f"{directory} exists", "Choose another name, or edit the experiment.toml that is there")
    if len(ships) > 1 and not wish.baseline:
        told = ", ".join(f"{decision.variant.name} ({', '.join(decision.workloads)})" for decision in ships)
        raise InputError(asked, f"several variants ship for {wish.model}: {told}", "Choose with --baseline")
    baseline, candidate, layered_on = _variants(wish, ships, asked)
    with as_store_error(f"writing the experiment {wish.name}", directory):
        directory.mkdir(parents=True)
        (directory / EXPERIMENT_FILE).write_text(_toml(wish, baseline, candidate, layered_on), encoding="utf-8")
        if wish.own_transform:
            (directory / VARIANT_FILE).write_text(_VARIANT, encoding="utf-8")
    return directory


def _variants(wish: Wish, ships: Sequence[Decision], asked: str) -> tuple[StudyVariant, StudyVariant, str]:
    """Baseline and candidate, and the decision that made the baseline ship."""
    layered = bool(ships) and not wish.baseline
    if layered:
        base, layered_on = ships[0].variant, ships[0].id
    else:
        base, layered_on = _named(wish.baseline or "bf16"), ""
    if any(".py@" in spec.kind for spec in base.transforms):
        raise InputError(
            asked,
            f"what ships, {base.name}, has a transform in a file of the experiment {ships[0].experiment!r}",
            "Copy that file beside the new experiment.toml, and choose the rest with --baseline",
        )
    specs = base.transforms if layered or not wish.candidate else ()
    specs += tuple(spec for spec in transforms_of(wish.candidate) if spec not in specs) if wish.candidate else ()
    if wish.own_transform:
        specs += (TransformSpec(kind=VARIANT_FILE, options={}),)
    same = specs == base.transforms
    name = "again" if same else wish.name if wish.name != base.name else f"{wish.name}-candidate"
    candidate = base.model_copy(update={"name": name, "transforms": specs, "null": same})
    return base, candidate, layered_on


def _named(short: str) -> StudyVariant:
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", short).strip("-") or "variant"
    return StudyVariant(name=name, transforms=transforms_of(short))


def _toml(wish: Wish, baseline: StudyVariant, candidate: StudyVariant, layered_on: str) -> str:
    today = dt.datetime.now(dt.UTC).date().isoformat()
    lines = [
        f"# `assay experiment run {wish.name}` measures it, `assay experiment decide {wish.name}` records a decision.",
        "# docs/experiments.md explains every key.",
        "",
        _line("hypothesis", wish.hypothesis, "what is believed, in a sentence that a measurement can refute"),
        _line("stated", today, "expectations are chosen before anything is measured"),
        _line("candidate", candidate.name),
    ]
    if layered_on:
        lines.append(_line("layered_on", layered_on, "the decision whose variant ships: the baseline"))
    for expected in wish.expect:
        lines += ["", "[[expect]]", *_lines(expected.model_dump(mode="json", exclude_defaults=True))]
    if not wish.expect:
        lines += ["", "# [[expect]]            # uncomment, and say what you expect, with an interval",
                  '# metric = "decode_tok_per_s"', "# value = 1.2           # candidate / baseline", "# low = 1.0",
                  "# high = 1.4"]  # fmt: skip
    lines += ["", "[study]", _line("model", wish.model), _line("baseline", baseline.name)]
    lines += [_line("reference", baseline.name), _line("threads", wish.threads)]
    for variant in (baseline, candidate):
        lines += ["", "[[study.variants]]", _line("name", variant.name)]
        lines += [_line("null", True)] if variant.null else []
        lines += [_line("runtimes", list(variant.runtimes))] if variant.runtimes != ("torch",) else []
        decoding = variant.decoding.model_dump(mode="json", exclude_defaults=True)
        lines += ["[study.variants.decoding]", *_lines(decoding)] if decoding else []
        for spec in variant.transforms:
            lines += ["[[study.variants.transforms]]", _line("kind", spec.kind), *_lines(dict(spec.options))]
    for workload in _workloads(wish):
        lines += ["", "[[study.workloads]]", *_lines(workload)]
    lines += ["", "[study.gate]            # what the candidate must reach to ship"]
    gate = {"min_speedup": wish.min_speedup, "max_kl_nats": wish.max_kl_nats}
    lines += _lines({key: bound for key, bound in gate.items() if bound is not None})
    lines += ["", "[study.quality]", _line("tokens", wish.quality_tokens), _line("sample_tokens", 0)]
    lines += ["", "[study.measure]", _line("budget_s", wish.budget_s), _line("max_rounds", wish.rounds)]
    if wish.rounds < 5:
        lines.append(_line("min_rounds", max(2, wish.rounds)))
    return "\n".join(lines) + "\n"


def _workloads(wish: Wish) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"kind": "load"}]
    if wish.prompt_tokens:
        found.append({"kind": "prefill", "prompt_tokens": wish.prompt_tokens, "new_tokens": 0})
    if wish.new_tokens:
        found.append({"kind": "decode", "prompt_tokens": wish.depth, "new_tokens": wish.new_tokens})
    return found


def _lines(table: dict[str, Any]) -> list[str]:
    return [_line(key, value) for key, value in table.items()]


def _line(key: str, value: Any, remark: str = "") -> str:
    """One key of TOML: its strings, numbers, booleans and lists of strings are written as in JSON."""
    written = json.dumps(value, ensure_ascii=False)
    return f"{key} = {written}" + (f"     # {remark}" if remark else "")
