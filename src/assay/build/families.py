"""Find a model family by `model_type` and fill its model from a checkpoint; it refuses tensors that do not fit.

A family is a file of `build/models`; its name is the `model_type` of config.json. It is imported when asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from assay.build import models
from assay.build.dispatches import count_dispatches
from assay.build.nn.empty import empty_modules
from assay.build.nn.kv_cache import Kind, KVCache
from assay.core.errors import CheckpointError, UnknownArchitectureError
from assay.core.records import Contract, ModelSource

_HEAD = "lm_head"
"""The module of every family that gives the logits."""
_HEADS = (_HEAD, "embed_out")
"""What checkpoints call it."""


class LanguageModel(Protocol):
    """What every family's `Model` can do; it is an `nn.Module`."""

    def __call__(
        self,
        tokens_BT: Tensor,
        cache: KVCache | None = None,
        last_only: bool = False,
        padding_B: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, T, V]`, or `[B, 1, V]` of the last token; `nn.padding` tells what `padding_B` is."""

    def new_cache(
        self, batch: int, capacity: int, dtype: torch.dtype, device: torch.device | str, kind: Kind = "static"
    ) -> KVCache:
        """An empty cache that fits the model; layers with a window have a sliding one, whatever the kind."""


class Family(Protocol):
    """A module of `build/models`."""

    BASE_PREFIX: str
    IGNORED_TENSORS: tuple[str, ...]
    Config: Any
    Model: Callable[[Any], nn.Module]

    def contract(self, config: Any, dtype: str) -> Contract:
        """What every part of a bundle must agree on."""

    def transposed_tensors(self, config: Any) -> frozenset[str]:
        """Names of tensors that checkpoints store as `[in, out]`."""


class TensorSource(Protocol):
    """The part of a checkpoint that a model is filled from, under Hugging Face names and orientation."""

    @property
    def source(self) -> ModelSource:
        """Where the weights come from."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Content of config.json."""

    def tensor_names(self) -> Iterable[str]:
        """Names of all tensors."""

    def tensor(self, name: str) -> Tensor:
        """One tensor."""


def family_names() -> tuple[str, ...]:
    """Every `model_type` that Assay has a model for."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(models.__path__)))


def family(model_type: object) -> Family:
    """The family of this `model_type`. Raises UnknownArchitectureError."""
    if model_type not in family_names():
        raise UnknownArchitectureError(
            f"build a model of model_type {model_type!r}",
            "Assay has no such family",
            f"Use a checkpoint of one of: {', '.join(family_names())}",
        )
    return cast(Family, importlib.import_module(f"{models.__name__}.{model_type}"))


def check_config(config: Mapping[str, Any]) -> None:
    """Read a config.json as its family does, for the errors and the warnings alone.

    Raises:
        UnknownArchitectureError: no family has this `model_type`.
        CheckpointError: config.json is wrong or asks for what is not implemented.
    """
    family(config.get("model_type")).Config.from_dict(config)


def tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a checkpoint with this config.json must hold; a tied head is not among them.

    Raises:
        CheckpointError: config.json is wrong or asks for what is not implemented.
    """
    kind = family(config.get("model_type"))
    parsed = kind.Config.from_dict(config)
    with empty_modules():
        model = kind.Model(parsed)
    return _stored_shapes(model, kind.transposed_tensors(parsed))


def dispatches(config: Mapping[str, Any]) -> dict[str, int]:
    """Operations of one forward: of one token (`step`) and of several at once (`prompt`), counted without memory."""
    kind = family(config.get("model_type"))
    parsed = kind.Config.from_dict(config)
    with empty_modules():
        model = kind.Model(parsed)
    contract = kind.contract(parsed, "float32")
    cached, behind = not contract.is_encoder, contract.head == "encoder_decoder"
    return {"step": count_dispatches(model, 1, cached, behind), "prompt": count_dispatches(model, 2, cached)}


def build_model(checkpoint: TensorSource) -> nn.Module:
    """The checkpoint's model in float32, with memory of its own.

    Raises:
        UnknownArchitectureError: no family has this `model_type`.
        CheckpointError: a tensor is missing, superfluous or of the wrong shape, or config.json is wrong.
    """
    config = checkpoint.config
    kind = family(config.get("model_type"))
    parsed = kind.Config.from_dict(config)
    with empty_modules():
        model = kind.Model(parsed)
    asked = f"fill a {config['model_type']} model from {checkpoint.source.location}"
    wanted = _stored_shapes(model, kind.transposed_tensors(parsed))
    stored = _match_names(asked, kind, wanted, tuple(checkpoint.tensor_names()))
    filled: dict[str, Tensor] = {}
    for name, shape in wanted.items():
        tensor = checkpoint.tensor(stored[name])
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                asked,
                f"the tensor {stored[name]!r} has shape {list(tensor.shape)}, config.json implies {list(shape)}",
                "Use the config.json that was saved with these weights",
            )
        oriented = tensor.t() if name in kind.transposed_tensors(parsed) else tensor
        filled[name] = torch.empty(oriented.shape, dtype=torch.float32).copy_(oriented)
    if "lm_head.weight" in stored and "lm_head.weight" not in filled:
        head = model.get_parameter("lm_head.weight")
        embedding = next(filled[name] for name, parameter in model.named_parameters() if parameter is head)
        _check_tied_head(asked, checkpoint.tensor(stored["lm_head.weight"]), embedding)
    assign(model, filled)
    return model.eval()


def _stored_shapes(model: nn.Module, transposed: frozenset[str]) -> dict[str, tuple[int, ...]]:
    """Names and stored shapes of a model's parameters; a shared one counts once, under its first name."""
    return {
        name: tuple(reversed(parameter.shape)) if name in transposed else tuple(parameter.shape)
        for name, parameter in model.named_parameters()
    }


def assign(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors in the place of the parameters of these names; a shared parameter stays shared."""
    parameters = dict(model.named_parameters())
    replaced = {id(parameters[name]): nn.Parameter(found, requires_grad=False) for name, found in tensors.items()}
    for module in model.modules():
        for leaf, old in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(old) in replaced:
                setattr(module, leaf, replaced[id(old)])


def _match_names(
    asked: str, kind: Family, wanted: Mapping[str, tuple[int, ...]], names: tuple[str, ...]
) -> dict[str, str]:
    """From the model's names to the checkpoint's. Raises CheckpointError that names what is missing or superfluous."""
    bare = not any(name.startswith(kind.BASE_PREFIX) for name in names)
    stored = {}
    for name in names:
        module, _, leaf = name.rpartition(".")
        head = module in _HEADS
        stored[f"{_HEAD}.{leaf}" if head else kind.BASE_PREFIX + name if bare else name] = name
    missing = [name for name in wanted if name not in stored]
    superfluous = [
        stored[name]
        for name in stored
        if name not in wanted
        and name != f"{_HEAD}.weight"
        and not any(fnmatchcase(stored[name], pattern) for pattern in kind.IGNORED_TENSORS)
    ]
    for problem, found in (("lacks", missing), ("also has", superfluous)):
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise CheckpointError(
                asked,
                f"the checkpoint {problem} {', '.join(found[:3])}{more}",
                "Use the config.json that was saved with these weights",
            )
    return stored


def _check_tied_head(asked: str, head: Tensor, embedding: Tensor) -> None:
    """A checkpoint may repeat a tied head, but not contradict the embedding."""
    if head.shape != embedding.shape or not torch.equal(head.to(torch.float32), embedding):
        raise CheckpointError(
            asked,
            "config.json ties the head to the embedding, but lm_head.weight differs from it",
            "Set tie_word_embeddings = false in config.json if the head is a weight of its own",
        )
