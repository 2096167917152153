"""The KV cache of an encoder-decoder: the decoder's own keys beside those of the source, which are written once.

The sequence that it counts is the source followed by what the decoder was given behind its start token: so a session
over it goes on like any other. It refuses a second source before it is rewound to 0, and a rewind into the source.

Shape suffixes: B batch, N heads, S tokens of the source, T new tokens, H head dim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from assay.build.nn.kv_cache import GrowingKVCache, Kind, StaticKVCache, check_capacity
from assay.core.errors import ContractError


class EncoderDecoderKVCache:
    """See `KVCache`; `update` and `advance` are of the decoder's own keys, its start token included.

    Args:
        num_layers: layers of the decoder.
        batch: sequences in parallel.
        capacity: tokens of the source and behind it, together.
        num_heads: N.
        head_dim: H.
        dtype: type of keys and values.
        device: where they are.
        kind: how the decoder's own part takes its memory; the source's part is allocated at once if it is static.
    """

    def __init__(
        self,
        num_layers: int,
        batch: int,
        capacity: int,
        num_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        kind: Kind = "static",
    ) -> None:
        made = GrowingKVCache if kind == "growing" else StaticKVCache
        # One more than the capacity: the start token is no part of the sequence.
        self._own = made(num_layers, batch, capacity + 1, num_heads, head_dim, dtype, device)
        shape = (batch, num_heads, capacity if kind == "static" else 0, head_dim)
        self._keys = [torch.full(shape, 0, dtype=dtype, device=device) for _ in range(num_layers)]
        self._values = [torch.full(shape, 0, dtype=dtype, device=device) for _ in range(num_layers)]
        self.kind = f"{kind}, encoder-decoder"
        self.capacity = capacity
        self._source = 0
        self.source_bias: Tensor | None = None
        """Added to the scores of the source's keys, `[B, 1, 1, S]`: what hides its padding."""

    @property
    def length(self) -> int:
        """Tokens of the source, and of the decoder behind its start token."""
        return self._source + max(self._own.length - 1, 0)

    @property
    def decoded(self) -> int:
        """Tokens that the decoder holds, its start token included."""
        return self._own.length

    @property
    def nbytes(self) -> int:
        """See `KVCache`; of both parts."""
        return self._own.nbytes + sum(tensor.nbytes for tensor in (*self._keys, *self._values))

    def write_source(self, layer: int, k_BNSH: Tensor, v_BNSH: Tensor) -> None:
        """Keep a layer's keys and values of the source.

        Raises:
            ContractError: there is a source already, or it does not fit.
        """
        if self._source:
            raise ContractError(
                "write a source into the KV cache", f"it holds one of {self._source} tokens", "Rewind it to 0 first"
            )
        tokens = k_BNSH.shape[2]
        check_capacity(tokens, self.capacity)
        if self._keys[layer].shape[2] < tokens:
            self._keys[layer], self._values[layer] = torch.empty_like(k_BNSH), torch.empty_like(v_BNSH)
        self._keys[layer].narrow(2, 0, tokens).copy_(k_BNSH)
        self._values[layer].narrow(2, 0, tokens).copy_(v_BNSH)

    def keep_source(self, tokens: int, bias_B11S: Tensor | None) -> None:
        """Count the source that every layer has written."""
        self._source, self.source_bias = tokens, bias_B11S

    def source(self, layer: int) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of the source, `[B, N, S, H]`."""
        return self._keys[layer].narrow(2, 0, self._source), self._values[layer].narrow(2, 0, self._source)

    def update(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """See `KVCache`."""
        check_capacity(self.length + k_BGTH.shape[2] - (self._own.length == 0), self.capacity)
        return self._own.update(layer, k_BGTH, v_BGTH)

    def advance(self, tokens: int) -> None:
        """See `KVCache`."""
        self._own.advance(tokens)

    def can_rewind(self, length: int) -> bool:
        """See `KVCache`; not into the source."""
        return length == 0 or (self._source > 0 and self._source <= length <= self.length)

    def rewind(self, length: int) -> None:
        """See `KVCache`."""
        if not self.can_rewind(length):
            raise ContractError(
                f"rewind the KV cache to {length} tokens",
                f"it holds a source of {self._source}, which is read whole, and {self.length - self._source} behind it",
                f"Rewind to 0, or to {self._source}..{self.length}",
            )
        if length == 0:
            self._source, self.source_bias = 0, None
            self._own.rewind(0)
        else:
            self._own.rewind(length - self._source + 1)
