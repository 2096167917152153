"""Encode: read a batch of texts whole and return a vector of each. It refuses models that write text.

Shape suffixes: B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from assay.core.errors import InputError, UnsupportedError
from assay.core.records import Workload
from assay.run.measure.clock import collector_off, in_seconds, timed_calls
from assay.run.session import Encoder, Session
from assay.run.workloads.driver import Timing, text_tokens


class EncodeDriver:
    """Times `encoder.encode` on `batch` rows, each the first `prompt_tokens` tokens of the text, without padding.

    Padding is computed like tokens, so a padded batch costs what a full one of its longest row costs.

    Args:
        session: the loaded artifact.
        workload: `prompt_tokens` and `batch` are used.
        token_ids: the text.

    Raises:
        InputError: no token is asked for, or the text is too short.
        UnsupportedError: the model writes text, or its runtime cannot run an encoder.
    """

    metric = "encode_s"
    calls_per_block = 1

    def __init__(self, session: Session | Encoder, workload: Workload, token_ids: Sequence[int]) -> None:
        if workload.prompt_tokens < 1:
            raise InputError("an encode workload", "prompt_tokens = 0", "Ask for at least one token")
        if not isinstance(session, Encoder):
            raise UnsupportedError("an encode workload", "the model is no encoder", "Use prefill, decode or generate")
        tokens_BT = text_tokens(workload, token_ids, workload.prompt_tokens)
        lengths_B = np.full(workload.batch, workload.prompt_tokens, dtype=np.int64)
        self._sync = session.sync
        self._call = partial(session.encode, tokens_BT, lengths_B)

    def first_call(self) -> tuple[str, float]:
        """Read the batch for the first time: (`first_call_s`, seconds)."""
        [(_, seconds)] = self.block(1)
        return "first_call_s", seconds

    def block(self, calls: int) -> list[Timing]:
        """Read the batch `calls` times."""
        with collector_off():
            self._sync()
            starts, durations = timed_calls(self._call, calls)
            self._sync()
        return in_seconds(starts, durations)
