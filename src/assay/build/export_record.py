"""The record of an artifact in another engine's format; it refuses to count a shared weight twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from assay.build.artifact_files import artifact_digest
from assay.build.families import tensor_shapes
from assay.core.records import Artifact, ArtifactFile, Change, Contract, ModelSource, TransformSpec


@dataclass
class ExportedWeights:
    """Bytes of the weights of a graph, each counted once, whatever uses it."""

    _bytes: dict[int, int] = field(default_factory=dict)
    _looked_up: set[int] = field(default_factory=set)
    _streamed: set[int] = field(default_factory=set)

    def add(self, key: int, nbytes: int) -> None:
        """A weight takes so many bytes."""
        self._bytes[key] = nbytes

    def look_up(self, key: int) -> None:
        """Single rows of it are read."""
        self._looked_up.add(key)

    def stream(self, key: int) -> None:
        """It is read whole in every pass."""
        self._streamed.add(key)

    @property
    def total(self) -> int:
        """Bytes of all weights."""
        return sum(self._bytes.values())

    @property
    def decoded(self) -> int:
        """Bytes that a decode step streams."""
        return self.total - sum(self._bytes[key] for key in self._looked_up - self._streamed)


def exported_artifact(
    format: str,  # noqa: A002 - the records' word
    config: Mapping[str, Any],
    contract: Contract,
    weights: ExportedWeights,
    changes: Sequence[Change],
    source: ModelSource,
    transforms: Sequence[TransformSpec],
    toolchain: Mapping[str, str],
    files: tuple[ArtifactFile, ...],
) -> Artifact:
    """The record of an artifact that was written from a graph. The engine may keep its weights in another form."""
    return Artifact(
        digest=artifact_digest(source, transforms, format, toolchain),
        format=format,
        source=source,
        transforms=tuple(transforms),
        files=files,
        changes=tuple(changes),
        contract=contract,
        parameter_count=sum(torch.Size(shape).numel() for shape in tensor_shapes(config).values()),
        weight_bytes=weights.total,
        resident_weight_bytes=weights.total,
        decode_weight_bytes=weights.decoded,
        toolchain=dict(toolchain),
    )


def foreign_changes(changes: Sequence[Change], notes: Mapping[str, str], activations: str) -> tuple[Change, ...]:
    """Changes with the notes of another engine in the place of torch's.

    Args:
        changes: what each transform did.
        notes: by kind of transform, what a user of that engine must know.
        activations: what is said of the activations where a transform with a note has left integers.
    """
    told = []
    for change in changes:
        said = [notes[change.kind]] if change.kind in notes else list(change.notes)
        if change.kind in notes and change.kind.endswith("_weight_only") and activations:
            said.append(activations)
        told.append(change.model_copy(update={"notes": tuple(said)}))
    return tuple(told)
