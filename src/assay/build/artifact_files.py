"""What every exporter does alike: the digest of a recipe, the directory in one step, the record beside the files.

It refuses a directory that holds something, and files that are not those that were written.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from assay.build.files import read_json
from assay.core.canonical import digest, file_digest
from assay.core.errors import CorruptFileError, StoreError
from assay.core.records import Artifact, ArtifactFile, ModelSource, TransformSpec

RECORD = "artifact.json"
REBUILD = "Build the artifact again"


class SavesTokenizer(Protocol):
    """The part of a tokenizer that an artifact needs."""

    def save(self, directory: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json."""


def artifact_digest(
    source: ModelSource,
    transforms: Sequence[TransformSpec],
    format: str = "torch",  # noqa: A002 - the records' word
    toolchain: Mapping[str, str] | None = None,
) -> str:
    """SHA-256 of the recipe, known before building: the source's content, the transforms, format, toolchain."""
    return digest(
        {
            "source": [source.kind, source.digest],
            "transforms": [spec.model_dump(mode="json") for spec in transforms],
            "format": format,
            "toolchain": dict(toolchain or {}),
        }
    )


@contextmanager
def placed(directory: Path) -> Iterator[Path]:
    """A new sibling of `directory` to write into, which takes its name at the end, or vanishes on an error."""
    asked = f"write an artifact to {directory}"
    partial = directory.parent / f".{directory.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise StoreError(asked, "something is there already", "Name a directory that does not exist")
        partial.mkdir(parents=True)
        yield partial
        if directory.exists():
            directory.rmdir()
        partial.rename(directory)
    except OSError as error:
        raise StoreError(asked, str(error), "Check the path, its permissions and the free space") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def described(path: Path) -> ArtifactFile:
    """One file of an artifact as its record names it."""
    return ArtifactFile(name=path.name, size_bytes=path.stat().st_size, sha256=file_digest(path))


def write_record(artifact: Artifact, directory: Path) -> None:
    """Write the record of an artifact beside its files, last of all."""
    (directory / RECORD).write_text(artifact.to_json() + "\n", encoding="utf-8")


def read_artifact(directory: Path) -> Artifact:
    """The record of an artifact's directory.

    Raises:
        CheckpointError: there is no artifact.json.
        CorruptFileError: it cannot be read.
    """
    fields = read_json(directory / RECORD, "The record of an artifact")
    try:
        return Artifact.from_json(json.dumps(fields))
    except ValidationError as error:
        raise CorruptFileError(
            f"read {directory / RECORD}", f"it is no artifact record: {error.error_count()} wrong fields", REBUILD
        ) from error


def check_files(directory: Path, artifact: Artifact, verify: bool) -> None:
    """Compare the files of a directory with its record: names, sizes, and with `verify` the SHA-256 of each.

    Raises:
        CorruptFileError: a file is missing, has another size or other content.
    """
    for file in artifact.files:
        path = directory / file.name
        asked = f"load the artifact {directory}"
        if path.parent != directory or not path.is_file():
            raise CorruptFileError(asked, f"{file.name} is missing", REBUILD)
        if path.stat().st_size != file.size_bytes:
            raise CorruptFileError(
                asked, f"{file.name} has {path.stat().st_size} bytes, {file.size_bytes} were written", REBUILD
            )
        if verify and file_digest(path) != file.sha256:
            raise CorruptFileError(asked, f"{file.name} is not what was written (SHA-256 differs)", REBUILD)
