"""The format `transformers`: a Hugging Face directory as it is, of whatever architecture; it refuses to change weights.

For models that Assay has no family for: only a cast may be asked for, and transformers makes it when it loads.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from assay.build.artifact_files import SavesTokenizer, artifact_digest, described, placed, read_artifact, write_record
from assay.build.checkpoints.safetensors_file import read_safetensors
from assay.core.errors import UnsupportedError
from assay.core.records import Absent, Artifact, Change, Contract, ModelSource, TransformSpec

__all__ = ["FORMAT", "NEEDS_MODEL", "artifact_digest", "export", "read_artifact"]

FORMAT = "transformers"
NEEDS_MODEL = False
"""The checkpoint's files are enough: no family is looked for."""
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_COPIED = ("*.safetensors", "*.safetensors.index.json", "generation_config.json")


def export(
    model: nn.Module | None,
    config: Mapping[str, Any],
    tokenizer: SavesTokenizer | None,
    changes: Sequence[Change],
    source: ModelSource,
    transforms: Sequence[TransformSpec],
    directory: Path,
    toolchain: Mapping[str, str],
) -> Artifact:
    """Link or copy the checkpoint's files; the arguments are those of `exporters.torch.export`, the model is not used.

    Raises:
        StoreError: the directory is not empty or cannot be written.
        UnsupportedError: the source is no Hugging Face directory, a transform other than one cast is asked for, or
            config.json lacks what a contract names.
    """
    asked = f"run {source.location} in transformers as it is"
    if source.kind != "hf_directory":
        raise UnsupportedError(asked, f"it is of the kind {source.kind}", "Use the runtime transformers")
    others = [spec.kind for spec in transforms if spec.kind != "cast"]
    if others or len(transforms) > 1:
        kind = others[0] if others else "cast, twice"
        raise UnsupportedError(asked, f"the variant has the transform {kind!r}", "Use a cast alone, or another runtime")
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = _DTYPES[str(transforms[0].options["dtype"])] if transforms else stored
    with placed(directory) as partial:
        if tokenizer is not None:
            tokenizer.save(partial)
        files = [path for pattern in _COPIED for path in sorted(Path(source.location).glob(pattern))]
        for path in files:
            _link(path, partial / path.name)
        written = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")} | {
            "dtype": dtype
        }
        (partial / "config.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        weights = [read_safetensors(path) for path in files if path.suffix == ".safetensors"]
        count = sum(math.prod(tensor.shape) for file in weights for tensor in file.tensors.values())
        artifact = Artifact(
            digest=artifact_digest(source, transforms, FORMAT, toolchain),
            format=FORMAT,
            source=source,
            transforms=tuple(transforms),
            files=tuple(described(path) for path in sorted(partial.iterdir())),
            changes=(),
            contract=_contract(config, dtype, asked),
            parameter_count=count,
            weight_bytes=sum(path.stat().st_size for path in files if path.suffix == ".safetensors"),
            resident_weight_bytes=count * _BYTES[dtype],
            decode_weight_bytes=count * _BYTES[dtype],
            toolchain=dict(toolchain),
        )
        write_record(artifact, partial)
    return artifact


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _contract(config: Mapping[str, Any], dtype: str, asked: str) -> Contract:
    """What config.json says by the field's usual names; None of it is guessed."""
    nested = config.get("text_config")
    fields: Mapping[str, Any] = nested if isinstance(nested, Mapping) else config

    def whole(*names: str, default: int | None = None) -> int:
        found = next((fields[name] for name in names if isinstance(fields.get(name), int)), default)
        if found is None:
            raise UnsupportedError(asked, f"config.json has no {names[0]}", "Give a family to Assay, or name the field")
        return int(found)

    if dtype not in _BYTES:
        raise UnsupportedError(asked, f"its type is {dtype!r}", f"Known: {', '.join(_BYTES)}")
    hidden, heads = whole("hidden_size", "n_embd", "d_model"), whole("num_attention_heads", "n_head", "num_heads")
    window = fields.get("sliding_window")
    return Contract(
        architecture=str(config.get("model_type", "unknown")),
        context_length=whole("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
        sliding_window=window if isinstance(window, int) else Absent(reason="config.json names none"),
        vocab_size=whole("vocab_size"),
        num_hidden_layers=whole("num_hidden_layers", "n_layer", "num_layers"),
        num_attention_heads=heads,
        num_key_value_heads=whole("num_key_value_heads", default=heads),
        head_dim=whole("head_dim", default=hidden // heads),
        hidden_size=hidden,
        intermediate_size=whole("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden),
        gated_mlp="intermediate_size" in fields,
        tie_word_embeddings=bool(config.get("tie_word_embeddings", True)),
        dtype=dtype,
    )
