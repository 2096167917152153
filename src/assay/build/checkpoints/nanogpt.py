"""nanoGPT's ckpt.pt as a checkpoint of the gpt2 family. It refuses pickles of more than tensors and plain values.

nanoGPT's matrices are ordinary linear layers, `[out, in]`; under Hugging Face's gpt2 names they are given as Conv1D
stores them, `[in, out]`. With `bias=False` the biases are absent and the config says `"bias": false`. nanoGPT computes
the exact GELU since February 2023; a checkpoint does not say which, and the exact one is taken. The optimizer's state
is not read. The vocabulary is not in the file: nanoGPT keeps it in meta.pkl, a pickle, beside its data.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from assay.build.checkpoints import base
from assay.build.files import require_file
from assay.core.canonical import file_digest
from assay.core.errors import CheckpointError, CorruptFileError, TokenizerError
from assay.core.records import ModelSource

if TYPE_CHECKING:
    from assay.build.tokenizers import Tokenizer

_FILE = "ckpt.pt"
_SUFFIXES = (".pt", ".pth", ".ckpt")
_COMPILED_PREFIX = "_orig_mod."
"""What torch.compile puts before every name."""
_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
_ARGUMENTS = {"n_layer": "n_layer", "n_head": "n_head", "n_embd": "n_embd", "block_size": "n_positions"}
_LAYER_NORM_EPSILON = 1e-5


class NanoGptCheckpoint:
    """An open ckpt.pt; see `base.Checkpoint`."""

    def __init__(self, path: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        self.path = path
        self.config: Mapping[str, Any] = MappingProxyType(config)
        self._shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self._tensors: dict[str, torch.Tensor] | None = tensors

    @cached_property
    def source(self) -> ModelSource:
        """Where the weights come from; the first use reads the file for its SHA-256."""
        return ModelSource(kind="nanogpt", location=str(self.path), digest=file_digest(self.path))

    def tensor_names(self) -> tuple[str, ...]:
        """Hugging Face's gpt2 names, in the order of the file."""
        return tuple(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor in Hugging Face's orientation."""
        if name not in self._shapes:
            raise base.no_such_tensor(name, self.path, self.tensor_names())
        return self._shapes[name]

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor as stored, in Hugging Face's orientation."""
        self.shape(name)
        if self._tensors is None:
            raise base.closed(self.path)
        return self._tensors[name].contiguous()

    def tokenizer(self) -> Tokenizer:
        """There is none in the file: always raises TokenizerError."""
        raise TokenizerError(
            f"The tokenizer of {self.path} was asked for",
            "a nanoGPT checkpoint holds none: its vocabulary is made from the training text",
            "Give ids, or make the vocabulary from the text that the model was trained on",
        )

    def close(self) -> None:
        """Let go of the tensors."""
        self._tensors = None


def recognises(path: Path) -> bool:
    """Whether `path` is a .pt, .pth or .ckpt file, or a directory with a ckpt.pt."""
    if path.is_dir():
        return (path / _FILE).is_file()
    return path.suffix.lower() in _SUFFIXES


def open_checkpoint(path: Path) -> NanoGptCheckpoint:
    """Open a ckpt.pt, or the one in a directory.

    Raises:
        CheckpointError: it is missing, or no checkpoint of nanoGPT.
        CorruptFileError: it cannot be unpickled, or holds objects that could run code.
    """
    file = path / _FILE if path.is_dir() else path
    content = _load(file)
    asked = f"The nanoGPT checkpoint {file} was to be opened"
    state, arguments = content.get("model"), content.get("model_args")
    if not isinstance(state, dict) or not isinstance(arguments, dict):
        raise CheckpointError(
            asked, "it has no 'model' and 'model_args'", "Give a file that nanoGPT's train.py saved as ckpt.pt"
        )
    tensors: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise CorruptFileError(asked, f"its entry {key!r} is no named tensor", "Save the checkpoint again")
        name = key.removeprefix(_COMPILED_PREFIX)
        tensors[name] = value.detach().t() if name.endswith(_TRANSPOSED) and value.ndim == 2 else value.detach()
    config = _config(asked, arguments, tensors)
    return NanoGptCheckpoint(file, config, tensors)


def _load(file: Path) -> dict[Any, Any]:
    require_file(file, "The nanoGPT checkpoint")
    asked = f"The nanoGPT checkpoint {file} was to be read"
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        first = str(error).strip().partition("\n")[0]
        raise CorruptFileError(
            asked,
            f"it holds more than tensors and plain values: {first}",
            "Do not trust this file; ask for safetensors",
        ) from error
    except _UNREADABLE as error:
        first = str(error).strip().partition("\n")[0]
        raise CorruptFileError(asked, f"torch cannot read it: {first}", "Copy or save the checkpoint again") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            asked, f"it holds a {type(content).__name__}, not a dictionary", "Give a ckpt.pt of nanoGPT's train.py"
        )
    return content


_UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError,
    RuntimeError, TypeError, ValueError, zipfile.BadZipFile,
)  # fmt: skip
"""What torch's unpickler was seen to raise, or may, for a damaged file."""


def _config(asked: str, arguments: Mapping[Any, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    config: dict[str, Any] = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    for key, field in (*_ARGUMENTS.items(), ("vocab_size", "vocab_size")):
        value = arguments.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise CheckpointError(
                asked, f"its model_args[{key!r}] is {value!r}, no positive whole number", "Save the checkpoint again"
            )
        config[field] = value
    head, embedding = tensors.get("lm_head.weight"), tensors.get("transformer.wte.weight")
    tied = head is None or (embedding is not None and torch.equal(head, embedding))
    return config | {
        "n_inner": 4 * config["n_embd"],
        "bias": bool(arguments.get("bias", True)),
        "activation_function": "gelu",
        "layer_norm_epsilon": _LAYER_NORM_EPSILON,
        "tie_word_embeddings": tied,
    }
