"""One result in any format, and the files it is written to. It refuses suffixes that name no format."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from assay.core.errors import InputError, StoreError
from assay.core.records import Ceilings, Result, Round

FORMATS = ("table", "markdown", "html", "json", "csv", "llama-bench", "pyperf")
_SUFFIXES = {".md": "markdown", ".html": "html", ".htm": "html", ".json": "json", ".csv": "csv", ".txt": "table"}
_WITH_SAMPLES = {"pyperf": "to_pyperf_json", "llama-bench": "to_llama_bench_json"}
_DEFAULT_WIDTH = 80


def format_of(path: Path) -> str:
    """The format that a file's suffix names.

    Raises:
        InputError: it names none.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"The report {str(path)!r} was asked for",
            f"the suffix {path.suffix!r} names no format",
            f"Use one of {', '.join(_SUFFIXES)}",
        )
    return _SUFFIXES[path.suffix.lower()]


def render(
    result: Result,
    rounds: Sequence[Round],
    format_name: str,
    *,
    ceilings: Ceilings | None = None,
    colour: bool = False,
    width: int = _DEFAULT_WIDTH,
) -> str:
    """A result as text in one of `FORMATS`.

    Args:
        result: the judged study.
        rounds: its raw samples, for the distributions of HTML and pyperf.
        format_name: one of `FORMATS`.
        ceilings: what the machine can do at best, for the roofline.
        colour: escapes of a terminal in the table.
        width: columns of the table.

    Raises:
        MissingDependencyError: HTML without the extra that draws its charts.
    """
    if format_name == "table":
        return str(_module("table").render_table(result, width).text(colour=colour))
    if format_name == "markdown":
        return str(_module("markdown").render_markdown(result))
    if format_name == "html":
        return str(_module("html.report").render_html(result, rounds, ceilings))
    export = _module("export")
    if format_name in _WITH_SAMPLES:
        return str(getattr(export, _WITH_SAMPLES[format_name])(result, rounds))
    return str({"json": export.to_json, "csv": export.to_csv}[format_name](result))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: a reader never sees half of it.

    Raises:
        StoreError: the directory is missing or not writable, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(
            f"The file {str(path)!r} was to be written", str(error.strerror), "Name a writable place with room"
        ) from None


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"assay.show.{name}")
