"""Prefill: read a prompt and return the logits of its last token. It refuses an empty prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from assay.core.errors import InputError
from assay.core.records import Workload
from assay.run.measure.clock import collector_off, in_seconds, timed_calls
from assay.run.session import Session
from assay.run.workloads.driver import Timing, text_tokens


class PrefillDriver:
    """Times `session.prefill` on the first `prompt_tokens` tokens of the text.

    Args:
        session: the loaded artifact.
        workload: `prompt_tokens` and `batch` are used.
        token_ids: the text.

    Raises:
        InputError: the prompt is empty, or longer than the text.
    """

    metric = "prefill_s"
    calls_per_block = 1

    def __init__(self, session: Session, workload: Workload, token_ids: Sequence[int]) -> None:
        if workload.prompt_tokens < 1:
            raise InputError("a prefill workload", "prompt_tokens = 0", "Ask for at least one prompt token")
        self._session = session
        self._call = partial(session.prefill, text_tokens(workload, token_ids, workload.prompt_tokens))

    def first_call(self) -> tuple[str, float]:
        """Read the prompt for the first time: (`first_call_s`, seconds)."""
        [(_, seconds)] = self.block(1)
        return "first_call_s", seconds

    def block(self, calls: int) -> list[Timing]:
        """Read the prompt `calls` times; every call begins by forgetting the cache."""
        with collector_off():
            self._session.sync()
            starts, durations = timed_calls(self._call, calls)
            self._session.sync()
        return in_seconds(starts, durations)
