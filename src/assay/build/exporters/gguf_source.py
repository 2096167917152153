"""The source's own GGUF file, as it is; it refuses other sources, and every transform.

For what llama.cpp makes of the blocks that somebody published, beside what it makes of Assay's variants.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from assay.build.artifact_files import SavesTokenizer, artifact_digest, described, placed, read_artifact, write_record
from assay.build.checkpoints.gguf_container import read_gguf
from assay.build.families import family, tensor_shapes
from assay.core.errors import UnsupportedError
from assay.core.records import Artifact, Change, ModelSource, TransformSpec

__all__ = ["FORMAT", "artifact_digest", "export", "read_artifact"]

FORMAT = "gguf_source"
MODEL = "model.gguf"


def export(
    model: nn.Module,
    config: Mapping[str, Any],
    tokenizer: SavesTokenizer | None,
    changes: Sequence[Change],
    source: ModelSource,
    transforms: Sequence[TransformSpec],
    directory: Path,
    toolchain: Mapping[str, str],
) -> Artifact:
    """Link or copy the source's file; the arguments are those of `exporters.torch.export`.

    Raises:
        StoreError: the directory is not empty or cannot be written.
        UnsupportedError: the source is no GGUF file, or a transform is asked for.
    """
    asked = f"run {source.location} as it is"
    if source.kind != "gguf":
        raise UnsupportedError(asked, f"it is of the kind {source.kind}, no GGUF file", "Use the runtime llama.cpp")
    if transforms:
        raise UnsupportedError(
            asked, f"the variant has the transform {transforms[0].kind!r}", "Use the runtime llama.cpp for it"
        )
    kind = family(config.get("model_type"))
    sizes = {name: info.size_bytes for name, info in read_gguf(Path(source.location)).tensors.items()}
    total = sum(sizes.values())
    with placed(directory) as partial:
        if tokenizer is not None:
            tokenizer.save(partial)
        (partial / "config.json").write_text(json.dumps(dict(config), indent=2) + "\n", encoding="utf-8")
        try:
            os.link(source.location, partial / MODEL)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source.location, partial / MODEL)
        artifact = Artifact(
            digest=artifact_digest(source, transforms, FORMAT, toolchain),
            format=FORMAT,
            source=source,
            transforms=(),
            files=tuple(described(path) for path in sorted(partial.iterdir())),
            changes=tuple(changes),
            contract=kind.contract(kind.Config.from_dict(config), "float32"),
            parameter_count=sum(torch.Size(shape).numel() for shape in tensor_shapes(config).values()),
            weight_bytes=total,
            resident_weight_bytes=total,
            decode_weight_bytes=total - (sizes["token_embd.weight"] if "output.weight" in sizes else 0),
            toolchain=dict(toolchain),
        )
        write_record(artifact, partial)
    return artifact
