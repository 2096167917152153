"""Engines that own their loop are timed by the times they tell, at the positions at which a session is timed."""

from __future__ import annotations

import itertools

import pytest

from assay import catalog
from assay.core.errors import InputError, UnsupportedError
from assay.core.metrics import METRICS
from assay.core.records import Absent, Workload
from assay.run.session import Generation, gives_logits

TEXT = list(range(100, 300))
FIRST_NS, STEP_NS = 5_000_000, 2_000_000


class Engine:
    """Answers in no time with times that it makes up: 5 ms to the first token, 2 ms to each of the others."""

    facts: dict[str, str] = {}  # noqa: RUF012
    elsewhere = "elsewhere"
    loaded_here = False
    kv_cache_bytes = Absent(reason="not told")

    def __init__(self, burst: bool = False) -> None:
        self.asked: list[tuple[list[int], int]] = []
        self._burst = burst

    def generate(self, tokens, new_tokens):
        self.asked.append((list(tokens), new_tokens))
        times = [FIRST_NS + STEP_NS * step for step in range(new_tokens)]
        if self._burst:
            times = [FIRST_NS, *[times[-1]] * (new_tokens - 1)]
        return Generation(tuple(range(new_tokens)), tuple(times), len(tokens), 0)

    def close(self):
        pass


def driver(engine, kind, prompt=8, new=4, batch=1):
    return catalog.driver(engine, Workload(kind=kind, prompt_tokens=prompt, new_tokens=new, batch=batch), TEXT)


def test_prefill_is_the_time_to_the_first_token():
    engine = Engine()
    prefill = driver(engine, "prefill", new=0)
    assert prefill.metric in METRICS
    assert [seconds for _, seconds in prefill.block(3)] == pytest.approx([0.005] * 3)
    assert engine.asked == [(TEXT[:8], 1)] * 3


def test_decode_is_the_time_between_tokens_at_the_positions_of_a_session():
    engine = Engine()
    decode = driver(engine, "decode")
    timings = decode.block(1)
    # One token more than steps: a session's first step follows the prompt, and so does the second new token.
    assert engine.asked == [(TEXT[:8], 5)]
    assert [seconds for _, seconds in timings] == pytest.approx([0.002] * 4)
    starts = [start for start, _ in timings]
    assert [later - earlier for earlier, later in itertools.pairwise(starts)] == pytest.approx([0.002] * 3)
    assert len(decode.block(5)) == 8


def test_a_burst_gives_one_mean_for_each_request():
    [(_, seconds)] = driver(Engine(burst=True), "decode").block(1)
    assert seconds == pytest.approx(0.002)


def test_generate_ends_with_the_last_token():
    [(_, seconds)] = driver(Engine(), "generate").block(1)
    assert seconds == pytest.approx(0.005 + 3 * 0.002)


def test_load_asks_for_one_token_and_times_no_block():
    engine = Engine()
    load = driver(engine, "load")
    assert load.first_call() == ("first_call_s", pytest.approx(0.005))
    assert engine.asked == [([TEXT[0]], 1)]
    assert load.block(7) == []


def test_a_batch_and_an_empty_prompt_are_refused():
    with pytest.raises(InputError, match="one sequence at a time"):
        driver(Engine(), "prefill", batch=2)
    with pytest.raises(InputError, match="prompt_tokens = 0"):
        driver(Engine(), "prefill", prompt=0)


def test_an_engine_is_told_from_a_session():
    assert not gives_logits(Engine())


def test_what_needs_more_than_tokens_is_unsupported():
    with pytest.raises(UnsupportedError, match="owns its loop"):
        driver(Engine(), "train_step")
