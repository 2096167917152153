"""Hugging Face directories as checkpoints: config.json beside safetensors, whole or in shards.

It refuses pickled weights, shards outside of the directory, and tensors that the index and the shards disagree about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from assay.build.checkpoints import base
from assay.build.checkpoints.safetensors_file import SafetensorsFile, read_safetensors
from assay.build.files import read_json
from assay.core.canonical import digest, file_digest
from assay.core.errors import CheckpointError, CorruptFileError, TokenizerError
from assay.core.records import Absent, ModelSource

if TYPE_CHECKING:
    from assay.build.tokenizers import Tokenizer

_CONFIG = "config.json"
_GENERATION_CONFIG = "generation_config.json"
_INDEX = "model.safetensors.index.json"
_PICKLED = "pytorch_model*.bin"
_TOKENIZER = "tokenizer.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"


class HfDirectoryCheckpoint:
    """An open directory; see `base.Checkpoint`. Tensors lie in the mapped files until something copies them."""

    def __init__(self, directory: Path, config: dict[str, Any], places: Mapping[str, SafetensorsFile]) -> None:
        self.path = directory
        self.config: Mapping[str, Any] = MappingProxyType(config)
        self._shards = tuple(dict.fromkeys(file.path for file in places.values()))
        self._shapes = {name: file.tensors[name].shape for name, file in places.items()}
        self._places: Mapping[str, SafetensorsFile] | None = places

    @cached_property
    def source(self) -> ModelSource:
        """Where the weights come from; the first use reads all files for their SHA-256."""
        beside = [self.path / name for name in (_CONFIG, _GENERATION_CONFIG, _INDEX, _TOKENIZER, _TOKENIZER_CONFIG)]
        beside.append(self.path / "1_Pooling" / _CONFIG)
        files = [path for path in (*beside, *self._shards) if path.is_file()]
        quantised = self.config.get("quantization_config")
        method = quantised.get("quant_method") if isinstance(quantised, Mapping) else None
        return ModelSource(
            kind="hf_directory",
            location=str(self.path),
            digest=digest({path.relative_to(self.path).as_posix(): file_digest(path) for path in files}),
            quantisation=str(method) if method else Absent(reason="the source is not quantised"),
        )

    def tensor_names(self) -> tuple[str, ...]:
        """Names as stored, in the order of the index or of the file."""
        return tuple(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor as stored."""
        if name not in self._shapes:
            raise base.no_such_tensor(name, self.path, self.tensor_names())
        return self._shapes[name]

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor as stored, without a copy where its place in the file allows."""
        self.shape(name)
        if self._places is None:
            raise base.closed(self.path)
        return self._places[name].tensor(name)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of tokenizer.json; ids that end a generation also from generation_config.json."""
        return tokenizer_beside(self.path, self.config)

    def close(self) -> None:
        """Let go of the files; tensors already given out keep theirs."""
        self._places = None


def recognises(path: Path) -> bool:
    """Whether `path` is a directory with weights of Hugging Face's formats, or a safetensors file."""
    if not path.is_dir():
        return path.suffix.lower() == ".safetensors"
    return (path / _INDEX).is_file() or any(any(path.glob(pattern)) for pattern in ("*.safetensors", _PICKLED))


def open_checkpoint(path: Path) -> HfDirectoryCheckpoint:
    """Open a directory, or the directory of a safetensors file; no tensor is read.

    Raises:
        CheckpointError: a file is missing, or the weights are pickled.
        CorruptFileError: a file is truncated, or holds what cannot be true.
    """
    single = path if not path.is_dir() else None
    directory = path if single is None else path.parent
    if single is not None:
        places = _whole(single)
    elif (directory / _INDEX).is_file():
        places = _sharded(directory)
    else:
        places = _whole(_only_weights(directory))
    config = read_json(directory / _CONFIG, "The model's config")
    return HfDirectoryCheckpoint(directory, {**config, **_sentence_pooling(directory)}, places)


def tokenizer_beside(directory: Path, config: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of the files in a directory.

    Raises:
        TokenizerError: there is no tokenizer.json, or it cannot be read.
    """
    from assay.build.tokenizers import Tokenizer

    tokenizer_json, tokenizer_config = directory / _TOKENIZER, directory / _TOKENIZER_CONFIG
    if not tokenizer_json.is_file():
        raise TokenizerError(
            f"The tokenizer of {directory} was asked for",
            f"there is no {_TOKENIZER}",
            "Save one there with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(directory)",
        )
    generation = directory / _GENERATION_CONFIG
    ends = _ends(read_json(generation, "The generation config")) if generation.is_file() else ()
    return Tokenizer.from_file(
        tokenizer_json, tokenizer_config if tokenizer_config.is_file() else None, eos_ids=ends or _ends(config)
    )


def _sentence_pooling(directory: Path) -> dict[str, str]:
    """How sentence-transformers pools the hidden states, as the key `sentence_pooling`; empty where nothing is said.

    Raises:
        CheckpointError: it pools in a way, or has a module, that is not implemented.
    """
    modules = directory / "modules.json"
    if not modules.is_file():
        return {}
    asked = f"The modules of {modules} were to be read"
    try:
        listed = [entry["type"].rpartition(".")[2] for entry in json.loads(modules.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptFileError(asked, f"they are no list of modules ({error})", "Download the file again") from error
    other = [name for name in listed if name not in ("Transformer", "Pooling", "Normalize")]
    if other:
        raise CheckpointError(asked, f"{other[0]} is not implemented", "Use a model of Transformer, Pooling, Normalize")
    pooling = directory / "1_Pooling" / _CONFIG
    if not pooling.is_file():
        return {}
    config = read_json(pooling, "The pooling's config")
    modes = [
        key.removeprefix("pooling_mode_")
        for key, on in config.items()
        if key.startswith("pooling_mode_") and on is True
    ]
    known = {"mean_tokens": "mean", "cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise CheckpointError(
            f"The pooling of {pooling} was to be read",
            f"it pools by {', '.join(modes) or 'nothing'}",
            f"Implemented are {', '.join(known)}, one at a time",
        )
    return {"sentence_pooling": known[modes[0]]}


def _ends(config: Mapping[str, Any]) -> tuple[int, ...]:
    found = config.get("eos_token_id")
    listed = found if isinstance(found, list) else [found]
    return tuple(value for value in listed if isinstance(value, int) and not isinstance(value, bool))


def _only_weights(directory: Path) -> Path:
    found = sorted(directory.glob("*.safetensors"))
    named = directory / "model.safetensors"
    if named in found:
        return named
    asked = f"The weights of {directory} were asked for"
    if len(found) > 1:
        raise CheckpointError(
            asked, f"there are {len(found)} safetensors files and no {_INDEX}", "Copy the index, or name one file"
        )
    if not found:
        raise CheckpointError(
            asked,
            "the weights are pickled (pytorch_model.bin), and a pickle can run any code",
            "Convert them with transformers: model.save_pretrained(directory, safe_serialization=True)",
        )
    return found[0]


def _whole(path: Path) -> dict[str, SafetensorsFile]:
    file = read_safetensors(path)
    return dict.fromkeys(file.tensors, file)


def _sharded(directory: Path) -> dict[str, SafetensorsFile]:
    index = directory / _INDEX
    weight_map = read_json(index, "The index of shards").get("weight_map")
    asked = f"The shards of {index} were to be opened"
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CorruptFileError(asked, "it has no 'weight_map' from tensor to file name", "Download it again")
    shards: dict[str, SafetensorsFile] = {}
    for name in dict.fromkeys(weight_map.values()):
        if not name or name in (".", "..") or any(sign in name for sign in "/\\:\0"):
            raise CheckpointError(asked, f"the shard {name!r} is no plain file name", "Do not trust this checkpoint")
        if not (directory / name).is_file():
            raise CheckpointError(asked, f"the shard {name!r} is missing", "Download it to the same directory")
        shards[name] = read_safetensors(directory / name)
    first: dict[str, str] = {}
    for name, file in shards.items():
        for tensor in file.tensors:
            if first.setdefault(tensor, name) != name:
                raise CorruptFileError(
                    asked,
                    f"the tensor {tensor!r} is in two shards, {first[tensor]!r} and {name!r}",
                    "Download them again",
                )
    stored = set(first.items())
    wrong = sorted(stored.symmetric_difference(weight_map.items()))
    if wrong:
        tensor, name = wrong[0]
        where = "is in the shard but not in the index" if (tensor, name) in stored else "is not in the shard"
        raise CorruptFileError(
            asked, f"the tensor {tensor!r} {where} {name!r} ({len(wrong)} such in all)", "Download all files again"
        )
    return {tensor: shards[name] for tensor, name in weight_map.items()}
