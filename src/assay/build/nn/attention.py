"""Causal attention over grouped heads as one leaf; it refuses masks other than the causal one.

Shape suffixes: B batch, T query tokens, S key tokens (S >= T), N query heads, G key-value heads, H head dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_attention(q_BNTH: Tensor, k_BGSH: Tensor, v_BGSH: Tensor) -> Tensor:
    """Softmax(q k^T / sqrt(H)) v, where query t sees keys 0 .. S - T + t, as `[B, T, N * H]`.

    The queries are the last T of S positions, so a chunk that follows a cache gives what the whole prompt gives.
    """
    B, N, T, H = q_BNTH.shape
    G, S = k_BGSH.shape[1], k_BGSH.shape[2]
    if T == 1:
        # One query sees every key: the heads that share a key-value head become rows of one product.
        grouped = F.scaled_dot_product_attention(q_BNTH.reshape(B, G, N // G, H), k_BGSH, v_BGSH)
        return grouped.reshape(B, 1, N * H)
    if S == T:
        out_BNTH = F.scaled_dot_product_attention(q_BNTH, k_BGSH, v_BGSH, is_causal=True, enable_gqa=G != N)
    else:
        mask_TS = torch.ones(T, S, dtype=torch.bool, device=q_BNTH.device).tril(S - T)
        out_BNTH = F.scaled_dot_product_attention(q_BNTH, k_BGSH, v_BGSH, attn_mask=mask_TS, enable_gqa=G != N)
    return out_BNTH.transpose(1, 2).reshape(B, T, N * H)
