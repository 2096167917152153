"""What every workload's driver shares: its protocol and the tokens. It refuses a text that is too short.

Shape suffixes: B batch, T prompt tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from assay.core.errors import InputError
from assay.core.records import Workload

if TYPE_CHECKING:
    from assay.run.session import TokenArray

Timing = tuple[float, float]
"""Start on the machine's monotonic clock and duration, both in seconds."""


class Driver(Protocol):
    """One workload on one session.

    The device is synchronised at both ends of a block, and what comes between the timed calls (a prompt read again, a
    rewind) is outside of the clock.
    """

    metric: str
    """What the durations of `block` are: a name of `core.metrics`."""
    calls_per_block: int
    """Hint: calls of one block where nothing is known yet; 0 where there is nothing to repeat."""

    def first_call(self) -> tuple[str, float]:
        """Make the first call and return (`first_call_s`, seconds)."""

    def block(self, calls: int) -> list[Timing]:
        """Time `calls` calls one by one."""


def calls_for(block_s: float, call_s: float) -> int:
    """Calls that fill a block of `block_s` seconds at `call_s` seconds a call; at least 1."""
    return max(1, math.ceil(block_s / call_s)) if call_s > 0 else 1


def require_tokens(workload: Workload) -> None:
    """Refuse a workload that reads no prompt or makes no token.

    Raises:
        InputError: `prompt_tokens` or `new_tokens` is below 1.
    """
    if workload.prompt_tokens < 1 or workload.new_tokens < 1:
        raise InputError(
            f"a {workload.kind} workload",
            f"prompt_tokens = {workload.prompt_tokens}, new_tokens = {workload.new_tokens}",
            "Ask for at least one of each",
        )


def text_tokens(workload: Workload, token_ids: Sequence[int], count: int) -> TokenArray:
    """The first `count` tokens of the text, the same in every row of the batch: int64 `[B, count]`.

    Raises:
        InputError: the text has fewer tokens.
    """
    if len(token_ids) < count:
        raise InputError(
            f"the workload {workload.name!r} needs {count} tokens of text",
            f"the text has {len(token_ids)}",
            "Give a longer text, or ask for fewer prompt_tokens or new_tokens",
        )
    row_T = np.asarray(token_ids[:count], dtype=np.int64)
    return np.tile(row_T, (workload.batch, 1))
