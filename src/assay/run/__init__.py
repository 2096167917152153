"""The second storey: an artifact becomes raw samples and facts.

The package is also the function `assay.run`: Python puts a subpackage in the place of a function of the same name as
soon as it is imported, so the subpackage answers calls.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run a study: see `assay.api.run`."""
        return importlib.import_module("assay.api").run(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
