"""The text check of a study's quality: each variant writes, and the reference says how likely that is.

It refuses to score a text by the variant that wrote it: garbage is likely to the model that is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from assay.core.records import Absent
from assay.pipeline.processes import WorkerFailed, WorkerProcess

LIKELIHOOD = "text_nll_nats"
TEXT_CHECK_POSITIONS = 320
"""Positions that a prompt of the text check and its 256 tokens take, at most."""


def written_by(worker: WorkerProcess, model: str, timeout_s: float) -> dict[str, Any]:
    """What an opened worker writes: `metrics`, and `prompts` and `written` as token ids; or why nothing, `absent`."""
    return worker.ask("text_check", timeout_s, model=model)


def likelihood_of(
    told: dict[str, Any], open_reference: Callable[[], AbstractContextManager[WorkerProcess]], timeout_s: float
) -> float | Absent:
    """Nats per token of what was written, by a worker of the reference.

    Args:
        told: the answer of `written_by`.
        open_reference: opens the reference in a worker of its own.
        timeout_s: of the answer.
    """
    try:
        with open_reference() as worker:
            answer = worker.ask("likelihood", timeout_s, prompts=told["prompts"], written=told["written"])
    except WorkerFailed as failure:
        return Absent(reason=f"the reference could not score it: {failure.outcome.message}")
    return float(answer["nll_nats"])
