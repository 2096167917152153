"""Choose modules by class and by name; it refuses a selection that is empty.

Names are matched with shell patterns, where `*` also crosses dots: `model.layers.*`, `*.down_proj`, `lm_head`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from assay.core.errors import TransformError


def select(
    model: nn.Module,
    classes: tuple[type[nn.Module], ...] = (nn.Linear,),
    names: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
) -> dict[str, nn.Module]:
    """Modules that are of one of `classes` exactly, match one of `names` and none of `exclude`, in the model's order.

    Raises:
        TransformError: nothing was selected, or a pattern of `names` matches no module of these classes.
    """
    candidates = {name: module for name, module in model.named_modules() if type(module) in classes}
    asked = f"select {' or '.join(kind.__name__ for kind in classes)} modules by {', '.join(names)}"
    for pattern in names:
        if not any(fnmatchcase(name, pattern) for name in candidates):
            raise TransformError(asked, f"{pattern!r} matches none of {len(candidates)} modules", _remedy(candidates))
    chosen = {
        name: module
        for name, module in candidates.items()
        if any(fnmatchcase(name, pattern) for pattern in names)
        and not any(fnmatchcase(name, pattern) for pattern in exclude)
    }
    if not chosen:
        raise TransformError(asked, f"the exclusion {', '.join(exclude)} leaves nothing", _remedy(candidates))
    return chosen


def linear_layer(model: nn.Module, name: str) -> nn.Linear:
    """The plain linear layer of this name. Raises TransformError where there is none."""
    module = dict(model.named_modules()).get(name)
    if not isinstance(module, nn.Linear):
        found = "there is no such module" if module is None else f"it is a {type(module).__name__}"
        raise TransformError(f"change the linear layer {name}", found, "Build the artifact again")
    return module


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where the module called `name` is."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _remedy(candidates: dict[str, nn.Module]) -> str:
    if not candidates:
        return "The model has no such modules left: an earlier transform may have changed them"
    return f"Names look like {', '.join(list(candidates)[:3])}"
