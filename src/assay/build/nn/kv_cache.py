"""A key-value cache of fixed capacity; it refuses tokens beyond the capacity and rewinds beyond the length.

Shape suffixes: B batch, G key-value heads, C capacity, H head dim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from assay.core.errors import ContractError


class StaticKVCache:
    """Keys and values of every layer, allocated once.

    A forward pass calls `update` once per layer and `advance` once at its end.

    Args:
        num_layers: layers of the model.
        batch: sequences in parallel.
        capacity: tokens per sequence.
        num_kv_heads: `num_key_value_heads`.
        head_dim: H.
        dtype: type of keys and values.
        device: where they are.
    """

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
        self.batch = batch
        self._length = 0

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._length

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(tensor.nbytes for tensor in (*self._keys, *self._values))

    def update(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """Write T tokens behind the held ones and return views of all of them, `[B, G, length + T, H]`.

        The length changes only with `advance`.

        Raises:
            ContractError: the tokens do not fit the capacity.
        """
        tokens = k_BGTH.shape[2]
        end = self._length + tokens
        self._check(end)
        keys, values = self._keys[layer], self._values[layer]
        keys.narrow(2, self._length, tokens).copy_(k_BGTH)
        values.narrow(2, self._length, tokens).copy_(v_BGTH)
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def advance(self, tokens: int) -> None:
        """Keep the `tokens` that the last pass wrote. Raises ContractError."""
        self._check(self._length + tokens)
        self._length += tokens

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens.

        Raises:
            ContractError: `length` is negative or more than the cache holds.
        """
        if not 0 <= length <= self._length:
            raise ContractError(
                f"rewind the KV cache to {length} tokens",
                f"it holds {self._length}",
                f"Rewind to 0..{self._length}",
            )
        self._length = length

    def _check(self, end: int) -> None:
        if end > self.capacity:
            raise ContractError(
                f"hold {end} tokens in the KV cache",
                f"its capacity is {self.capacity}",
                "Open the session with a larger capacity, or ask for fewer tokens",
            )
