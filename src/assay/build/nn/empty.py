"""Models without memory or numbers, to be filled from a checkpoint; what is made here refuses to compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _NoInitialisation(TorchFunctionMode):
    """Skips `torch.nn.init`, which on the meta device computes nothing and imports the compiler (seconds, 100 MB)."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def empty_modules() -> Iterator[None]:
    """Modules made in this block have their parameters on the meta device, not initialised."""
    with torch.device("meta"), _NoInitialisation():
        yield
