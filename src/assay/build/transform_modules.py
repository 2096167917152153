"""Give a model that is being loaded the structure that its transforms gave it; it refuses transforms it cannot find."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Sequence
from typing import Any, Protocol, cast

from pydantic import ValidationError
from torch import nn

from assay.build import transforms
from assay.build.local_transforms import local_transform
from assay.core.errors import TransformError
from assay.core.experiment_file import is_local
from assay.core.records import Change, TransformSpec


class Transform(Protocol):
    """A module of `build/transforms`."""

    Options: Any

    def apply(self, model: nn.Module, options: Any) -> Change:
        """Change the model in place and report what changed."""

    def planned(self, model: nn.Module, options: Any) -> tuple[str, ...]:
        """Names of what `apply` would change, from shapes and types alone."""

    def restructure(self, model: nn.Module, options: Any, modules: Sequence[str]) -> None:
        """Give a model without weights the same modules as `apply` did."""


def transform(kind: str) -> Transform:
    """The transform of this kind. Raises TransformError."""
    if is_local(kind):
        return local_transform(kind)
    known = sorted(module.name for module in pkgutil.iter_modules(transforms.__path__))
    if kind not in known:
        raise TransformError(f"find the transform {kind!r}", "there is none", f"Known ones: {', '.join(known)}")
    return cast(Transform, importlib.import_module(f"{transforms.__name__}.{kind}"))


def restructure(model: nn.Module, spec: TransformSpec, modules: Sequence[str]) -> None:
    """Repeat what a transform did to the structure of a model. Raises TransformError."""
    found = transform(spec.kind)
    found.restructure(model, _options(found, spec, "Build the artifact again with this version"), modules)


def plan(model: nn.Module, spec: TransformSpec) -> tuple[str, ...]:
    """Give a model without memory the structure that a transform will give it; the names of what changes.

    Raises:
        TransformError: wrong options, or what `apply` would refuse by shapes and types.
    """
    found = transform(spec.kind)
    options = _options(found, spec, f"Its options: {', '.join(found.Options.model_fields) or 'none'}")
    names = found.planned(model, options)
    found.restructure(model, options, names)
    return names


def _options(found: Transform, spec: TransformSpec, remedy: str) -> Any:
    try:
        return found.Options.model_validate_json(json.dumps(dict(spec.options)))
    except ValidationError as error:
        raise TransformError(f"read the options of {spec.kind}", str(error), remedy) from error
