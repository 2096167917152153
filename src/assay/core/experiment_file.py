"""Reads `experiments/<name>/experiment.toml`; its errors name the file and the key.

It refuses an experiment whose name is not its directory's, and files of one's own that are not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.core.canonical import file_digest
from assay.core.decisions import Experiment
from assay.core.errors import StudyError
from assay.core.study_file import read_toml, validate, validate_study

EXPERIMENT_FILE = "experiment.toml"
_DIGITS = 16


def local_kind(path: Path) -> str:
    """The kind of a transform in a file of one's own: its name and the first digits of its SHA-256.

    So the content of the file is part of every recipe that uses it.
    """
    return f"{path.name}@{file_digest(path)[:_DIGITS]}"


def is_local(kind: str) -> bool:
    """True for the kind of a transform in a file of one's own."""
    return ".py@" in kind


def read_experiment(directory: Path) -> Experiment:
    """The experiment of a directory; transforms of kind `variant.py` become those of the file beside it.

    Raises:
        StudyError: a file is missing, or breaks a rule.
    """
    path = directory / EXPERIMENT_FILE
    remedy = f"Start it with `assay experiment new {directory.name}`, or see `assay experiment list`"
    content = read_toml(path, "experiment", remedy)
    asked = f"The experiment {str(path)!r} was asked for"
    content.setdefault("name", directory.name)
    if content["name"] != directory.name:
        raise StudyError(asked, f"name = {content['name']!r}, and it lies in {directory.name!r}", "Make them the same")
    written = content.get("study")
    if not isinstance(written, dict):
        raise StudyError(asked, "it has no table [study]", "Write the study that measures it under [study]")
    files = _with_local_kinds(written, directory, asked)
    written.setdefault("name", directory.name)
    study = validate_study(written, f"{path}: [study]")
    whole = {**content, "study": study.model_dump(mode="json"), "files": files}
    return validate(Experiment, whole, asked, "docs/experiments.md shows every key")


def local_files(directory: Path, experiment: Experiment) -> dict[str, Path]:
    """The files of an experiment's own transforms by their kind."""
    return {local_kind(directory / name): directory / name for name in experiment.files}


def _with_local_kinds(study: dict[str, Any], directory: Path, asked: str) -> dict[str, str]:
    """Name each file of a transform by its content, in place; the files and their digests."""
    files: dict[str, str] = {}
    for variant in study.get("variants", ()):
        for spec in variant.get("transforms", ()) if isinstance(variant, dict) else ():
            kind = spec.get("kind") if isinstance(spec, dict) else None
            if not isinstance(kind, str) or not kind.endswith(".py"):
                continue
            path = directory / kind
            if Path(kind).name != kind or not path.is_file():
                raise StudyError(
                    asked,
                    f"the transform {kind!r} is no file of {str(directory)!r}",
                    "Write it beside experiment.toml; docs/experiments.md shows one",
                )
            files[kind] = file_digest(path)
            spec["kind"] = local_kind(path)
    return files
