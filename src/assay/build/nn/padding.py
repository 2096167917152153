"""Batches of unequal prompts, filled up on their left; it refuses nothing: whoever counts the padding checks it.

A pass over a padded batch takes `padding_B`, how many tokens at the start of each sequence stand for nothing. They stay
in the KV cache and no token sees them, so every pass over the sequence takes the same counts. Padding on the right
needs no counts: no token of a causal model sees what comes after it, and nothing is to be appended to such a batch.

Shape suffixes: B batch, T query tokens, S key tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def padded_positions(padding_B: Tensor, start: int, tokens: int) -> Tensor:
    """Positions `[B, T]` of the tokens start .. start + T of a padded batch; those of padding are 0."""
    slots_T = torch.arange(start, start + tokens, device=padding_B.device)
    return (slots_T - padding_B[:, None]).clamp_(min=0)


def padding_mask(padding_B: Tensor, start: int, tokens: int) -> Tensor:
    """Which of the keys 0 .. start + T the tokens start .. start + T see, `[B, 1, T, S]`, true where they do.

    A token sees itself and what precedes it, but no padding. A token of padding sees itself alone: a softmax over
    nothing would be NaN, and spread through the values.
    """
    keys_S = torch.arange(start + tokens, device=padding_B.device)
    queries_T1 = keys_S[start:, None]
    real_B11S = keys_S >= padding_B[:, None, None, None]
    return (real_B11S & (keys_S <= queries_T1)).logical_or_(keys_S == queries_T1)
