"""Key-value caches of one shape for all layers; they refuse tokens beyond the capacity and rewinds beyond the length.

Every cache returns the newest S of the positions held, in order, and the queries of a pass are the last T of them: so
attention needs no other word about where the keys lie, and a window is the same band whatever S is.
Windows are in `kv_cache_sliding`, layers that differ or share in `kv_cache_layers`.

Shape suffixes: B batch, G key-value heads, T new tokens, S tokens seen, C capacity, H head dim.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from assay.core.errors import ContractError

Kind = Literal["static", "growing"]
"""How a cache takes its memory."""


class KVCache(Protocol):
    """Keys and values of a sequence. A forward pass calls `update` once per layer and `advance` once at its end.

    After a pass that ends before `advance` a cache holds what it held, or refuses to go on until it is rewound to 0.
    """

    @property
    def kind(self) -> str:
        """What it is, for facts: `static`, `growing`, `sliding 512`, or several of them."""

    @property
    def capacity(self) -> int:
        """Tokens per sequence, at most."""

    @property
    def length(self) -> int:
        """Tokens in the sequence, those that a window has left behind included."""

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""

    def update(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """Write T tokens behind the held ones and return all that they may see, `[B, G, S, H]`.

        The length changes only with `advance`.

        Raises:
            ContractError: the tokens do not fit the capacity.
        """

    def advance(self, tokens: int) -> None:
        """Keep the first `tokens` that the last pass wrote. Raises ContractError."""

    def can_rewind(self, length: int) -> bool:
        """Whether `rewind(length)` is possible; back to 0 it always is."""

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens.

        Raises:
            ContractError: `length` is negative or more than the cache holds, or a window has left behind what the next
                token would see.
        """


class StaticKVCache:
    """Keys and values of every layer, allocated once.

    Args:
        num_layers: layers of the model.
        batch: sequences in parallel.
        capacity: tokens per sequence.
        num_kv_heads: `num_key_value_heads`.
        head_dim: H.
        dtype: type of keys and values.
        device: where they are.
    """

    kind = "static"

    def __init__(
        self,
        num_layers: int,
        batch: int,
        capacity: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch, num_kv_heads, capacity, head_dim)
        # Written and not only reserved: memory must be there before anything is timed.
        self._keys = [torch.full(shape, 0, dtype=dtype, device=device) for _ in range(num_layers)]
        self._values = [torch.full(shape, 0, dtype=dtype, device=device) for _ in range(num_layers)]
        self.capacity = capacity
        self._length = 0

    @property
    def length(self) -> int:
        """See `KVCache`."""
        return self._length

    @property
    def nbytes(self) -> int:
        """See `KVCache`."""
        return sum(tensor.nbytes for tensor in (*self._keys, *self._values))

    def update(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """See `KVCache`; what it returns are views of the cache."""
        tokens = k_BGTH.shape[2]
        end = self._length + tokens
        check_capacity(end, self.capacity)
        keys, values = self._keys[layer], self._values[layer]
        keys.narrow(2, self._length, tokens).copy_(k_BGTH)
        values.narrow(2, self._length, tokens).copy_(v_BGTH)
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def advance(self, tokens: int) -> None:
        """See `KVCache`."""
        check_capacity(self._length + tokens, self.capacity)
        self._length += tokens

    def can_rewind(self, length: int) -> bool:
        """See `KVCache`."""
        return 0 <= length <= self._length

    def rewind(self, length: int) -> None:
        """See `KVCache`."""
        check_rewind(self, length)
        self._length = length


class GrowingKVCache:
    """Keys and values of every layer, in memory that grows by `STEP` tokens when it is full and is never given back.

    Growing copies what is held, in the midst of a pass: what it saves in memory it costs in evenness of time.
    The arguments are those of `StaticKVCache`; `capacity` is a limit and nothing is allocated for it.
    """

    kind = "growing"
    STEP = 256

    def __init__(
        self,
        num_layers: int,
        batch: int,
        capacity: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        empty = torch.empty((batch, num_kv_heads, 0, head_dim), dtype=dtype, device=device)
        self._keys = [empty] * num_layers
        self._values = [empty] * num_layers
        self.capacity = capacity
        self._length = 0

    @property
    def length(self) -> int:
        """See `KVCache`."""
        return self._length

    @property
    def nbytes(self) -> int:
        """See `KVCache`."""
        return sum(tensor.nbytes for tensor in (*self._keys, *self._values))

    def update(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """See `KVCache`; what it returns are views of the cache."""
        tokens = k_BGTH.shape[2]
        end = self._length + tokens
        check_capacity(end, self.capacity)
        if end > self._keys[layer].shape[2]:
            self._keys[layer] = self._grown(self._keys[layer], end)
            self._values[layer] = self._grown(self._values[layer], end)
        keys, values = self._keys[layer], self._values[layer]
        keys.narrow(2, self._length, tokens).copy_(k_BGTH)
        values.narrow(2, self._length, tokens).copy_(v_BGTH)
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def advance(self, tokens: int) -> None:
        """See `KVCache`."""
        check_capacity(self._length + tokens, self.capacity)
        self._length += tokens

    def can_rewind(self, length: int) -> bool:
        """See `KVCache`."""
        return 0 <= length <= self._length

    def rewind(self, length: int) -> None:
        """See `KVCache`; the memory stays."""
        check_rewind(self, length)
        self._length = length

    def _grown(self, held_BGCH: Tensor, end: int) -> Tensor:
        batch, heads, _, width = held_BGCH.shape
        size = min(-(-end // self.STEP) * self.STEP, self.capacity)
        grown_BGCH = held_BGCH.new_zeros((batch, heads, size, width))
        grown_BGCH.narrow(2, 0, self._length).copy_(held_BGCH.narrow(2, 0, self._length))
        return grown_BGCH


class PassKVCache:
    """No cache: keys and values are seen by the pass that made them and by none after it."""

    kind = "none"
    capacity = 0
    length = 0
    nbytes = 0

    def update(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens as they came."""
        return k_BGTH, v_BGTH

    def advance(self, tokens: int) -> None:
        """Nothing is kept."""

    def can_rewind(self, length: int) -> bool:
        """See `KVCache`."""
        return length == 0

    def rewind(self, length: int) -> None:
        """See `KVCache`."""
        check_rewind(self, length)


def check_capacity(end: int, capacity: int) -> None:
    """Raise ContractError where `end` tokens do not fit."""
    if end > capacity:
        raise ContractError(
            f"hold {end} tokens in the KV cache",
            f"its capacity is {capacity}",
            "Open the session with a larger capacity, or ask for fewer tokens",
        )


def check_rewind(cache: KVCache, length: int) -> None:
    """Raise ContractError where `cache` cannot be rewound to `length`."""
    if cache.can_rewind(length):
        return
    if 0 <= length <= cache.length:
        raise ContractError(
            f"rewind the KV cache to {length} tokens",
            f"it holds {cache.length}, and its window ({cache.kind}) has left behind what the next token would see",
            "Rewind by fewer tokens, or to 0 and read the sequence again",
        )
    raise ContractError(
        f"rewind the KV cache to {length} tokens", f"it holds {cache.length}", f"Rewind to 0..{cache.length}"
    )
