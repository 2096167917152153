"""A token embedding that is multiplied by a constant; it refuses nothing.

Shape suffixes: B batch, T tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ScaledEmbedding(nn.Embedding):
    """scale * weight[token], the scale rounded to the type of the weights first, as the Gemma families round it.

    Args:
        rows: tokens that have an embedding.
        width: D.
        scale: factor of every embedding.
    """

    def __init__(self, rows: int, width: int, scale: float) -> None:
        super().__init__(rows, width)
        self._scale = torch.tensor(scale, dtype=torch.float32, device="cpu")
        self._rounded: dict[torch.dtype, float] = {}

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Tokens `[B, T]` to `[B, T, D]`."""
        dtype = self.weight.dtype
        if dtype not in self._rounded:
            self._rounded[dtype] = float(self._scale.to(dtype))
        return super().forward(tokens_BT) * self._rounded[dtype]
