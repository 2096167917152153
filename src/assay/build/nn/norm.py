"""Root-mean-square norms, computed in float32 whatever the type of their input; they refuse nothing.

Shape suffixes: B batch, T tokens, D model dim.
"""

from __future__ import annotations

from typing import Literal

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
        self._eps = torch.tensor(eps, dtype=torch.float32, device="cpu")

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalise `[B, T, D]`; the product with the weight is taken in the type of the input."""
        if self._eps.device != x_BTD.device:
            self._eps = self._eps.to(x_BTD.device)
        # As few operations as eager torch allows: in a decode step their dispatch costs more than their arithmetic.
        x32_BTD = x_BTD.float()
        length_BT1 = torch.linalg.vector_norm(x32_BTD, dim=-1, keepdim=True)
        mean_square_BT1 = torch.addcmul(self._eps, length_BT1, length_BT1, value=1.0 / x_BTD.shape[-1])
        out_BTD: Tensor = (x32_BTD * mean_square_BT1.rsqrt_()).to(x_BTD.dtype) * self.weight
        return out_BTD


class WideRMSNorm(nn.Module):
    """(offset + weight) * x / sqrt(mean(x^2) + eps), all of it in float32, as the Gemma families take it.

    Args:
        size: length of the last dimension.
        eps: `rms_norm_eps` of config.json.
        offset: what is added to the stored weight: Gemma 2 and 3 store it around 0, the later ones around 1.
        scaled: without it there is no weight.
    """

    weight: nn.Parameter | None

    def __init__(self, size: int, eps: float, offset: Literal[0, 1] = 0, scaled: bool = True) -> None:
        super().__init__()
        self.register_parameter("weight", nn.Parameter(torch.ones(size)) if scaled else None)
        self._eps = torch.tensor(eps, dtype=torch.float32, device="cpu")
        self._offset = offset

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalise the last dimension of `[..., D]`."""
        if self._eps.device != x_BTD.device:
            self._eps = self._eps.to(x_BTD.device)
        x32_BTD = x_BTD.float()
        length_BT1 = torch.linalg.vector_norm(x32_BTD, dim=-1, keepdim=True)
        mean_square_BT1 = torch.addcmul(self._eps, length_BT1, length_BT1, value=1.0 / x_BTD.shape[-1])
        normed_BTD = x32_BTD * mean_square_BT1.rsqrt_()
        if self.weight is not None:
            weight_D = self.weight.float()
            # One operation either way: x + x w is (1 + w) x.
            normed_BTD = torch.addcmul(normed_BTD, normed_BTD, weight_D) if self._offset else normed_BTD * weight_D
        return normed_BTD.to(x_BTD.dtype)
