"""LoRA adapters (peft directories) merged into a checkpoint: W + s B A, with s = alpha / r or alpha / sqrt(r).

It refuses what is not implemented (DoRA, initialisations that change the base weights...), pickled adapters, and
tensors that have no place in the base model. Source: Hu et al. 2021; for the root of the rank, Kalajdzievski 2023.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from assay.build.checkpoints.safetensors_file import SafetensorsFile, read_safetensors
from assay.build.config_fields import ConfigFields
from assay.build.families import family
from assay.build.files import read_json
from assay.core.canonical import digest, file_digest
from assay.core.errors import CheckpointError

if TYPE_CHECKING:
    from assay.build.checkpoints.base import Checkpoint
    from assay.build.tokenizers import Tokenizer
    from assay.core.records import ModelSource

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_LORA = re.compile(r"(?P<module>.+)\.(?P<kind>lora_(?:A|B|embedding_A|embedding_B))(?:\.default)?(?:\.weight)?")
_UNUSED = (
    "auto_mapping", "base_model_name_or_path", "eva_config", "exclude_modules", "inference_mode", "layers_pattern",
    "layers_to_transform", "lora_dropout", "megatron_core", "peft_version", "qalora_group_size", "revision",
    "runtime_config", "target_modules", "task_type",
)  # fmt: skip
"""Keys that say how the adapter was trained or where it was put: the tensors' names say that too."""
_OFF: Mapping[str, tuple[Any, str]] = {
    "use_dora": (False, "weight-decomposed adapters, DoRA"),
    "lora_bias": (False, "biases of the low-rank matrices"),
    "use_qalora": (False, "QALoRA"),
    "use_bdlora": (None, "block-diagonal adapters"),
    "layer_replication": (None, "repeated layers"),
    "trainable_token_indices": (None, "single trained tokens"),
    "target_parameters": (None, "adapted parameters without a module"),
    "alora_invocation_tokens": (None, "adapters that begin at a token, aLoRA"),
    "arrow_config": (None, "routed adapters"),
    "corda_config": (None, "an initialisation that changes the base weights"),
    "loftq_config": (None, "an initialisation that changes the base weights"),
    "lora_ga_config": (None, "an initialisation that changes the base weights"),
    "megatron_config": (None, "Megatron's layers"),
}
"""What alters the computation, and the value with which it does not."""
_PLAIN_INITIALISATIONS = (True, False, None, "gaussian", "eva", "orthogonal", "default")


@dataclass(frozen=True)
class _Config:
    """What of adapter_config.json shapes the sum."""

    rank: int
    alpha: float
    rslora: bool
    transposed: bool
    bias: str
    saved_modules: tuple[str, ...]
    ranks: Mapping[str, Any]
    alphas: Mapping[str, Any]

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> _Config:
        """Read adapter_config.json. Raises CheckpointError."""
        fields = ConfigFields("LoRA", {key: None if value == {} else value for key, value in config.items()}, _CONFIG)
        fields.choice("peft_type", ("LORA",))
        for key, (value, meaning) in _OFF.items():
            fields.only(key, value, meaning)
        if config.get("init_lora_weights", True) not in _PLAIN_INITIALISATIONS:
            fields.only("init_lora_weights", True, "an initialisation that changes the base weights")
        fields.ignore("init_lora_weights", "ensure_weight_tying", *_UNUSED)
        saved = fields.listed("modules_to_save")
        read = cls(
            rank=fields.integer("r"),
            alpha=fields.number("lora_alpha"),
            rslora=fields.flag("use_rslora", False),
            transposed=fields.flag("fan_in_fan_out", False),
            bias=fields.choice("bias", ("none", "all", "lora_only"), "none"),
            saved_modules=saved,
            ranks=fields.mapping("rank_pattern"),
            alphas=fields.mapping("alpha_pattern"),
        )
        fields.finish()
        return read

    def scale(self, module: str, rank: int) -> float:
        """What B A is multiplied by in a module."""
        alpha = _by_pattern(self.alphas, module, self.alpha)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            raise _refused(f"alpha_pattern has {alpha!r} for {module}, no number", "Correct adapter_config.json")
        return alpha / (math.sqrt(rank) if self.rslora else rank)


class AdaptedCheckpoint:
    """A checkpoint with an adapter merged in; see `checkpoints.base.Checkpoint`. Sums are taken when a tensor is read.

    Args:
        base: the model that the adapter was trained on; only the shapes can be checked.
        directory: with adapter_config.json and adapter_model.safetensors.

    Raises:
        CheckpointError: the adapter is missing, pickled, asks for what is not implemented, or does not fit the base.
    """

    def __init__(self, base: Checkpoint, directory: Path) -> None:
        self.base = base
        self.config = base.config
        self.directory = directory
        self._adapter = _Config.from_dict(read_json(directory / _CONFIG, "The adapter's config"))
        self._file: SafetensorsFile = _open_weights(directory)
        self._low_rank, self._replaced = self._sort_tensors()

    @cached_property
    def source(self) -> ModelSource:
        """The base's source, with the adapter in its digest."""
        adapter = digest({name: file_digest(self.directory / name) for name in (_CONFIG, _WEIGHTS)})
        source = self.base.source
        return source.model_copy(
            update={"adapter": str(self.directory), "digest": digest({"base": source.digest, "adapter": adapter})}
        )

    def tensor_names(self) -> tuple[str, ...]:
        """Names of the base: an adapter adds none."""
        return self.base.tensor_names()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor of the base."""
        return self.base.shape(name)

    def tensor(self, name: str) -> Tensor:
        """The base's tensor, the adapter's in its place, or the sum in float32."""
        if name in self._replaced:
            return self._file.tensor(self._replaced[name])
        tensor = self.base.tensor(name)
        if name not in self._low_rank:
            return tensor
        delta = self._delta(name)
        if tuple(delta.shape) != tuple(tensor.shape):
            raise _refused(
                f"B A for {name!r} has shape {list(delta.shape)}, the base's tensor {list(tensor.shape)}",
                "Name the model that the adapter was trained on",
            )
        return delta.add_(tensor)

    def tokenizer(self) -> Tokenizer:
        """The base's."""
        return self.base.tokenizer()

    def close(self) -> None:
        """Let go of the base's files."""
        self.base.close()

    def _delta(self, name: str) -> Tensor:
        """s B A in the orientation in which the base stores the tensor, float32."""
        pair = self._low_rank[name]
        a, b = (self._file.tensor(stored).to(torch.float32) for stored in pair)
        rank = a.shape[0]
        module = name.removesuffix(".weight")
        expected = _by_pattern(self._adapter.ranks, module, self._adapter.rank)
        if a.ndim != 2 or b.ndim != 2 or b.shape[1] != rank or rank != expected:
            raise _refused(
                f"{pair[0]} has shape {list(a.shape)} and {pair[1]} {list(b.shape)}, with a rank of {expected}",
                "Use the adapter_config.json that was saved with these tensors",
            )
        delta = (b @ a).mul_(self._adapter.scale(module, rank))
        return delta.t().contiguous() if "embedding" in pair[0] or name in self._stored_transposed else delta

    @cached_property
    def _stored_transposed(self) -> frozenset[str]:
        """The base's names of tensors that are stored as `[in, out]`."""
        kind = family(self.config.get("model_type"))
        names = kind.transposed_tensors(kind.Config.from_dict(self.config))
        return names | {name.removeprefix(kind.BASE_PREFIX) for name in names}

    def _sort_tensors(self) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
        """By the base's names: pairs of low rank (A, B), and tensors that take the base's place."""
        halves: dict[str, dict[str, str]] = {}
        replaced: dict[str, str] = {}
        for stored in self._file.tensors:
            low_rank = _LORA.fullmatch(stored)
            if low_rank is not None:
                halves.setdefault(self._base_name(low_rank["module"], stored), {})[low_rank["kind"][-1]] = stored
            else:
                replaced[self._whole(stored)] = stored
        for name, half in halves.items():
            if half.keys() != {"A", "B"}:
                lacking = "B" if "A" in half else "A"
                raise _refused(f"{name} has no lora_{lacking}", "Download the adapter again")
        pairs = {name: (half["A"], half["B"]) for name, half in halves.items()}
        if not pairs and not replaced:
            raise _refused(f"{self._file.path} holds no tensor of an adapter", "Check the directory")
        self._refuse_contradictions(pairs, replaced)
        return pairs, replaced

    def _refuse_contradictions(self, pairs: Iterable[str], replaced: Iterable[str]) -> None:
        if self._adapter.transposed and not self._stored_transposed.intersection(pairs):
            raise _refused(
                "fan_in_fan_out = true, but no adapted tensor of this family is stored as [in, out]",
                "Name the model that the adapter was trained on",
            )
        ends = [name for name in (*pairs, *replaced) if re.search(r"(embed_tokens|wte|lm_head)\.weight$", name)]
        if ends and self.config.get("tie_word_embeddings", family_ties(self.config)):
            raise _refused(
                f"it changes {ends[0]!r}, which is embedding and head of this model: what the other becomes is unsaid",
                "Merge it with peft, or untie them first",
            )

    def _whole(self, stored: str) -> str:
        """The base's name of a tensor that replaces it. Raises CheckpointError where the config says nothing of it."""
        bare = re.sub(r"\.(modules_to_save(\.default)?|base_layer|original_module)(?=\.)", "", stored)
        module, _, leaf = bare.removeprefix(_PREFIX).rpartition(".")
        saved = any(f".{name}." in f".{module}." for name in self._adapter.saved_modules)
        embedding = ".base_layer." in stored or module.endswith(("embed_tokens", "lm_head", "wte"))
        if "lora_" in stored or not (saved or embedding or (leaf == "bias" and self._adapter.bias != "none")):
            raise _refused(
                f"the tensor {stored!r} is neither of low rank nor announced by modules_to_save or bias",
                "Use the adapter_config.json that was saved with these tensors",
            )
        name = self._base_name(module, stored, leaf)
        shape = self._file.tensors[stored].shape
        if tuple(shape) != tuple(self.base.shape(name)):
            raise _refused(
                f"the tensor {stored!r} has shape {list(shape)}, the base's {list(self.base.shape(name))}",
                "Name the model that the adapter was trained on; an enlarged vocabulary is not implemented",
            )
        return name

    def _base_name(self, module: str, stored: str, leaf: str = "weight") -> str:
        plain = f"{module.removeprefix(_PREFIX).removesuffix('.base_layer')}.{leaf}"
        prefix = family(self.config.get("model_type")).BASE_PREFIX
        names = self._base_names
        for name in (plain, plain.removeprefix(prefix), prefix + plain):
            if name in names:
                return name
        raise _refused(
            f"the tensor {stored!r} has no counterpart in the base model", "Name the model that it was trained on"
        )

    @cached_property
    def _base_names(self) -> frozenset[str]:
        return frozenset(self.base.tensor_names())


def family_ties(config: Mapping[str, Any]) -> bool:
    """Whether head and embedding are one weight where config.json does not say."""
    kind = family(config.get("model_type"))
    return bool(getattr(kind.Config.from_dict(config), "tie_word_embeddings", False))


def _open_weights(directory: Path) -> SafetensorsFile:
    if not (directory / _WEIGHTS).is_file() and (directory / "adapter_model.bin").is_file():
        raise _refused(
            "its weights are pickled (adapter_model.bin), and a pickle can run any code",
            "Save it again with peft: model.save_pretrained(directory, safe_serialization=True)",
        )
    return read_safetensors(directory / _WEIGHTS)


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """The value of the first pattern that the end of a module's name matches, as peft looks it up."""
    for pattern, value in patterns.items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error as error:
            raise _refused(f"{pattern!r} is no pattern ({error})", "Correct adapter_config.json") from error
    return default


def _refused(found: str, remedy: str) -> CheckpointError:
    return CheckpointError("merge a LoRA adapter", found, remedy)
