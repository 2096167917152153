"""Every cache against a plain list: appends, rewinds and reads in any order, and the windows against a band mask."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.build.nn.kv_cache import GrowingKVCache, PassKVCache, StaticKVCache
from assay.build.nn.kv_cache_layers import MixedKVCache, SharedKVCache, new_kv_cache
from assay.build.nn.kv_cache_sliding import SlidingKVCache
from assay.core.errors import ContractError

BATCH, CAPACITY, HEADS, WIDTH = 2, 40, 3, 4
WINDOW, SLACK = 5, 3


def shape(layers):
    return layers, BATCH, CAPACITY, HEADS, WIDTH, torch.float32


def sliding(layers=2, window=WINDOW, slack=SLACK):
    return SlidingKVCache(*shape(layers), window=window, slack=slack)


def mixed():
    return MixedKVCache(((sliding(3), (0, 1, 3)), (StaticKVCache(*shape(1)), (2,))))


CACHES = {
    "static": (lambda: StaticKVCache(*shape(2)), (None, None)),
    "growing": (lambda: GrowingKVCache(*shape(2)), (None, None)),
    "sliding": (sliding, (WINDOW, WINDOW)),
    "sliding, window of 1": (lambda: sliding(window=1), (1, 1)),
    "sliding, no slack": (lambda: sliding(slack=0), (WINDOW, WINDOW)),
    "sliding, never full": (lambda: sliding(window=CAPACITY), (CAPACITY, CAPACITY)),
    "mixed": (mixed, (WINDOW, WINDOW, None, WINDOW)),
    "mixed, growing": (
        lambda: MixedKVCache(((GrowingKVCache(*shape(1)), (1,)), (sliding(1), (0,)))),
        (WINDOW, None),
    ),
}
SLACK_OF = {"sliding, no slack": 0}

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("append"), st.integers(1, CAPACITY)),
        st.tuples(st.just("unfinished"), st.integers(1, 9)),
        st.tuples(st.just("back by"), st.integers(0, 6)),
        st.tuples(st.just("rewind"), st.integers(0, CAPACITY)),
    ),
    max_size=24,
)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(GrowingKVCache, "STEP", 4)


class Plain:
    """The oracle: one list of positions per layer, and the numbers of what is still to be seen."""

    def __init__(self, windows):
        self.windows = windows
        self.tokens = []

    def seen(self, layer, new):
        held = (
            self.tokens
            if self.windows[layer] is None
            else self.tokens[max(0, len(self.tokens) - self.windows[layer] + 1) :]
        )
        return torch.stack([*held, *new], dim=2) + layer


def new_tokens(clock, number):
    return list((torch.full((BATCH, HEADS, number, WIDTH), 100.0 * clock) + torch.arange(number)[:, None]).unbind(2))


def write(cache, plain, new, layers):
    for layer in layers:
        keys = torch.stack(new, dim=2) + layer
        seen_keys, seen_values = cache.update(layer, keys, -keys)
        expected = plain.seen(layer, new)
        window, size = plain.windows[layer], seen_keys.shape[2]
        # A window's cache may show more than the first new token sees; what it shows are the newest, in order.
        assert size >= expected.shape[2] if window is None else size == expected.shape[2]
        assert torch.equal(seen_keys, expected)
        assert torch.equal(seen_values, -expected)


@pytest.mark.parametrize("name", CACHES)
@settings(max_examples=80, deadline=None)
@given(steps=STEPS)
def test_any_order_of_appends_and_rewinds_reads_like_a_list(name, steps):
    make, windows = CACHES[name]
    cache, plain, layers = make(), Plain(windows), range(len(windows))
    refusals = []
    for clock, (step, number) in enumerate(steps):
        if step == "append" and cache.length + number <= CAPACITY:
            new = new_tokens(clock, number)
            try:
                write(cache, plain, new, layers)
            except ContractError as error:
                refusals.append(str(error))
                cache.rewind(0)
                plain.tokens = []
                continue
            cache.advance(number)
            plain.tokens += new
        elif step == "unfinished" and cache.length + number <= CAPACITY:
            try:
                write(cache, plain, new_tokens(clock, number), layers[:1])
            except ContractError as error:
                refusals.append(str(error))
                cache.rewind(0)
                plain.tokens = []
        else:
            length = cache.length - number if step == "back by" else number
            if cache.can_rewind(length):
                cache.rewind(length)
                plain.tokens = plain.tokens[:length]
            elif step in ("back by", "rewind"):
                with pytest.raises(ContractError):
                    cache.rewind(length)
        assert cache.length == len(plain.tokens)
        assert cache.can_rewind(0)
        assert cache.can_rewind(cache.length) or "unfinished" in {earlier for earlier, _ in steps}
    # Only a pass that was not finished can bring a refusal about, and only rewinding to 0 mends it.
    assert all("a pass that was not finished" in said for said in refusals)
    assert not refusals or "unfinished" in {step for step, _ in steps}


@pytest.mark.parametrize("name", CACHES)
@settings(max_examples=40, deadline=None)
@given(chunks=st.lists(st.integers(1, 12), min_size=1, max_size=12), data=st.data())
def test_as_many_tokens_as_the_slack_can_be_forgotten_at_any_time(name, chunks, data):
    make, windows = CACHES[name]
    cache, plain, furthest = make(), Plain(windows), 0
    for clock, number in enumerate(chunks):
        if cache.length + number > CAPACITY:
            break
        new = new_tokens(clock, number)
        write(cache, plain, new, range(len(windows)))
        cache.advance(number)
        plain.tokens += new
        furthest = max(furthest, cache.length)
        cache.rewind(data.draw(st.integers(max(0, furthest - SLACK_OF.get(name, SLACK)), cache.length)))
        plain.tokens = plain.tokens[: cache.length]


def band_attention(queries, keys, values, window):
    """Attention over all positions in float64, each query seeing the `window` newest ones up to its own."""
    total = keys.shape[2]
    distance = torch.arange(total)[:, None] - torch.arange(total)[None, :]
    scores = queries.double() @ keys.double().transpose(-1, -2) / WIDTH**0.5
    scores = scores.masked_fill((distance < 0) | (distance >= window), float("-inf"))
    return scores.softmax(-1) @ values.double()


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    window=st.integers(1, 12),
    slack=st.integers(0, 4),
    seed=st.integers(0, 9),
)
def test_the_wrapping_buffer_equals_a_shifted_one_equals_a_band_mask(chunks, window, slack, seed):
    total = sum(chunks)
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn((3, 1, HEADS, total, WIDTH), generator=generator)
    expected = band_attention(q, k, v, window)
    wraps = SlidingKVCache(1, 1, total, HEADS, WIDTH, torch.float32, window=window, slack=slack)
    shifted_k, shifted_v = k[:, :, :0], v[:, :, :0]
    start = 0
    for number in chunks:
        new = slice(start, start + number)
        keys, values = wraps.update(0, k[:, :, new], v[:, :, new])
        wraps.advance(number)
        shifted_k = torch.cat((shifted_k, k[:, :, new]), dim=2)
        shifted_v = torch.cat((shifted_v, v[:, :, new]), dim=2)
        assert torch.equal(keys, shifted_k)
        assert torch.equal(values, shifted_v)
        # The queries are the last of the positions seen: the same band, whatever has been left behind.
        padded = torch.cat((q[:, :, :1].expand(-1, -1, keys.shape[2] - number, -1), q[:, :, new]), dim=2)
        found = band_attention(padded, keys, values, window)[:, :, -number:]
        assert torch.allclose(found, expected[:, :, new], rtol=0, atol=1e-12)
        shifted_k, shifted_v = (seen[:, :, max(0, seen.shape[2] - window + 1) :] for seen in (shifted_k, shifted_v))
        start += number


def test_a_rewind_behind_the_window_is_refused_and_changes_nothing():
    cache = mixed()
    plain = Plain((WINDOW, WINDOW, None, WINDOW))
    for clock in range(30):
        write(cache, plain, new_tokens(clock, 1), range(4))
        cache.advance(1)
        plain.tokens += new_tokens(clock, 1)
    with pytest.raises(ContractError, match=r"to 10 tokens.*window .sliding 5, static. has left behind"):
        cache.rewind(10)
    assert cache.length == 30
    write(cache, plain, new_tokens(30, 1), range(4))


def test_a_chunk_longer_than_the_buffer_is_seen_whole():
    cache, plain = sliding(), Plain((WINDOW, WINDOW))
    for clock, number in enumerate((20, 20)):
        write(cache, plain, new_tokens(clock, number), range(2))
        cache.advance(number)
        plain.tokens += new_tokens(clock, number)


@pytest.mark.parametrize("name", CACHES)
def test_a_token_too_many_is_refused_and_nothing_is_changed(name):
    cache = CACHES[name][0]()
    tokens = torch.ones(BATCH, HEADS, CAPACITY, WIDTH)
    for layer in range(len(CACHES[name][1])):
        cache.update(layer, tokens, tokens)
    cache.advance(CAPACITY)
    with pytest.raises(ContractError, match=f"capacity is {CAPACITY}"):
        cache.update(0, tokens[:, :, :1], tokens[:, :, :1])
    with pytest.raises(ContractError, match="capacity"):
        cache.advance(1)
    assert (cache.length, cache.capacity) == (CAPACITY, CAPACITY)


@pytest.mark.parametrize("length", [-1, 1])
@pytest.mark.parametrize("make", [*(make for make, _ in CACHES.values()), PassKVCache])
def test_rewind_cannot_invent_tokens(make, length):
    with pytest.raises(ContractError, match="holds 0"):
        make().rewind(length)


def test_bytes_are_those_of_keys_and_values():
    token = 2 * BATCH * HEADS * WIDTH * 4
    assert StaticKVCache(*shape(2)).nbytes == 2 * CAPACITY * token
    # Window - 1 and slack, and a quarter more to wrap in.
    assert sliding().nbytes == 2 * (WINDOW - 1 + SLACK + 1) * token
    assert sliding(window=CAPACITY).nbytes == 2 * CAPACITY * token
    assert mixed().nbytes == (3 * (WINDOW + SLACK) + CAPACITY) * token
    assert PassKVCache().nbytes == 0


def test_a_growing_cache_takes_what_it_holds_rounded_up_and_keeps_it():
    cache = GrowingKVCache(*shape(1))
    token = 2 * BATCH * HEADS * WIDTH * 4
    assert cache.nbytes == 0
    sizes = []
    for number in (1, 3, 1, 30, 5):
        tokens = torch.ones(BATCH, HEADS, number, WIDTH)
        cache.update(0, tokens, tokens)
        cache.advance(number)
        sizes.append(cache.nbytes // token)
    cache.rewind(1)
    assert [*sizes, cache.nbytes // token] == [4, 4, 8, 36, CAPACITY, CAPACITY]


def test_layers_that_share_see_what_their_owner_saw():
    cache = SharedKVCache(MixedKVCache(((sliding(1), (0,)), (StaticKVCache(*shape(1)), (1,)))), (0, 1, 0, 1))
    plain = Plain((WINDOW, None))
    for clock, number in enumerate((3, 1, 9, 1)):
        new = new_tokens(clock, number)
        seen = [cache.update(layer, *(torch.stack(new, dim=2) + layer for _ in "kv")) for layer in range(2)]
        for layer, owner in ((2, 0), (3, 1)):
            assert cache.reuse(layer)[0] is seen[owner][0]
            assert torch.equal(cache.reuse(layer)[1], plain.seen(owner, new))
        cache.advance(number)
        plain.tokens += new
    assert cache.length == 14
    assert cache.kind == "sliding 5, static, shared by 2 layers"
    cache.rewind(12)
    assert cache.length == 12
    with pytest.raises(KeyError):
        cache.reuse(2)


def test_without_a_cache_the_pass_alone_is_seen():
    cache = SharedKVCache(PassKVCache(), (0, 0))
    keys = torch.ones(BATCH, HEADS, 2, WIDTH)
    assert cache.update(0, keys, -keys)[0] is keys
    assert cache.reuse(1)[0] is keys
    cache.advance(2)
    assert cache.length == 0


@pytest.mark.parametrize("parts", [((0, 1), (1,)), ((0,), (2,))])
def test_parts_must_cover_the_layers_once(parts):
    with pytest.raises(ValueError, match="the parts hold"):
        MixedKVCache([(StaticKVCache(*shape(len(layers))), layers) for layers in parts])


@pytest.mark.parametrize("owners", [(1, 1), (0, 0, 1)])
def test_an_owner_must_come_first_and_own(owners):
    with pytest.raises(ValueError, match="the layers read from"):
        SharedKVCache(PassKVCache(), owners)


@pytest.mark.parametrize(
    ("kind", "window", "found"),
    [("static", None, "static"), ("growing", None, "growing"), ("static", 5, "sliding 5"), ("growing", 5, "sliding 5")],
)
def test_a_window_goes_before_the_kind_that_was_chosen(kind, window, found):
    assert new_kv_cache(kind, *shape(1), "cpu", window).kind == found
