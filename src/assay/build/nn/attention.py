"""Causal attention over grouped heads as one leaf; it refuses masks that show a query what comes after it.

Shape suffixes: B batch, T query tokens, S key tokens (S >= T), N query heads, G key-value heads, H head dim.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_attention(
    q_BNTH: Tensor,
    k_BGSH: Tensor,
    v_BGSH: Tensor,
    *,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    mask_B1TS: Tensor | None = None,
) -> Tensor:
    """Softmax(scale q k^T) v, where query t sees keys 0 .. S - T + t, as `[B, T, N * H]`.

    The keys are the last S of a sequence in the order of time, and the queries the last T of those, so a chunk that
    follows a cache gives what the whole prompt gives.

    Args:
        q_BNTH: queries.
        k_BGSH: keys.
        v_BGSH: values.
        scale: factor of the products; 1 / sqrt(H) unless given.
        window: keys that a query sees at most, itself included (Beltagy et al. 2020).
        softcap: c where the scaled products s are squashed to c tanh(s / c) (Gemma 2).
        mask_B1TS: which keys a query sees, from `padding.padding_mask`, of this sequence or a longer one that ends with
            it; it says what is causal, and a window narrows it further.
    """
    B, N, T, H = q_BNTH.shape
    G, S = k_BGSH.shape[1], k_BGSH.shape[2]
    reach = S if window is None else min(S, window + T - 1)
    if reach < S:
        # What lies before the first query's window is seen by nobody.
        k_BGSH, v_BGSH, S = k_BGSH.narrow(2, S - reach, reach), v_BGSH.narrow(2, S - reach, reach), reach
    if mask_B1TS is not None:
        mask_B1TS = mask_B1TS[..., -S:]
    if T == 1:
        # One query sees every key: the heads that share a key-value head become rows of one product.
        grouped = _attend(q_BNTH.reshape(B, G, N // G, H), k_BGSH, v_BGSH, scale, softcap, mask_B1TS)
        return grouped.reshape(B, 1, N * H)
    if window is not None and window < S:
        near_TS = torch.ones(T, S, dtype=torch.bool, device=q_BNTH.device).triu_(S - T - window + 1)
        mask_B1TS = near_TS.tril_(S - T) if mask_B1TS is None else near_TS & mask_B1TS
    out_BNTH = _attend(q_BNTH, k_BGSH, v_BGSH, scale, softcap, mask_B1TS, is_causal=mask_B1TS is None)
    return out_BNTH.transpose(1, 2).reshape(B, T, N * H)


def _attend(
    q_BNTH: Tensor,
    k_BGSH: Tensor,
    v_BGSH: Tensor,
    scale: float | None,
    softcap: float | None,
    mask: Tensor | None,
    is_causal: bool = False,
) -> Tensor:
    """The product itself, `[B, N, T, H]`; causal with the queries at the end of the keys, or as the mask says."""
    T, S, gqa = q_BNTH.shape[2], k_BGSH.shape[2], q_BNTH.shape[1] != k_BGSH.shape[1]
    if is_causal and (S != T or softcap is not None):
        mask = torch.ones(T, S, dtype=torch.bool, device=q_BNTH.device).tril(S - T)
        is_causal = False
    if softcap is None:
        return F.scaled_dot_product_attention(
            q_BNTH, k_BGSH, v_BGSH, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=gqa
        )
    if gqa:
        times = q_BNTH.shape[1] // k_BGSH.shape[1]
        k_BGSH, v_BGSH = k_BGSH.repeat_interleave(times, dim=1), v_BGSH.repeat_interleave(times, dim=1)
    factor = (1 / math.sqrt(q_BNTH.shape[3]) if scale is None else scale) / softcap
    scores_BNTS = (q_BNTH @ k_BGSH.transpose(2, 3)).mul_(factor).tanh_().mul_(softcap)
    if mask is not None:
        scores_BNTS.masked_fill_(~mask, -math.inf)
    weights_BNTS = scores_BNTS.softmax(dim=-1, dtype=torch.promote_types(q_BNTH.dtype, torch.float32))
    return weights_BNTS.to(q_BNTH.dtype) @ v_BGSH
