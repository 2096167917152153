"""Decode: one token after another, forced from the text. It refuses to time the prompt or the rewind with the steps.

The tokens are forced (teacher forcing), so that every variant does the same work at the same positions whatever it
would have said itself. Shape suffixes: B batch, T prompt tokens, K new tokens (here 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.core.errors import ContractError
from assay.core.records import Workload
from assay.run.measure.clock import collector_off, in_seconds, timed_each
from assay.run.session import Session
from assay.run.workloads.driver import Timing, require_tokens, text_tokens


class DecodeDriver:
    """Times single-token steps at the positions `prompt_tokens` to `prompt_tokens + new_tokens`, over and over.

    Args:
        session: the loaded artifact.
        workload: `prompt_tokens`, `new_tokens` and `batch` are used.
        token_ids: the text.

    Raises:
        InputError: no prompt or no new token is asked for, or the text is too short.
    """

    metric = "tpot_s"
    calls_per_block = 1

    def __init__(self, session: Session, workload: Workload, token_ids: Sequence[int]) -> None:
        require_tokens(workload)
        self._session = session
        self._first = workload.prompt_tokens
        self._end = workload.prompt_tokens + workload.new_tokens
        tokens_BT = text_tokens(workload, token_ids, self._end)
        self._prompt_BT = np.ascontiguousarray(tokens_BT[:, : self._first])
        self._steps = [np.ascontiguousarray(tokens_BT[:, at : at + 1]) for at in range(self._first, self._end)]
        self._position = -1

    def prepare(self) -> None:
        """Read the prompt, untimed. `block` does it where the cache does not hold what the last block left."""
        self._session.prefill(self._prompt_BT)
        self._position = self._first

    def first_call(self) -> tuple[str, float]:
        """Read the prompt, untimed, and take the first step: (`first_call_s`, seconds)."""
        self.prepare()
        [(_, seconds)] = self.block(1)
        return "first_call_s", seconds

    def block(self, calls: int) -> list[Timing]:
        """Take `calls` steps from where the last block stopped; after the last position, back to the first."""
        timings: list[Timing] = []
        with collector_off():
            while len(timings) < calls:
                self._go_to_next_position()
                begin = self._position - self._first
                steps = self._steps[begin : begin + calls - len(timings)]
                self._session.sync()
                starts, durations = timed_each(self._session.decode, steps)
                self._session.sync()
                self._position += len(steps)
                timings += in_seconds(starts, durations)
        return timings

    def _go_to_next_position(self) -> None:
        if self._session.length != self._position:
            self.prepare()
        elif self._position >= self._end:
            try:
                self._session.rewind(self._first)
                self._position = self._first
            except ContractError:  # a cache that cannot forget its last tokens alone
                self.prepare()
