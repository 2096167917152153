"""The static cache against a plain list."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.build.nn.kv_cache import StaticKVCache
from assay.core.errors import ContractError

LAYERS, BATCH, CAPACITY, HEADS, WIDTH = 2, 2, 12, 3, 4

STEPS = st.lists(
    st.one_of(st.tuples(st.just("append"), st.integers(1, 5)), st.tuples(st.just("rewind"), st.integers(0, CAPACITY))),
    max_size=12,
)


def new_cache():
    return StaticKVCache(LAYERS, BATCH, CAPACITY, HEADS, WIDTH, torch.float32)


@settings(max_examples=60)
@given(STEPS)
def test_any_order_of_appends_and_rewinds_reads_like_a_list(steps):
    cache = new_cache()
    plain = [[] for _ in range(LAYERS)]
    clock = 0
    for step, number in steps:
        if step == "append" and cache.length + number <= CAPACITY:
            for layer in range(LAYERS):
                clock += 1
                keys = torch.full((BATCH, HEADS, number, WIDTH), float(clock)) + torch.arange(number)[:, None] / 8
                seen_keys, seen_values = cache.update(layer, keys, -keys)
                plain[layer] += list(keys.unbind(2))
                assert torch.equal(seen_keys, torch.stack(plain[layer], dim=2))
                assert torch.equal(seen_values, -torch.stack(plain[layer], dim=2))
            cache.advance(number)
        elif step == "rewind" and number <= cache.length:
            cache.rewind(number)
            plain = [tokens[:number] for tokens in plain]
        assert cache.length == len(plain[0])


def test_a_token_too_many_is_refused_and_nothing_is_changed():
    cache = new_cache()
    tokens = torch.ones(BATCH, HEADS, CAPACITY, WIDTH)
    cache.update(0, tokens, tokens)
    cache.advance(CAPACITY)
    with pytest.raises(ContractError, match=f"capacity is {CAPACITY}"):
        cache.update(0, tokens[:, :, :1], tokens[:, :, :1])
    with pytest.raises(ContractError, match="capacity"):
        cache.advance(1)
    assert cache.length == CAPACITY


@pytest.mark.parametrize("length", [-1, 1])
def test_rewind_cannot_invent_tokens(length):
    with pytest.raises(ContractError, match="holds 0"):
        new_cache().rewind(length)


def test_bytes_are_those_of_keys_and_values():
    assert new_cache().nbytes == 2 * LAYERS * BATCH * HEADS * CAPACITY * WIDTH * 4
