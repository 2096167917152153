"""Quality of a variant's predictions, teacher-forced, against a reference's. It refuses to sum in less than float64.

    perplexity = exp(mean nll)                   nll = -ln q(target)
    KL(ref || variant) = sum p (ln p - ln q)     in nats, per token
    perplexity ratio = exp(mean (nll_variant - nll_reference)), paired by token
    PSNR = 20 log10((max |ref| + 1e-5) / (RMSE + 1e-10)), of the logits

Shape suffixes: B batch, T tokens of a window, R rows (scored positions), V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assay.core.canonical import digest
from assay.core.errors import ContractError, InputError, UnsupportedError
from assay.core.records import Estimate, Measured
from assay.run.measure.reference import ReferenceRows, ReferenceWriter
from assay.run.measure.scores import Scores
from assay.run.session import Session

if TYPE_CHECKING:
    from assay.run.session import LogitArray, TokenArray

    Use = Callable[[LogitArray, TokenArray], None]

LOGIT_BYTES = 200 * 2**20
"""Most bytes of float32 logits that one call of the session may return."""
SLICE_BYTES = 2**20
"""Bytes of one float64 array while logits are compared: three of them should stay in the processor's caches."""


def windows(token_ids: Sequence[int], context: int, at_least_tokens: int, bos: int | None = None) -> list[TokenArray]:
    """Cut the beginning of a text into windows that do not overlap.

    Args:
        token_ids: the text.
        context: tokens of a window, with the token that begins it.
        at_least_tokens: tokens of text wanted; as many whole windows are taken as hold them, and the last one is
            shorter where the text ends in it.
        bos: the token that begins every window, where the model was trained with one.

    Returns:
        One int64 array per window. Token i+1 is the target of position i, so a window of n tokens scores n - 1.

    Raises:
        InputError: the text is shorter than `at_least_tokens`, or a window would score nothing.
    """
    if context < 2 or at_least_tokens < 2:
        raise InputError(
            f"quality over {at_least_tokens} tokens in windows of {context}", "nothing would be scored", "Ask for more"
        )
    if len(token_ids) < at_least_tokens:
        raise InputError(
            f"quality over at least {at_least_tokens} tokens of text",
            f"the text has {len(token_ids)}",
            "Give a longer text, or ask for fewer quality tokens",
        )
    head = [] if bos is None else [bos]
    step = context - len(head)
    taken = min(len(token_ids), math.ceil(at_least_tokens / step) * step)
    cut = [
        np.asarray(head + list(token_ids[at : min(at + step, taken)]), dtype=np.int64) for at in range(0, taken, step)
    ]
    return [window_T for window_T in cut if window_T.size >= 2]


def recipe(cut: Sequence[TokenArray], context: int, bos: int | None = None) -> str:
    """How the text was cut and scored, in words that stand beside the perplexity."""
    scored = sum(window_T.size - 1 for window_T in cut)
    begins = "no token added at the start" if bos is None else f"each begun with token {bos}"
    return (
        f"{len(cut)} windows of at most {context} tokens that do not overlap, {begins}; every position but the last of "
        f"a window predicts the next token; {scored} tokens scored; mean over tokens, natural logarithm, float64"
    )


def write_reference(session: Session, cut: Sequence[TokenArray], path: Path) -> dict[str, Measured | Estimate]:
    """Run the reference over the windows, write its logits to `path`, and return its own metrics.

    Args:
        session: the reference; its cache may be overwritten.
        cut: what `windows` returned.
        path: file of `scored tokens x vocabulary x 4` bytes; the caller deletes it when the study is over.

    Raises:
        StoreError: the file cannot be written.
    """
    scores = Scores(_scored(cut))
    with ReferenceWriter(path, tokens_digest(cut), sum(_scored(cut))) as writer:

        def use(logits_RV: LogitArray, targets_R: TokenArray) -> None:
            writer.add(logits_RV)
            scores.add_alone(logits_RV, targets_R)

        _for_each_slice(session, cut, use)
    return scores.metrics("this is the reference")


def measure_quality(
    session: Session, cut: Sequence[TokenArray], reference_path: Path | None
) -> dict[str, Measured | Estimate]:
    """Metrics of one variant over the windows, by name as in `core.metrics`.

    Args:
        session: the variant; its cache may be overwritten.
        cut: what `windows` returned.
        reference_path: what `write_reference` wrote for the same windows; without it, what needs it is Absent.

    Raises:
        ContractError: the reference is of another text or vocabulary.
        CorruptFileError: the reference is not whole.
        StoreError: the reference cannot be read.
    """
    scores = Scores(_scored(cut))
    if reference_path is None:
        _for_each_slice(session, cut, scores.add_alone)
        return scores.metrics("no reference was given")
    with closing(ReferenceRows(reference_path, tokens_digest(cut))) as reference:

        def use(logits_RV: LogitArray, targets_R: TokenArray) -> None:
            scores.add_pair(reference.next(*logits_RV.shape), logits_RV, targets_R)

        _for_each_slice(session, cut, use)
    return scores.metrics(None)


def tokens_digest(cut: Sequence[TokenArray]) -> str:
    """SHA-256 of the windows: their lengths and their token ids."""
    return digest([window_T.tolist() for window_T in cut])


def _scored(cut: Sequence[TokenArray]) -> list[int]:
    return [window_T.size - 1 for window_T in cut]


def _for_each_slice(session: Session, cut: Sequence[TokenArray], use: Use) -> None:
    """Give logits of scored positions, `[R, V]`, and their targets, `[R]`, to `use`, some rows at a time.

    At most `LOGIT_BYTES` of logits are alive: `use` is called, and nothing is yielded, so that no caller holds the last
    window's logits while the next ones are computed. A window whose logits would be larger is read through the KV
    cache, some tokens per call; where the cache cannot hold a window it is read whole, whatever that takes.
    """
    longest_T = max(cut, key=len)
    first_RV = session.prefill(longest_T[None, :1])
    fitting = max(1, LOGIT_BYTES // (first_RV.shape[1] * first_RV.itemsize))
    if longest_T.size - 1 > fitting and not _cache_holds(session, longest_T):
        fitting = longest_T.size
    for window_T in cut:
        inputs_BT, targets_R = window_T[None, :-1], window_T[1:]
        if inputs_BT.shape[1] <= fitting:
            _slice(session.logits(inputs_BT)[0], targets_R, use)
            continue
        use(session.prefill(inputs_BT[:, :1]), targets_R[:1])
        for begin in range(1, inputs_BT.shape[1], fitting):
            part = slice(begin, begin + fitting)
            _slice(session.decode(np.ascontiguousarray(inputs_BT[:, part]))[0], targets_R[part], use)


def _cache_holds(session: Session, window_T: TokenArray) -> bool:
    """Whether the session has a cache in which a window can be read part by part: it is tried."""
    try:
        session.prefill(window_T[None, :-2])
        session.decode(window_T[None, -2:-1])
    except (ContractError, UnsupportedError):
        return False
    return True


def _slice(logits_RV: LogitArray, targets_R: TokenArray, use: Use) -> None:
    """Give rows to `use`, as many at a time as have a float64 copy of at most `SLICE_BYTES`."""
    step = max(1, SLICE_BYTES // (logits_RV.shape[1] * np.dtype(np.float64).itemsize))
    for begin in range(0, logits_RV.shape[0], step):
        part = slice(begin, begin + step)
        use(logits_RV[part], targets_R[part])
