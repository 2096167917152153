"""Greedy decoding over a Session; it refuses nothing that the session allows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from assay.run.session import BatchSession, Session


def greedy_steps(
    session: Session, prompt_ids: Sequence[int], new_tokens: int, eos_ids: Collection[int] = ()
) -> Iterator[int]:
    """The tokens of `greedy` one by one, each as soon as it is known.

    Raises:
        ContractError: prompt and new tokens do not fit the session.
    """
    if new_tokens < 1:
        return
    logits_V = session.prefill(np.asarray([prompt_ids], dtype=np.int64))[0]
    for remaining in range(new_tokens - 1, -1, -1):
        # numpy's argmax returns the first of equal maxima.
        token = int(logits_V.argmax())
        yield token
        if remaining == 0 or token in eos_ids:
            return
        logits_V = session.decode(np.asarray([[token]], dtype=np.int64))[0, -1]


def greedy(session: Session, prompt_ids: Sequence[int], new_tokens: int, eos_ids: Collection[int] = ()) -> list[int]:
    """The most probable continuation token by token, at most `new_tokens` of them; ties go to the lowest index.

    It stops after a token of `eos_ids`, which is the last one returned.

    Raises:
        ContractError: prompt and new tokens do not fit the session.
    """
    return list(greedy_steps(session, prompt_ids, new_tokens, eos_ids))


def until_end(tokens: Sequence[int], eos_ids: Collection[int]) -> list[int]:
    """The tokens up to and with the first of `eos_ids`: what `greedy` would have returned of them."""
    end = next((at for at, token in enumerate(tokens, start=1) if token in eos_ids), len(tokens))
    return list(tokens[:end])


def greedy_prompts(
    session: BatchSession, prompts: Sequence[Sequence[int]], new_tokens: int, eos_ids: Collection[int] = ()
) -> list[list[int]]:
    """What `greedy` gives for each of several prompts, which are read and continued side by side.

    A sequence that has ended waits for the others; what the model writes behind its end is dropped.

    Raises:
        ContractError: the prompts are not as many as the session has sequences, or do not fit it.
    """
    written: list[list[int]] = [[] for _ in prompts]
    if new_tokens < 1:
        return written
    logits_BV = session.prefill_prompts(prompts)
    for remaining in range(new_tokens - 1, -1, -1):
        tokens_B = logits_BV.argmax(axis=-1)
        for tokens, token in zip(written, tokens_B.tolist(), strict=True):
            if not tokens or tokens[-1] not in eos_ids:
                tokens.append(token)
        if remaining == 0 or all(tokens[-1] in eos_ids for tokens in written):
            break
        logits_BV = session.decode(tokens_B[:, None])[:, -1]
    return written
