"""From hidden states to one vector a sequence: the masked mean, or the first token. It refuses a sequence of no tokens.

Shape suffixes: B batch, T tokens, D model dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

POOLINGS = ("mean", "cls")


def key_mask(lengths_B: Tensor | None, tokens: int) -> Tensor | None:
    """Which keys are tokens and not padding, `[B, 1, 1, T]`; None where every row is full.

    Args:
        lengths_B: tokens of each row; what follows them is padding.
        tokens: T, of the longest row.
    """
    if lengths_B is None:
        return None
    return (torch.arange(tokens, device=lengths_B.device) < lengths_B[:, None])[:, None, None, :]


def sentence_embedding(x_BTD: Tensor, lengths_B: Tensor | None, pooling: str) -> Tensor:
    """Unit vectors `[B, D]` in float32, as sentence-transformers makes them: pooled, then normalised.

    Args:
        x_BTD: last hidden states.
        lengths_B: tokens of each row; None where every row is full.
        pooling: `mean` over the tokens that are no padding, or `cls`, the first.
    """
    x_BTD = x_BTD.float()
    if pooling == "cls":
        pooled_BD = x_BTD[:, 0]
    elif lengths_B is None:
        pooled_BD = x_BTD.mean(dim=1)
    else:
        inside_BT1 = (torch.arange(x_BTD.shape[1], device=x_BTD.device) < lengths_B[:, None])[:, :, None]
        # What stands in the padding may be anything, so it is replaced and not multiplied by zero.
        pooled_BD = torch.where(inside_BT1, x_BTD, 0.0).sum(dim=1) / lengths_B[:, None]
    return F.normalize(pooled_BD, dim=-1)
