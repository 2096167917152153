"""Assay: build every variant of a language model, measure it honestly, and keep the decision with its number.

`assay.run(study)`, `assay.compare(first, second, model=...)`, `assay.compare(callable, callable)`,
`assay.compare_commands(command, command)`, `assay.load(model, variant)`, `assay.audit(file)`. Nothing heavy is imported
before one of these is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.api import LoadedModel, audit, compare, compare_commands, load, run, variant_of

__all__ = ["LoadedModel", "audit", "compare", "compare_commands", "load", "run", "variant_of"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    from assay import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
