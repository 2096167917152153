"""Load: what a user waits for before the first token. It refuses to be repeated: a process loads its weights once.

The worker times the import of the runtime (`import_s`) and the load itself (`load_s`), since both are over before there
is a session; what is left here is the first call after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from assay.core.records import Workload
from assay.run.measure.clock import NANOSECOND, collector_off, timed_calls
from assay.run.session import Encoder, Session
from assay.run.workloads.driver import Timing, text_tokens


class LoadDriver:
    """Times the first call of a session that was just loaded: a prompt of one token.

    Args:
        session: the loaded artifact.
        workload: `batch` is used.
        token_ids: the text; its first token is read.

    Raises:
        InputError: the text is empty.
    """

    metric = "load_s"
    calls_per_block = 0

    def __init__(self, session: Session | Encoder, workload: Workload, token_ids: Sequence[int]) -> None:
        self._session = session
        token_B1 = text_tokens(workload, token_ids, 1)
        if isinstance(session, Encoder):
            self._call = partial(session.encode, token_B1, np.ones(workload.batch, dtype=np.int64))
        else:
            self._call = partial(session.prefill, token_B1)

    def first_call(self) -> tuple[str, float]:
        """Read one token: (`first_call_s`, seconds)."""
        with collector_off():
            self._session.sync()
            _, [duration] = timed_calls(self._call, 1)
            self._session.sync()
        return "first_call_s", duration * NANOSECOND

    def block(self, calls: int) -> list[Timing]:
        """No timing, whatever `calls` is: the load is over, and its time is the worker's."""
        return []
