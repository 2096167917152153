"""Parity of one variant on two runtimes: the same tokens, the same greedy choices, and how far the logits are apart.

The first runtime's row reads a window of the text at once, and continues a prompt greedily through its KV cache.
Another row reads the same window and is led along the same steps, so that both see the same tokens up to any
difference. It refuses to judge: whether a difference is a tie or a fault is for the check `parity`.

Shape suffixes: R positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.errors import CorruptFileError
from assay.core.records import Absent
from assay.run.session import Generator, Session, gives_logits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]

WINDOW_TOKENS = 256
PROMPT_TOKENS = 64
NEW_TOKENS = 64
_NOISE_QUANTILE = 0.99
_NO_LOGITS = Absent(reason="the engine gives no logits")


def write_anchor(engine: Session | Generator, text: Sequence[int], capacity: int, context: int, path: Path) -> bool:
    """Write what the first runtime's row says, for the rows of other runtimes; False where it gives no logits.

    Args:
        engine: the first runtime's.
        text: token ids.
        capacity: tokens that every session of the study holds.
        context: tokens of the longest window.
        path: file to write; the caller deletes it.
    """
    if not gives_logits(engine):
        return False
    prompt = text[: max(1, min(PROMPT_TOKENS, capacity // 2))]
    window = text[: min(WINDOW_TOKENS, context)]
    logits_V = engine.prefill(_tokens(prompt))[0]
    steps, chosen = [logits_V], [int(logits_V.argmax())]
    while len(chosen) < min(NEW_TOKENS, capacity - len(prompt)):
        logits_V = engine.decode(_tokens(chosen[-1:]))[0, -1]
        steps.append(logits_V)
        chosen.append(int(logits_V.argmax()))
    np.savez(
        path,
        prompt=np.array(prompt),
        window=np.array(window),
        chosen=np.array(chosen),
        window_RV=engine.logits(_tokens(window))[0],
        steps_RV=np.stack(steps),
    )
    return True


def measure(engine: Session | Generator, path: Path) -> dict[str, Any]:
    """The fields of a `Parity` but `against`, of a row against what `write_anchor` wrote.

    Raises:
        CorruptFileError: the file is not whole.
    """
    try:
        with np.load(path) as stored:
            anchor = {name: stored[name] for name in ("prompt", "window", "chosen", "window_RV", "steps_RV")}
    except (OSError, ValueError, KeyError) as error:
        raise CorruptFileError(
            f"Read what the first runtime said from {path}", str(error), "Run the study again"
        ) from error
    prompt, chosen, window = ([int(token) for token in anchor[name]] for name in ("prompt", "chosen", "window"))
    if not gives_logits(engine):
        made = engine.generate(prompt, len(chosen)).tokens
        return _without_logits(made, chosen, anchor["steps_RV"])
    steps = [engine.prefill(_tokens(prompt))[0]]
    steps += [engine.decode(_tokens([token]))[0, -1] for token in chosen[:-1]]
    steps_RV, window_RV = np.stack(steps), engine.logits(_tokens(window))[0]
    pairs = [(anchor["window_RV"], window_RV), (anchor["steps_RV"], steps_RV)]
    if not all(np.isfinite(found).all() for _, found in pairs):
        return _broken(len(chosen))
    off = np.concatenate([_margin_error(ours, theirs) for ours, theirs in pairs])
    return {
        "tokens": len(off),
        "kl_nats": _mean_kl(*pairs[0]),
        "kl_steps_nats": _mean_kl(*pairs[1]),
        "psnr_db": _psnr(pairs),
        "noise_nats": float(np.quantile(off, _NOISE_QUANTILE)),
        **_divergence([int(token) for token in steps_RV.argmax(axis=1)], chosen, anchor["steps_RV"]),
    }


def _tokens(ids: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray([ids], dtype=np.int64)


def _divergence(made: Sequence[int], chosen: Sequence[int], steps_RV: Logits) -> dict[str, Any]:
    at = next((index for index, (ours, theirs) in enumerate(zip(made, chosen, strict=False)) if ours != theirs), None)
    if at is None:
        same = Absent(reason=f"all {min(len(made), len(chosen))} greedy tokens are the same")
        return {"greedy_tokens": min(len(made), len(chosen)), "first_divergence": same, "margin_nats": same}
    margin = float(steps_RV[at, chosen[at]]) - float(steps_RV[at, made[at]])
    return {"greedy_tokens": len(chosen), "first_divergence": at, "margin_nats": margin}


def _without_logits(made: Sequence[int] | Absent, chosen: Sequence[int], steps_RV: Logits) -> dict[str, Any]:
    figures = dict.fromkeys(("kl_nats", "kl_steps_nats", "psnr_db", "noise_nats"), _NO_LOGITS)
    if isinstance(made, Absent):
        return {**figures, "tokens": 0, "greedy_tokens": 0, "first_divergence": made, "margin_nats": made}
    return {**figures, "tokens": 0, **_divergence(made, chosen, steps_RV)}


def _broken(count: int) -> dict[str, Any]:
    reason = Absent(reason="logits are not finite (NaN or infinite)")
    names = ("kl_nats", "kl_steps_nats", "psnr_db", "noise_nats", "margin_nats")
    return {**dict.fromkeys(names, reason), "tokens": 0, "greedy_tokens": count, "first_divergence": 0}


def _log_softmax(logits_RV: Logits) -> NDArray[np.float64]:
    shifted_RV = logits_RV.astype(np.float64) - logits_RV.max(axis=1, keepdims=True)
    normed_RV: NDArray[np.float64] = shifted_RV - np.log(np.exp(shifted_RV).sum(axis=1, keepdims=True))
    return normed_RV


def _mean_kl(anchor_RV: Logits, found_RV: Logits) -> float:
    log_p_RV, log_q_RV = _log_softmax(anchor_RV), _log_softmax(found_RV)
    return max(float((np.exp(log_p_RV) * (log_p_RV - log_q_RV)).sum(axis=1).mean()), 0.0)


def _margin_error(anchor_RV: Logits, found_RV: Logits) -> NDArray[np.float64]:
    """How far the difference between the anchor's two likeliest tokens is off at each position."""
    best_R2 = np.argpartition(anchor_RV, -2, axis=1)[:, -2:]
    margins = [np.diff(np.take_along_axis(each, best_R2, axis=1).astype(np.float64))[:, 0] for each in
               (anchor_RV, found_RV)]  # fmt: skip
    error_R: NDArray[np.float64] = np.abs(margins[0] - margins[1])
    return error_R


def _psnr(pairs: Sequence[tuple[Logits, Logits]]) -> float:
    squares = sum(float(np.square(ours.astype(np.float64) - theirs).sum()) for ours, theirs in pairs)
    rmse = (squares / sum(ours.size for ours, _ in pairs)) ** 0.5
    largest = max(float(np.abs(ours).max()) for ours, _ in pairs)
    return float(20.0 * np.log10((largest + 1e-5) / (rmse + 1e-10)))
