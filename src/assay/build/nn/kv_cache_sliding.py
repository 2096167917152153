"""A key-value cache for layers that see a window of the newest tokens; it refuses a rewind behind what it still holds.

Shape suffixes: B batch, G key-value heads, T new tokens, S tokens seen, C slots, H head dim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from assay.build.nn.kv_cache import check_capacity, check_rewind
from assay.core.errors import ContractError

SLACK = 64
"""Tokens behind the window that are kept, so that as many can be forgotten again: a rejected draft is shorter."""


class SlidingKVCache:
    """The newest tokens of every layer, in a buffer that wraps: where it is full, its newest tokens move to the front.

    A classic ring overwrites slot by slot, and its keys then lie in two pieces, out of order. This one moves window +
    slack tokens once in a while, so that every read is one view, in the order of positions, as attention wants it.

    Args:
        num_layers: layers of the model that have this window.
        batch: sequences in parallel.
        capacity: tokens per sequence; the buffer is never larger.
        num_kv_heads: `num_key_value_heads`.
        head_dim: H.
        dtype: type of keys and values.
        device: where they are.
        window: tokens that a query sees, itself among them.
        slack: a rewind by as many tokens, from the furthest that was written, is always possible; `SLACK` unless given.
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
        *,
        window: int,
        slack: int | None = None,
    ) -> None:
        self._before = window - 1
        self._kept = self._before + (SLACK if slack is None else slack)
        # The wider the room, the rarer the moves: a quarter of what is moved costs four copies of a token for each.
        slots = min(self._kept + max(self._kept // 4, 1), capacity)
        shape = (batch, num_kv_heads, slots, head_dim)
        self._keys = [torch.full(shape, 0, dtype=dtype, device=device) for _ in range(num_layers)]
        self._values = [torch.full(shape, 0, dtype=dtype, device=device) for _ in range(num_layers)]
        self._first = [0] * num_layers
        self._slots = slots
        self._length = 0
        self.window = window
        self.capacity = capacity

    @property
    def kind(self) -> str:
        """See `KVCache`."""
        return f"sliding {self.window}"

    @property
    def length(self) -> int:
        """See `KVCache`."""
        return self._length

    @property
    def nbytes(self) -> int:
        """See `KVCache`."""
        return sum(tensor.nbytes for tensor in (*self._keys, *self._values))

    def update(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """See `KVCache`: S is at most window - 1 + T."""
        tokens = k_BGTH.shape[2]
        check_capacity(self._length + tokens, self.capacity)
        held = self._length - self._first[layer]
        if held < min(self._length, self._before):
            raise ContractError(
                f"go on after {self._length} tokens",
                "a pass that was not finished has overwritten tokens that the next one would see",
                "Rewind to 0 and read the sequence again",
            )
        seen = min(held, self._before) + tokens
        keys, values = self._keys[layer], self._values[layer]
        end = held + tokens
        if end <= self._slots:
            keys.narrow(2, held, tokens).copy_(k_BGTH)
            values.narrow(2, held, tokens).copy_(v_BGTH)
            return keys.narrow(2, end - seen, seen), values.narrow(2, end - seen, seen)
        kept = min(held, self._kept)
        all_keys = torch.cat((keys.narrow(2, held - kept, kept), k_BGTH), dim=2)
        all_values = torch.cat((values.narrow(2, held - kept, kept), v_BGTH), dim=2)
        end = kept + tokens
        stored = min(end, self._slots)
        keys.narrow(2, 0, stored).copy_(all_keys.narrow(2, end - stored, stored))
        values.narrow(2, 0, stored).copy_(all_values.narrow(2, end - stored, stored))
        self._first[layer] = self._length + tokens - stored
        return all_keys.narrow(2, end - seen, seen), all_values.narrow(2, end - seen, seen)

    def advance(self, tokens: int) -> None:
        """See `KVCache`."""
        check_capacity(self._length + tokens, self.capacity)
        self._length += tokens

    def can_rewind(self, length: int) -> bool:
        """See `KVCache`: the tokens before `length` that the next one sees must still be there."""
        if not 0 <= length <= self._length:
            return False
        return length == 0 or length - max(self._first) >= min(length, self._before)

    def rewind(self, length: int) -> None:
        """See `KVCache`."""
        check_rewind(self, length)
        if length == 0:
            self._first = [0] * len(self._first)
        self._length = length
