"""The torch format: a Hugging Face directory with an artifact.json beside it; it refuses parts that disagree.

Artifacts of plain parameters load in transformers as they are. Quantised layers carry tensors of their own, which the
key `assay` of config.json describes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from assay.build.artifact_files import (
    REBUILD,
    SavesTokenizer,
    artifact_digest,
    check_files,
    described,
    placed,
    read_artifact,
    write_record,
)
from assay.build.checkpoints.safetensors_file import StoredTensor, read_safetensors
from assay.build.families import Family, assign, family, tensor_shapes
from assay.build.files import read_json
from assay.build.nn.empty import empty_modules
from assay.build.nn.int4 import Int4Linear, loaded_layer
from assay.build.nn.linear import Int8Linear, PaletteLinear, plain_layer
from assay.build.nn.select import replace
from assay.build.transform_modules import plan as plan_transform
from assay.build.transform_modules import restructure
from assay.core.errors import CheckpointError, ContractError, CorruptFileError
from assay.core.records import (
    Artifact,
    Change,
    Contract,
    ModelSource,
    PlannedArtifact,
    TransformSpec,
)

FORMAT = "torch"
_WEIGHTS = "model.safetensors"
_LAYOUTS = {
    Int4Linear: "int4: W[o, i] = (level(o, i) - 8) * weight_scale[o, i // group_size], two levels in a byte of "
    "weight_packed, the first in the low bits",
    Int8Linear: "int8: W[o, i] = weight[o, i] * weight_scale[o]",
    PaletteLinear: "palette: W[o, i] = palette[o // output_channels, index(o, i)], indices of `bits` bits, row by row, "
    "packed from the lowest bit of each byte up",
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
    """Write a model as an artifact, in one step: another process sees the whole directory or none.

    Args:
        model: of one of the families, after its transforms.
        config: the checkpoint's config.json.
        tokenizer: the checkpoint's, if it has one.
        changes: what each transform did, in order.
        source: where the weights come from.
        transforms: the recipe.
        directory: must not exist, or be empty.
        toolchain: versions of what built it.

    Raises:
        StoreError: the directory is not empty or cannot be written.
    """
    kind = family(config.get("model_type"))
    parsed = kind.Config.from_dict(config)
    dtype = compute_dtype(model)
    with placed(directory) as partial:
        if tokenizer is not None:
            tokenizer.save(partial)
        tensors = _stored_tensors(model, kind.transposed_tensors(parsed))
        save_file(tensors, partial / _WEIGHTS, metadata={"format": "pt"})
        written = _config_json(config, dtype, model)
        (partial / "config.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        artifact = Artifact(
            digest=artifact_digest(source, transforms, FORMAT, toolchain),
            format=FORMAT,
            source=source,
            transforms=tuple(transforms),
            files=tuple(described(path) for path in sorted(partial.iterdir())),
            changes=tuple(changes),
            contract=kind.contract(parsed, str(dtype).removeprefix("torch.")),
            parameter_count=sum(torch.Size(shape).numel() for shape in tensor_shapes(config).values()),
            weight_bytes=sum(tensor.nbytes for tensor in tensors.values()),
            resident_weight_bytes=sum(_resident_bytes(model).values()),
            decode_weight_bytes=_decode_bytes(model),
            toolchain=dict(toolchain),
        )
        write_record(artifact, partial)
    return artifact


def plan(config: Mapping[str, Any], transforms: Sequence[TransformSpec]) -> PlannedArtifact:
    """What `export` will write for a checkpoint of this config.json after these transforms: its sizes to the byte.

    Nothing is read but the config: the model is made without memory, and takes the structure that the transforms give.

    Raises:
        UnknownArchitectureError: no family has this `model_type`.
        CheckpointError: the config is wrong.
        TransformError: a transform refuses it by shapes, types or options.
    """
    kind = family(config.get("model_type"))
    parsed = kind.Config.from_dict(config)
    with empty_modules():
        model = kind.Model(parsed)
        for spec in transforms:
            plan_transform(model, spec)
    stored = _stored_tensors(model, frozenset())
    return PlannedArtifact(
        contract=kind.contract(parsed, str(compute_dtype(model)).removeprefix("torch.")),
        parameter_count=sum(torch.Size(shape).numel() for shape in tensor_shapes(config).values()),
        weight_bytes=sum(tensor.nbytes for tensor in stored.values()),
        resident_weight_bytes=sum(_resident_bytes(model).values()),
        decode_weight_bytes=_decode_bytes(model),
    )


def load(directory: Path, verify: bool = False, cpu_kernels: bool = True) -> tuple[nn.Module, Artifact]:
    """Load an artifact's model onto the CPU; palettes are expanded, and int4 weights that no kernel takes.

    Args:
        directory: an artifact's.
        verify: also compare the SHA-256 of every file.
        cpu_kernels: whether the model will run on a CPU, and may hold weights in the form that its kernels want.

    Raises:
        CorruptFileError: a file is missing, has another size or content than recorded, or is damaged.
        ContractError: config.json, tensors and artifact.json disagree.
    """
    artifact = read_artifact(directory)
    check_files(directory, artifact, verify)
    config = read_json(directory / "config.json", "The config of an artifact")
    kind, model = _empty_model(directory, config, artifact)
    transposed = kind.transposed_tensors(model.config)
    parameters = dict(model.named_parameters())
    stored = read_safetensors(directory / _WEIGHTS).tensors
    _check_names(directory, parameters, stored)
    with (directory / _WEIGHTS).open("rb") as file:
        for path in [path for path, module in model.named_modules() if isinstance(module, PaletteLinear)]:
            replace(model, path, _expanded_palette(file, path, model.get_submodule(path), stored))
        filled = {
            name: _read(file, name, stored[name], empty, transposed=name in transposed)
            for name, empty in model.named_parameters()
            if empty.is_meta
        }
    assign(model, filled)
    for path, module in list(model.named_modules()):
        if isinstance(module, Int4Linear):
            replace(model, path, loaded_layer(module, cpu_kernels))
    return model.eval(), artifact


def compute_dtype(model: nn.Module) -> torch.dtype:
    """Type of the activations: that of the token embedding."""
    return next(module.weight.dtype for module in model.modules() if isinstance(module, nn.Embedding))


def _stored_tensors(model: nn.Module, transposed: frozenset[str]) -> dict[str, Tensor]:
    """Tensors as they go to disk; a shared one is stored once."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensor = parameter.detach()
        plain = type(model.get_submodule(name.rpartition(".")[0])) is nn.Linear
        tensors[name] = tensor.t().contiguous() if plain and name in transposed else tensor.contiguous()
    return tensors


def _config_json(config: Mapping[str, Any], dtype: torch.dtype, model: nn.Module) -> dict[str, Any]:
    """The source's config with this artifact's type, and a description of the layers that are not plain."""
    name = str(dtype).removeprefix("torch.")
    written = {key: value for key, value in config.items() if key not in ("assay", "dtype", "torch_dtype")}
    written["torch_dtype" if "torch_dtype" in config else "dtype"] = name
    layers = {
        path: {"layout": _LAYOUTS[type(module)], **module.options()}
        for path, module in model.named_modules()
        if isinstance(module, Int4Linear | Int8Linear | PaletteLinear)
    }
    if layers:
        written["assay"] = {"layers": layers}
    return written


def _resident_bytes(model: nn.Module) -> dict[str, int]:
    """Bytes in memory of each tensor once loaded on a CPU; what is expanded counts at its expanded size."""
    sizes = {}
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, PaletteLinear) and name.endswith(".palette_indices"):
            sizes[name] = owner.out_features * owner.in_features * owner.palette.element_size()
        elif isinstance(owner, Int4Linear) and name.endswith(".weight_packed"):
            sizes[name] = owner.loaded_bytes
        elif not (isinstance(owner, PaletteLinear) and name.endswith(".palette")) and not (
            isinstance(owner, Int4Linear) and name.endswith(".weight_scale")
        ):
            sizes[name] = parameter.nbytes
    return sizes


def _decode_bytes(model: nn.Module) -> int:
    """Bytes that one decode step streams: all but the embeddings whose rows are only looked up.

    Nor what an encoder-decoder uses for its source alone: the encoder, and the keys and values of cross attention.
    """
    streamed = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    left_out = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and id(module.weight) not in streamed
    }
    sizes = {name: size for name, size in _resident_bytes(model).items() if name not in left_out}
    if hasattr(model, "encoder") and hasattr(model, "decoder"):
        of_source = ("encoder.", *(f"{name}." for name, _ in model.named_modules() if _reads_source(name)))
        sizes = {name: size for name, size in sizes.items() if not name.startswith(of_source)}
    return sum(sizes.values())


def _reads_source(name: str) -> bool:
    return name.endswith((".EncDecAttention.k", ".EncDecAttention.v"))


def _empty_model(directory: Path, config: Mapping[str, Any], artifact: Artifact) -> tuple[Family, Any]:
    """The model on the meta device, in the structure that the transforms gave it."""
    kind = family(config.get("model_type"))
    try:
        parsed = kind.Config.from_dict(config)
    except CheckpointError as error:
        raise ContractError(f"load the artifact {directory}", str(error), REBUILD) from error
    _check_contract(directory, kind.contract(parsed, artifact.contract.dtype), artifact.contract)
    if [spec.kind for spec in artifact.transforms] != [change.kind for change in artifact.changes]:
        raise ContractError(
            f"load the artifact {directory}", "artifact.json has not one change for each transform", REBUILD
        )
    with empty_modules():
        model = kind.Model(parsed)
        for spec, change in zip(artifact.transforms, artifact.changes, strict=True):
            restructure(model, spec, change.modules)
    found = str(compute_dtype(model)).removeprefix("torch.")
    if found != artifact.contract.dtype:
        raise ContractError(
            f"load the artifact {directory}",
            f"artifact.json says {artifact.contract.dtype}, its transforms give {found}",
            REBUILD,
        )
    return kind, model


def _check_contract(directory: Path, config: Contract, recorded: Contract) -> None:
    for field in Contract.model_fields:
        implied, written = getattr(config, field), getattr(recorded, field)
        if implied != written:
            raise ContractError(
                f"load the artifact {directory}",
                f"{field} is {implied!r} by config.json and {written!r} by artifact.json",
                REBUILD,
            )


def _check_names(directory: Path, parameters: Mapping[str, nn.Parameter], stored: Mapping[str, StoredTensor]) -> None:
    for problem, names in (
        ("lacks", sorted(parameters.keys() - stored.keys())),
        ("also has", sorted(stored.keys() - parameters.keys())),
    ):
        if names:
            raise ContractError(f"load the artifact {directory}", f"{_WEIGHTS} {problem} {names[0]}", REBUILD)


def _expanded_palette(
    file: BufferedReader, path: str, empty: nn.Module, stored: Mapping[str, StoredTensor]
) -> nn.Linear:
    """One palettized layer as a plain one; its packed tensors are gone before the next is read."""
    names = {leaf: f"{path}.{leaf}" for leaf, _ in empty.named_parameters()}
    parameters = empty.named_parameters()
    assign(empty, {leaf: _read(file, names[leaf], stored[names[leaf]], part, False) for leaf, part in parameters})
    return plain_layer(cast(PaletteLinear, empty))


def _read(file: BufferedReader, name: str, stored: StoredTensor, empty: nn.Parameter, transposed: bool) -> Tensor:
    """One tensor in memory of its own, in the model's orientation.

    It is read and not mapped: the weights lie in memory before anything is timed, and no page counts twice.
    """
    transposed = transposed and empty.is_floating_point()
    shape = tuple(reversed(empty.shape)) if transposed else tuple(empty.shape)
    asked = f"load {name} from {file.name}"
    if stored.shape != shape or stored.dtype != empty.dtype:
        raise ContractError(
            asked,
            f"it is {stored.dtype} {list(stored.shape)}, config.json implies {empty.dtype} {list(shape)}",
            REBUILD,
        )
    tensor = torch.empty(shape, dtype=stored.dtype)
    file.seek(stored.start)
    if file.readinto(cast(bytearray, tensor.view(-1).view(torch.uint8).numpy())) != tensor.nbytes:
        raise CorruptFileError(asked, "the file ends before it does", REBUILD)
    return tensor.t().contiguous() if transposed else tensor
