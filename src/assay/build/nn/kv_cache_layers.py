"""Key-value caches of layers that differ, or that share; they refuse a set of parts that does not cover the layers.

Shape suffixes: B batch, G key-value heads, T new tokens, S tokens seen, H head dim.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from assay.build.nn.kv_cache import GrowingKVCache, Kind, KVCache, StaticKVCache, check_rewind
from assay.build.nn.kv_cache_sliding import SlidingKVCache


class MixedKVCache:
    """Each layer's keys and values in one of several caches, as local layers in a sliding and global ones in a static.

    Args:
        parts: caches, each with the layers of the model that it holds, in its own order.

    Raises:
        ValueError: a layer is in no part, or in two.
    """

    def __init__(self, parts: Sequence[tuple[KVCache, Sequence[int]]]) -> None:
        self._parts = tuple(cache for cache, layers in parts if layers)
        places = {layer: (cache, index) for cache, layers in parts for index, layer in enumerate(layers)}
        if sorted(places) != list(range(sum(len(layers) for _, layers in parts))):
            raise ValueError(f"the parts hold the layers {[list(layers) for _, layers in parts]}")
        self._places = [places[layer] for layer in range(len(places))]

    @property
    def kind(self) -> str:
        """See `KVCache`."""
        return ", ".join(part.kind for part in self._parts)

    @property
    def capacity(self) -> int:
        """See `KVCache`."""
        return min(part.capacity for part in self._parts)

    @property
    def length(self) -> int:
        """See `KVCache`."""
        return self._parts[0].length

    @property
    def nbytes(self) -> int:
        """See `KVCache`."""
        return sum(part.nbytes for part in self._parts)

    def update(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """See `KVCache`; S depends on the layer."""
        part, index = self._places[layer]
        return part.update(index, k_BGTH, v_BGTH)

    def advance(self, tokens: int) -> None:
        """See `KVCache`."""
        for part in self._parts:
            part.advance(tokens)

    def can_rewind(self, length: int) -> bool:
        """See `KVCache`."""
        return all(part.can_rewind(length) for part in self._parts)

    def rewind(self, length: int) -> None:
        """See `KVCache`: all parts or none."""
        check_rewind(self, length)
        for part in self._parts:
            part.rewind(length)


class SharedKVCache:
    """A cache of some layers, whose keys and values the other layers read too.

    Args:
        cache: of the layers that make keys and values, numbered without gaps.
        owners: for each layer of the model the layer whose keys and values it sees; its own number where it makes them.

    Raises:
        ValueError: an owner reads from another layer itself, or comes later.
    """

    def __init__(self, cache: KVCache, owners: Sequence[int]) -> None:
        if any(owner > layer or owners[owner] != owner for layer, owner in enumerate(owners)):
            raise ValueError(f"the layers read from {list(owners)}")
        own = [layer for layer, owner in enumerate(owners) if layer == owner]
        self._cache = cache
        self._owners = tuple(owners)
        self._index = {layer: index for index, layer in enumerate(own)}
        self._seen: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def kind(self) -> str:
        """See `KVCache`."""
        return f"{self._cache.kind}, shared by {len(self._owners) - len(self._index)} layers"

    @property
    def capacity(self) -> int:
        """See `KVCache`."""
        return self._cache.capacity

    @property
    def length(self) -> int:
        """See `KVCache`."""
        return self._cache.length

    @property
    def nbytes(self) -> int:
        """See `KVCache`: shared keys and values count once."""
        return self._cache.nbytes

    def update(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """See `KVCache`; `layer` makes keys and values of its own."""
        self._seen[layer] = self._cache.update(self._index[layer], k_BGTH, v_BGTH)
        return self._seen[layer]

    def reuse(self, layer: int) -> tuple[Tensor, Tensor]:
        """What the owner of `layer` saw in this pass, `[B, G, S, H]`; the owner must have been updated."""
        return self._seen[self._owners[layer]]

    def advance(self, tokens: int) -> None:
        """See `KVCache`."""
        self._seen.clear()
        self._cache.advance(tokens)

    def can_rewind(self, length: int) -> bool:
        """See `KVCache`."""
        return self._cache.can_rewind(length)

    def rewind(self, length: int) -> None:
        """See `KVCache`."""
        self._cache.rewind(length)


def new_kv_cache(
    kind: Kind,
    num_layers: int,
    batch: int,
    capacity: int,
    num_kv_heads: int,
    head_dim: int,
    dtype: torch.dtype,
    device: torch.device | str,
    window: int | None = None,
) -> KVCache:
    """An empty cache of layers that are alike. With a window it is a sliding one, which `kind` does not change.

    The arguments are those of `StaticKVCache`, and the window of the layers.
    """
    shape = (num_layers, batch, capacity, num_kv_heads, head_dim, dtype, device)
    if window is not None:
        return SlidingKVCache(*shape, window=window)
    return GrowingKVCache(*shape) if kind == "growing" else StaticKVCache(*shape)


def new_mixed_kv_cache(
    kind: Kind,
    windows: Sequence[int | None],
    batch: int,
    capacity: int,
    num_kv_heads: int,
    head_dim: int,
    dtype: torch.dtype,
    device: torch.device | str,
) -> KVCache:
    """An empty cache of layers that differ in their windows alone: `windows` has one for each, None for all tokens."""
    parts: list[tuple[KVCache, list[int]]] = []
    for window in dict.fromkeys(windows):
        layers = [layer for layer, found in enumerate(windows) if found == window]
        shape = (len(layers), batch, capacity, num_kv_heads, head_dim, dtype, device)
        parts.append((new_kv_cache(kind, *shape, window), layers))
    return parts[0][0] if len(parts) == 1 else MixedKVCache(parts)
