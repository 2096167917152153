"""Counts the operations that one call launches, from shapes alone. It refuses to compute: nothing has memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_FREE = frozenset({"aten::detach", "aten::_unsafe_view"})
"""They only describe memory anew, as views do."""


def count_dispatches(model: nn.Module, tokens: int, cached: bool = True, behind: bool = False) -> int:
    """ATen operations but views that one forward of `tokens` tokens into an empty cache dispatches, but the first.

    Args:
        model: of one of the families, on the meta device (`empty_modules`), with plain layers.
        tokens: of the one sequence.
        behind: count the pass that follows the first one, and not the first one again: an encoder-decoder's step.
        cached: whether the model reads through a KV cache; an encoder does not.
    """
    made: Any = model
    counter = _Counter()
    with torch.no_grad(), torch.device("meta"), _AttentionAsOne():
        given = torch.zeros((1, tokens), dtype=torch.int64)
        if not cached:
            with counter:
                made(given)
            return counter.count
        cache = made.new_cache(1, 2 * tokens, next(model.parameters()).dtype, "meta")
        made(given, cache, last_only=True)  # the first pass fills tables and moves constants
        if not behind:
            cache.rewind(0)
        with counter:
            made(given, cache, last_only=True)
    return counter.count


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: to skip torch's compiler would import it, which takes seconds and 100 MB in every worker."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and func.name().partition(".")[0] not in _FREE:
            self.count += 1
        return func(*args, **(kwargs or {}))


class _AttentionAsOne(TorchFunctionMode):
    """Attention is one kernel on every device but meta, where torch takes it apart."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))
