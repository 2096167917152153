"""Generate: a prompt read and new tokens chosen greedily, end to end. It refuses to stop early at an end-of-text token.

Every variant reads the same prompt and gives the same number of tokens. Shape suffixes: B batch, T prompt tokens, K new
tokens (here 1), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from assay.core.records import Workload
from assay.run.measure.clock import collector_off, in_seconds, timed_calls
from assay.run.session import Session
from assay.run.workloads.driver import Timing, require_tokens, text_tokens

if TYPE_CHECKING:
    from assay.run.session import TokenArray


class GenerateDriver:
    """Times a prefill of `prompt_tokens` and the greedy choice of `new_tokens` tokens.

    The first new token comes from the prefill's logits, so there are `new_tokens - 1` decode steps.

    Args:
        session: the loaded artifact.
        workload: `prompt_tokens`, `new_tokens` and `batch` are used.
        token_ids: the text.

    Raises:
        InputError: no prompt or no new token is asked for, or the text is too short.
    """

    metric = "end_to_end_s"
    calls_per_block = 1

    def __init__(self, session: Session, workload: Workload, token_ids: Sequence[int]) -> None:
        require_tokens(workload)
        self._session = session
        self._prompt_BT = text_tokens(workload, token_ids, workload.prompt_tokens)
        self._tokens_BN: TokenArray = np.zeros((workload.batch, workload.new_tokens), dtype=np.int64)

    @property
    def tokens(self) -> TokenArray:
        """The tokens of the last call, int64 `[B, new_tokens]`."""
        return self._tokens_BN.copy()

    def first_call(self) -> tuple[str, float]:
        """Generate for the first time: (`first_call_s`, seconds)."""
        [(_, seconds)] = self.block(1)
        return "first_call_s", seconds

    def block(self, calls: int) -> list[Timing]:
        """Generate `calls` times, each from an empty cache."""
        with collector_off():
            self._session.sync()
            starts, durations = timed_calls(self._generate, calls)
            self._session.sync()
        return in_seconds(starts, durations)

    def _generate(self) -> None:
        tokens_BN = self._tokens_BN
        tokens_BN[:, 0] = self._session.prefill(self._prompt_BT).argmax(axis=-1)
        for step in range(1, tokens_BN.shape[1]):
            logits_BKV = self._session.decode(tokens_BN[:, step - 1 : step])
            tokens_BN[:, step] = logits_BKV[:, -1].argmax(axis=-1)
