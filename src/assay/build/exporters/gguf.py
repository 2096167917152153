"""The GGUF format, for llama.cpp: weights, config and vocabulary in one file; it refuses what would not be read back.

Float weights keep their type, norms and biases are float32 as llama.cpp wants them. int8 with a scale per output
channel becomes Q8_0 and int4 in groups of 32 becomes Q4_0, with the very same integers; palettes are expanded. The
config is read back by Assay's own reader, and a file that would compute something else is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.build.artifact_files import SavesTokenizer, artifact_digest, described, placed, read_artifact, write_record
from assay.build.checkpoints.gguf import open_checkpoint
from assay.build.checkpoints.gguf_families import stored_names
from assay.build.exporters.gguf_metadata import ARCHITECTURES, write_config
from assay.build.exporters.gguf_vocabulary import write_vocabulary
from assay.build.families import family, tensor_shapes
from assay.build.nn.int4 import Int4Linear
from assay.build.nn.linear import Int8Linear, PaletteLinear, plain_layer
from assay.core.errors import UnsupportedError
from assay.core.records import Artifact, Change, ModelSource, TransformSpec

__all__ = ["FORMAT", "TOOLCHAIN", "artifact_digest", "export", "read_artifact"]

FORMAT = "gguf"
MODEL = "model.gguf"
TOOLCHAIN = ("gguf",)
"""Packages that write this format, beside those that build every artifact."""

_BLOCK = 32
_PLAIN = {
    torch.float32: GGMLQuantizationType.F32,
    torch.float16: GGMLQuantizationType.F16,
    torch.bfloat16: GGMLQuantizationType.BF16,
}
_NOTES = {
    "int8_weight_only": "GGUF Q8_0: the same integers, each channel's scale repeated for every 32 weights; llama.cpp "
    "rounds activations to 8 bits too",
    "int4_weight_only": "GGUF Q4_0: the same integers and scales; llama.cpp rounds activations to 8 bits too",
    "palettize": "expanded when exported: no smaller than its baseline",
}


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
    """Write a model as an artifact of the format `gguf`; the arguments are those of `exporters.torch.export`.

    Raises:
        StoreError: the directory is not empty or cannot be written.
        UnsupportedError: a family or a config that GGUF, or Assay's reader of it, has no words for.
    """
    asked = f"write a model of the family {config.get('model_type')!r} as GGUF"
    architecture = ARCHITECTURES.get(str(config.get("model_type")))
    if architecture is None:
        raise UnsupportedError(asked, "its names in GGUF are not known here", f"Known: {', '.join(ARCHITECTURES)}")
    kind = family(config.get("model_type"))
    parsed = kind.Config.from_dict(config)
    dtype = next(module.weight.dtype for module in model.modules() if isinstance(module, nn.Embedding))
    tensors = _tensors(model, architecture, asked)
    with placed(directory) as partial:
        if tokenizer is not None:
            tokenizer.save(partial)
        (partial / "config.json").write_text(json.dumps(dict(config), indent=2) + "\n", encoding="utf-8")
        writer = GGUFWriter(partial / MODEL, architecture)
        write_config(writer, architecture, parsed)
        vocabulary_note = write_vocabulary(
            writer, source, partial if tokenizer is not None else None, parsed.vocab_size
        )
        for name, (blocks, block_type) in tensors.items():
            writer.add_tensor(name, blocks, raw_dtype=block_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        _read_back(partial / MODEL, parsed, asked)
        sizes = {name: blocks.nbytes for name, (blocks, _) in tensors.items()}
        untied = "output.weight" in sizes
        total = sum(sizes.values())
        artifact = Artifact(
            digest=artifact_digest(source, transforms, FORMAT, toolchain),
            format=FORMAT,
            source=source,
            transforms=tuple(transforms),
            files=tuple(described(path) for path in sorted(partial.iterdir())),
            changes=tuple(_told(change, vocabulary_note, _expanded(model)) for change in changes),
            contract=kind.contract(parsed, str(dtype).removeprefix("torch.")),
            parameter_count=sum(torch.Size(shape).numel() for shape in tensor_shapes(config).values()),
            weight_bytes=total,
            resident_weight_bytes=total,
            decode_weight_bytes=total - (sizes["token_embd.weight"] if untied else 0),
            toolchain=dict(toolchain),
        )
        write_record(artifact, partial)
    return artifact


Blocks = tuple[NDArray[Any], GGMLQuantizationType]


def _tensors(model: nn.Module, architecture: str, asked: str) -> dict[str, Blocks]:
    """Tensors of the file by GGUF name, rows in llama.cpp's order."""
    names = stored_names(architecture)
    found: dict[str, Blocks] = {}
    seen: set[int] = set()
    for path, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen or leaf not in ("weight", "weight_packed", "palette_indices", "bias"):
                continue
            seen.add(id(parameter))
            ending = "bias" if leaf == "bias" else "weight"
            translated = names.translate(f"{path}.{ending}")
            if translated is None:
                raise UnsupportedError(asked, f"GGUF has no name for {path}.{ending}", "Use another runtime")
            name, stored = translated
            rows, block_type = _rows(module, parameter, ending)
            if stored == "plus one":
                rows = rows + np.float32(1)
            if stored == "rows permuted":
                rows = _permuted(rows, _heads(model, name))
            found[name] = (rows, block_type)
    return found


def _rows(module: nn.Module, parameter: Tensor, ending: str) -> Blocks:
    """A weight or bias as rows of blocks: `[O, bytes]` for quantised types and bfloat16, else `[O, I]` or `[O]`."""
    if ending == "weight":
        match module:
            case Int8Linear() if module.in_features % _BLOCK == 0:
                return _q8_0(module)
            case Int8Linear():
                scale_O1 = module.weight_scale.to(torch.float32)[:, None]
                return _plain(module.weight.to(torch.float32) * scale_O1, module.weight_scale.dtype)
            case Int4Linear() if module.group_size % _BLOCK == 0:
                return _q4_0(module)
            case Int4Linear():
                return _plain(module.expanded(torch.float32), torch.bfloat16)
            case PaletteLinear():
                weight = plain_layer(module).weight.detach()
                return _plain(weight, weight.dtype)
    is_matrix = parameter.dim() == 2 and isinstance(module, nn.Linear | nn.Embedding)
    return _plain(parameter.detach(), parameter.dtype if is_matrix else torch.float32)


def _plain(weight: Tensor, dtype: torch.dtype) -> Blocks:
    cast = weight.to(dtype).contiguous()
    if dtype == torch.bfloat16:
        return cast.view(torch.uint8).numpy(), GGMLQuantizationType.BF16
    return cast.numpy(), _PLAIN[dtype]


def _q8_0(module: Int8Linear) -> Blocks:
    """Blocks of a float16 scale and 32 levels; the scale of the channel is repeated."""
    levels_OJb = module.weight.view(module.out_features, -1, _BLOCK).numpy().view(np.uint8)
    scale_O = _float16(module.weight_scale)
    scale_OJ2 = np.broadcast_to(scale_O.view(np.uint8).reshape(-1, 1, 2), (*levels_OJb.shape[:2], 2))
    return _joined(scale_OJ2, levels_OJb), GGMLQuantizationType.Q8_0


def _q4_0(module: Int4Linear) -> Blocks:
    """Blocks of a float16 scale and 32 levels plus 8: the low halves hold the first 16, the high halves the others."""
    levels_OJb = module.levels().view(module.out_features, -1, _BLOCK).numpy()
    nibbles_OJh = levels_OJb[:, :, : _BLOCK // 2] | (levels_OJb[:, :, _BLOCK // 2 :] << 4)
    scale_OJ = _float16(module.weight_scale).repeat(module.group_size // _BLOCK, axis=1)
    return _joined(scale_OJ.view(np.uint8).reshape(*scale_OJ.shape, 2), nibbles_OJh), GGMLQuantizationType.Q4_0


def _joined(scales: NDArray[np.uint8], levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    blocks = np.concatenate((scales, levels), axis=2)
    return np.ascontiguousarray(blocks.reshape(blocks.shape[0], -1))


def _float16(scale: Tensor) -> NDArray[np.float16]:
    """Scales as float16: exact for bfloat16 from 2^-14 on, and for int4 whose scales were chosen so."""
    return np.ascontiguousarray(scale.detach().to(torch.float16).numpy())


def _permuted(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of q and k as llama.cpp's rotary embedding wants them: the inverse of `gguf_families.restore`."""
    split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(rows.shape)


def _heads(model: nn.Module, name: str) -> int:
    config: Any = model.config
    return int(config.num_key_value_heads if ".attn_k." in name else config.num_attention_heads)


def _expanded(model: nn.Module) -> int:
    """Layers of integers that no block of GGUF carries."""
    return sum(
        (isinstance(module, Int8Linear) and module.in_features % _BLOCK != 0)
        or (isinstance(module, Int4Linear) and module.group_size % _BLOCK != 0)
        for module in model.modules()
    )


def _told(change: Change, vocabulary_note: str, expanded: int) -> Change:
    notes = [_NOTES[change.kind]] if change.kind in _NOTES else list(change.notes)
    if expanded and change.kind.endswith("_weight_only"):
        notes.append(f"{expanded} layers expanded: their inputs or groups are no multiple of {_BLOCK}")
    if vocabulary_note:
        notes.append(vocabulary_note)
    return change.model_copy(update={"notes": tuple(notes)})


def _read_back(path: Path, parsed: Any, asked: str) -> None:
    """Refuse a file from which Assay's reader gets another computation."""
    found = type(parsed).from_dict(open_checkpoint(path).config)
    for field in type(parsed).__dataclass_fields__:
        ours, theirs = getattr(parsed, field), getattr(found, field)
        # A tied head that was quantised is a second tensor, and read back as one.
        if ours != theirs and field != "tie_word_embeddings":
            raise UnsupportedError(
                asked, f"{field} = {ours!r} would be read back as {theirs!r}", "Use a runtime that can carry it"
            )
