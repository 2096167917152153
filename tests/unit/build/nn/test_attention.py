"""Causal attention against the definition in float64."""

import math

import pytest
import torch

from assay.build.nn.attention import causal_attention


def definition(q, k, v):
    """Softmax(q k^T / sqrt(H)) v with queries at the end of the keys, head by head, in float64."""
    B, N, T, H = q.shape
    G, S = k.shape[1], k.shape[2]
    out = torch.zeros(B, T, N * H, dtype=torch.float64)
    for head in range(N):
        keys, values = k[:, head * G // N].double(), v[:, head * G // N].double()
        for t in range(T):
            seen = S - T + t + 1
            scores = (keys[:, :seen] @ q[:, head, t].double()[:, :, None])[..., 0] / math.sqrt(H)
            out[:, t, head * H : (head + 1) * H] = (scores.softmax(-1)[:, :, None] * values[:, :seen]).sum(1)
    return out


@pytest.mark.parametrize(("tokens", "keys"), [(1, 1), (1, 9), (5, 5), (4, 9), (2, 33)])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
def test_every_shape_equals_the_definition(tokens, keys, heads, kv_heads):
    generator = torch.Generator().manual_seed(tokens * 100 + keys)
    q = torch.randn(2, heads, tokens, 8, generator=generator)
    k = torch.randn(2, kv_heads, keys, 8, generator=generator)
    v = torch.randn(2, kv_heads, keys, 8, generator=generator)
    # float32 against float64: the sums have at most 33 terms of order one.
    torch.testing.assert_close(causal_attention(q, k, v).double(), definition(q, k, v), rtol=1e-5, atol=1e-6)
