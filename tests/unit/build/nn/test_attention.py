"""Causal attention against the definition in float64, with naive masks."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.build.nn.attention import causal_attention
from assay.build.nn.padding import padded_positions, padding_mask

B, H = 2, 8


def definition(q, k, v, scale=None, window=None, softcap=None, padding=(0, 0), before=0):
    """Softmax(scale q k^T) v with queries at the end of the keys, query by query, over a list of what it sees.

    `before` keys of the sequence are older than those given.
    """
    N, T = q.shape[1:3]
    G, S = k.shape[1], k.shape[2]
    out = torch.zeros(len(q), T, N * H, dtype=torch.float64)
    for b in range(len(q)):
        for head in range(N):
            for t in range(T):
                own = S - T + t
                seen = [
                    s
                    for s in range(own + 1)
                    if s == own or (before + s >= padding[b] <= before + own and (window is None or own - s < window))
                ]
                keys, values = k[b, head * G // N, seen].double(), v[b, head * G // N, seen].double()
                scores = keys @ q[b, head, t].double() * (1 / math.sqrt(H) if scale is None else scale)
                if softcap is not None:
                    scores = softcap * torch.tanh(scores / softcap)
                out[b, t, head * H : (head + 1) * H] = scores.softmax(-1) @ values
    return out


def drawn(heads, kv_heads, tokens, keys, dtype=torch.float32):
    generator = torch.Generator().manual_seed(tokens * 100 + keys)
    q = torch.randn(B, heads, tokens, H, generator=generator).to(dtype)
    k = torch.randn(B, kv_heads, keys, H, generator=generator).to(dtype)
    return q, k, torch.randn(B, kv_heads, keys, H, generator=generator).to(dtype)


def close(found, expected):
    # float32 against float64: the sums have at most 33 terms of order one.
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("tokens", "keys"), [(1, 1), (1, 9), (5, 5), (4, 9), (2, 33)])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("options", [{}, {"scale": 0.2}, {"softcap": 0.7}, {"scale": 1.5, "softcap": 2.0}])
def test_every_shape_equals_the_definition(tokens, keys, heads, kv_heads, options):
    q, k, v = drawn(heads, kv_heads, tokens, keys)
    close(causal_attention(q, k, v, **options), definition(q, k, v, **options))


@pytest.mark.parametrize(("tokens", "keys"), [(1, 9), (7, 7), (4, 9), (2, 33), (9, 11)])
@pytest.mark.parametrize("window", [1, 2, 6, 7, 8, 9, 10, 40])
@pytest.mark.parametrize("softcap", [None, 0.7])
def test_a_window_shows_itself_and_what_is_nearer_than_its_width(tokens, keys, window, softcap):
    q, k, v = drawn(6, 2, tokens, keys)
    found = causal_attention(q, k, v, window=window, softcap=softcap)
    close(found, definition(q, k, v, window=window, softcap=softcap))


@pytest.mark.parametrize("window", [None, 3, 5])
@pytest.mark.parametrize("softcap", [None, 0.7])
@pytest.mark.parametrize("padding", [(0, 0), (0, 3), (4, 0), (7, 1)])
@pytest.mark.parametrize(("tokens", "keys"), [(1, 9), (8, 8), (4, 9)])
def test_padding_is_seen_by_nobody(tokens, keys, padding, window, softcap):
    q, k, v = drawn(4, 2, tokens, keys)
    mask = padding_mask(torch.tensor(padding), keys - tokens, tokens)
    found = causal_attention(q, k, v, window=window, softcap=softcap, mask_B1TS=mask)
    close(found, definition(q, k, v, window=window, softcap=softcap, padding=padding))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_chunks_over_a_cache_that_forgets_equal_one_pass(data):
    """A cache that keeps what a window needs and no more, which is what a sliding cache hands over."""
    length = data.draw(st.integers(1, 14))
    window = data.draw(st.integers(1, 16))
    padding = torch.tensor(data.draw(st.lists(st.integers(0, length - 1), min_size=B, max_size=B)))
    q, k, v = drawn(4, 2, length, length, torch.float64)
    whole = definition(q, k, v, window=window, padding=padding.tolist())
    start = 0
    while start < length:
        end = data.draw(st.integers(start + 1, length))
        first = max(0, start - window + 1)
        found = causal_attention(
            q[:, :, start:end],
            k[:, :, first:end],
            v[:, :, first:end],
            window=window,
            mask_B1TS=padding_mask(padding, start, end - start),
        )
        # Both in float64.
        torch.testing.assert_close(found, whole[:, start:end], rtol=1e-12, atol=1e-12)
        start = end


def test_positions_count_from_the_first_real_token():
    found = padded_positions(torch.tensor([0, 3, 5]), 2, 4)
    assert found.tolist() == [[2, 3, 4, 5], [0, 0, 1, 2], [0, 0, 0, 0]]


def test_half_precision_with_a_soft_cap_stays_half():
    q, k, v = drawn(4, 2, 5, 5, torch.bfloat16)
    found = causal_attention(q, k, v, softcap=5.0)
    assert found.dtype == torch.bfloat16
    # bf16 has 8 bits of mantissa.
    torch.testing.assert_close(found.double(), definition(q, k, v, softcap=5.0), rtol=0.03, atol=0.03)


def test_the_plain_call_dispatches_what_it_did(count_operations):
    """One kernel for a step and for a prompt: options that are not asked for cost nothing."""
    q, k, v = drawn(4, 4, 1, 9)
    assert count_operations(lambda: causal_attention(q, k, v)) == 1
    # A window is a view of the cache.
    assert count_operations(lambda: causal_attention(q, k, v, window=4)) == 1
    q, k, v = drawn(4, 4, 9, 9)

    def kernel_alone():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, 9, 4 * H)

    assert count_operations(lambda: causal_attention(q, k, v)) == count_operations(kernel_alone)
    assert count_operations(lambda: causal_attention(q, k, v, window=9)) == count_operations(kernel_alone)
