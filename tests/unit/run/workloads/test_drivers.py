"""The drivers time exactly the calls of their workload, at the right positions, and nothing in between."""

from __future__ import annotations

import gc
import inspect
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from assay.core.errors import ContractError, InputError
from assay.core.metrics import METRICS
from assay.core.records import Workload
from assay.run.session import Session
from assay.run.workloads.decode import DecodeDriver
from assay.run.workloads.driver import calls_for, text_tokens
from assay.run.workloads.generate import GenerateDriver
from assay.run.workloads.load import LoadDriver
from assay.run.workloads.prefill import PrefillDriver

TEXT = list(range(100, 400))
VOCABULARY = 512


class RecordingSession:
    """Notes what is asked of it; the most likely next token is always the last one plus one."""

    def __init__(self, step_s: float = 0.0, prefill_s: float = 0.0, rewinds: bool = True) -> None:
        self.log: list[tuple[str, Any]] = []
        self.length = 0
        self.kv_cache_bytes = 0
        self.facts: Mapping[str, Any] = {}
        self.collector_was_on: list[bool] = []
        self._step_s, self._prefill_s, self._rewinds = step_s, prefill_s, rewinds

    def _after(self, tokens_BT: np.ndarray) -> np.ndarray:
        logits_BTV = np.zeros((*tokens_BT.shape, VOCABULARY), dtype=np.float32)
        np.put_along_axis(logits_BTV, (tokens_BT[:, :, None] + 1) % VOCABULARY, 1.0, axis=2)
        return logits_BTV

    def prefill(self, tokens_BT: np.ndarray) -> np.ndarray:
        self.collector_was_on.append(gc.isenabled())
        self.log.append(("prefill", tokens_BT.copy()))
        self.length = tokens_BT.shape[1]
        time.sleep(self._prefill_s)
        return self._after(tokens_BT)[:, -1]

    def decode(self, tokens_BK: np.ndarray) -> np.ndarray:
        self.collector_was_on.append(gc.isenabled())
        self.log.append(("decode", (self.length, tokens_BK.copy())))
        self.length += tokens_BK.shape[1]
        time.sleep(self._step_s)
        return self._after(tokens_BK)

    def logits(self, tokens_BT: np.ndarray) -> np.ndarray:
        return self._after(tokens_BT)

    def rewind(self, length: int) -> None:
        if not self._rewinds:
            raise ContractError("rewinding", "the cache is a ring", "Read the prompt again")
        self.log.append(("rewind", length))
        self.length = length

    def sync(self) -> None:
        self.log.append(("sync", None))

    def close(self) -> None:
        self.log.append(("close", None))

    def names(self) -> list[str]:
        return [name for name, _ in self.log]

    def positions(self) -> list[int]:
        return [at[0] for name, at in self.log if name == "decode"]


def work(kind: str, prompt: int = 8, new: int = 4, batch: int = 1) -> Workload:
    return Workload.model_validate({"kind": kind, "prompt_tokens": prompt, "new_tokens": new, "batch": batch})


def test_the_fake_is_a_session() -> None:
    session: Session = RecordingSession()
    assert session.length == 0


@pytest.mark.parametrize("driver", [PrefillDriver, DecodeDriver, GenerateDriver, LoadDriver])
def test_every_driver_names_a_known_metric_and_shares_one_interface(driver: type) -> None:
    assert METRICS[driver.metric].unit == "s"
    assert isinstance(driver.calls_per_block, int)
    assert list(inspect.signature(driver).parameters) == ["session", "workload", "token_ids"]
    assert list(inspect.signature(driver.block).parameters) == ["self", "calls"]
    metric, seconds = driver(RecordingSession(), work("decode"), TEXT).first_call()
    assert metric in METRICS
    assert seconds >= 0


def test_prefill_reads_the_first_tokens_of_the_text_in_every_row() -> None:
    session = RecordingSession()
    timings = PrefillDriver(session, work("prefill", prompt=16, batch=3), TEXT).block(2)
    assert len(timings) == 2
    assert session.names() == ["sync", "prefill", "prefill", "sync"]
    assert session.log[1][1].tolist() == [TEXT[:16]] * 3
    assert session.log[1][1].dtype == np.int64


def test_decode_forces_the_text_and_rewinds_to_the_end_of_the_prompt() -> None:
    session = RecordingSession()
    driver = DecodeDriver(session, work("decode", prompt=8, new=4), TEXT)
    timings = driver.block(6)
    assert len(timings) == 6
    assert session.positions() == [8, 9, 10, 11, 8, 9]
    forced = [at[1].tolist() for name, at in session.log if name == "decode"]
    assert forced == [[[TEXT[p]]] for p in (8, 9, 10, 11, 8, 9)]
    assert session.names() == [
        "prefill", "sync", "decode", "decode", "decode", "decode", "sync",
        "rewind", "sync", "decode", "decode", "sync",
    ]  # fmt: skip


def test_decode_goes_on_where_the_last_block_stopped() -> None:
    session = RecordingSession()
    driver = DecodeDriver(session, work("decode", prompt=8, new=4), TEXT)
    driver.first_call()
    for _ in range(3):
        driver.block(2)
    assert session.positions() == [8, 9, 10, 11, 8, 9, 10]
    assert session.names().count("prefill") == 1


def test_decode_reads_the_prompt_again_after_another_workload_used_the_session() -> None:
    session = RecordingSession()
    driver = DecodeDriver(session, work("decode", prompt=8, new=4), TEXT)
    driver.block(2)
    PrefillDriver(session, work("prefill", prompt=32), TEXT).block(1)
    driver.block(1)
    assert session.positions() == [8, 9, 8]


def test_decode_reads_the_prompt_again_where_a_cache_cannot_be_rewound() -> None:
    session = RecordingSession(rewinds=False)
    DecodeDriver(session, work("decode", prompt=8, new=2), TEXT).block(4)
    assert session.positions() == [8, 9, 8, 9]
    assert session.names().count("prefill") == 2


def test_decode_does_not_time_the_prompt() -> None:
    session = RecordingSession(step_s=0.001, prefill_s=0.2)
    driver = DecodeDriver(session, work("decode", prompt=8, new=3), TEXT)
    [(first_start, first), *others] = driver.block(4)
    assert max(first, *(seconds for _, seconds in others)) < 0.1
    assert all(later > first_start for later, _ in others)


def test_phases_of_known_length_are_told_apart() -> None:
    """TTFT and TPOT of a fake with known times lie within the time that passed."""
    session = RecordingSession(step_s=0.002, prefill_s=0.02)
    begin = time.perf_counter()
    prefill = [seconds for _, seconds in PrefillDriver(session, work("prefill"), TEXT).block(3)]
    wall = time.perf_counter() - begin
    assert min(prefill) >= 0.02
    assert sum(prefill) <= wall
    driver = DecodeDriver(session, work("decode", prompt=8, new=64), TEXT)
    driver.prepare()
    begin = time.perf_counter()
    steps = [seconds for _, seconds in driver.block(20)]
    wall = time.perf_counter() - begin
    assert min(steps) >= 0.002
    assert sum(steps) <= wall


def test_generate_chooses_greedily_and_gives_the_number_of_tokens_asked_for() -> None:
    session = RecordingSession()
    driver = GenerateDriver(session, work("generate", prompt=8, new=5, batch=2), TEXT)
    assert len(driver.block(2)) == 2
    last = TEXT[7]
    assert driver.tokens.tolist() == [[last + 1, last + 2, last + 3, last + 4, last + 5]] * 2
    assert session.names().count("decode") == 2 * 4


def test_load_has_nothing_to_repeat() -> None:
    session = RecordingSession()
    driver = LoadDriver(session, work("load"), TEXT)
    assert driver.calls_per_block == 0
    assert driver.block(5) == []
    assert driver.first_call()[0] == "first_call_s"
    assert session.log[1][1].tolist() == [TEXT[:1]]


def test_the_collector_is_off_inside_and_on_again_after() -> None:
    session = RecordingSession()
    assert gc.isenabled()
    PrefillDriver(session, work("prefill"), TEXT).block(2)
    assert session.collector_was_on == [False, False]
    assert gc.isenabled()


def test_starts_lie_on_the_monotonic_clock_in_order() -> None:
    session = RecordingSession(step_s=0.0005)
    before = time.perf_counter()
    timings = DecodeDriver(session, work("decode", prompt=8, new=3), TEXT).block(7)
    after = time.perf_counter()
    ends = [start + seconds for start, seconds in timings]
    starts = [start for start, _ in timings]
    assert before < starts[0]
    assert ends[-1] < after
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


@pytest.mark.parametrize(
    ("driver", "workload"),
    [
        (PrefillDriver, work("prefill", prompt=0)),
        (DecodeDriver, work("decode", prompt=0)),
        (DecodeDriver, work("decode", new=0)),
        (GenerateDriver, work("generate", new=0)),
        (PrefillDriver, work("prefill", prompt=301)),
        (DecodeDriver, work("decode", prompt=298, new=3)),
    ],
)
def test_what_cannot_be_asked_is_refused(driver: type, workload: Workload) -> None:
    with pytest.raises(InputError):
        driver(RecordingSession(), workload, TEXT)


def test_a_short_text_is_refused_with_its_length() -> None:
    with pytest.raises(InputError, match="the text has 2"):
        text_tokens(work("prefill"), [1, 2], 3)


@pytest.mark.parametrize(("call_s", "calls"), [(0.02, 1), (0.01, 1), (0.003, 4), (0.0, 1)])
def test_calls_fill_a_block(call_s: float, calls: int) -> None:
    assert calls_for(0.01, call_s) == calls
