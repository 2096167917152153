"""Root-mean-square norm, computed in float32 whatever the type of its input; it refuses nothing.

Shape suffixes: B batch, T tokens, D model dim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """weight * x / sqrt(mean(x^2) + eps) over the last dimension (Zhang and Sennrich 2019).

    Args:
        size: length of the last dimension.
        eps: `rms_norm_eps` of config.json.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalise `[B, T, D]`; the product with the weight is taken in the type of the input."""
        # One reduction instead of square and mean: a decomposed norm costs more dispatches than arithmetic.
        length_BT1 = torch.linalg.vector_norm(x_BTD, dim=-1, keepdim=True, dtype=torch.float32)
        scale_BT1 = (length_BT1 * length_BT1).mul_(1.0 / x_BTD.shape[-1]).add_(self.eps).rsqrt_()
        out_BTD: Tensor = (x_BTD * scale_BT1).to(x_BTD.dtype) * self.weight
        return out_BTD
