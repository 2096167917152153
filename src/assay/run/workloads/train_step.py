"""A training step: forward, backward and optimizer, each timed directly. It refuses runtimes that cannot train.

No phase is a difference of two others: the clock is read at both ends of each, with the device synchronised there.
Shape suffixes: B batch, T tokens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from assay.core.errors import InputError, UnsupportedError
from assay.core.records import Workload
from assay.run.measure.clock import NANOSECOND, collector_off
from assay.run.session import Session, Trainable
from assay.run.workloads.driver import Timing, text_tokens

PHASES = ("forward_s", "backward_s", "optimizer_step_s")


class TrainStepDriver:
    """Times training steps on one batch, the first `prompt_tokens` tokens of the text in every row.

    Args:
        session: the loaded artifact; its weights change.
        workload: `prompt_tokens` and `batch` are used.
        token_ids: the text.

    Raises:
        InputError: fewer than two tokens are asked for, or the text is too short.
        UnsupportedError: the runtime cannot train, or the variant's weights have no gradient.
    """

    metric = "train_step_s"
    calls_per_block = 1

    def __init__(self, session: Session, workload: Workload, token_ids: Sequence[int]) -> None:
        if workload.prompt_tokens < 2:
            raise InputError(
                "a train_step workload", f"prompt_tokens = {workload.prompt_tokens}", "Ask for two tokens or more"
            )
        self._sync = session.sync
        if not isinstance(session, Trainable):
            raise UnsupportedError("a training step", "this runtime cannot train", "Use the runtime torch")
        self._trainer = session.trainer(text_tokens(workload, token_ids, workload.prompt_tokens))
        self.phases: Mapping[str, list[Timing]] = {}

    def first_call(self) -> tuple[str, float]:
        """Take the first step: (`first_call_s`, seconds)."""
        [(_, seconds)] = self.block(1)
        return "first_call_s", seconds

    def block(self, calls: int) -> list[Timing]:
        """Take `calls` steps; `phases` holds the times of their parts until the next block."""
        sync, clock = self._sync, time.perf_counter_ns
        parts = (self._trainer.forward, self._trainer.backward, self._trainer.step)
        marks = [[0] * (len(parts) + 1) for _ in range(calls)]
        with collector_off():
            sync()
            for at in marks:
                at[0] = clock()
                for number, part in enumerate(parts, start=1):
                    part()
                    sync()
                    at[number] = clock()
        self.phases = {
            name: [(at[number] * NANOSECOND, (at[number + 1] - at[number]) * NANOSECOND) for at in marks]
            for number, name in enumerate(PHASES)
        }
        return [(at[0] * NANOSECOND, (at[-1] - at[0]) * NANOSECOND) for at in marks]
