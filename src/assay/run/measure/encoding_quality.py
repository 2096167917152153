"""Quality of an encoder on real texts, against a reference's vectors. It refuses to shorten a text.

    cosine         a . b / (|a| |b|), of the embeddings of one text
    label agreement  share of texts whose likeliest label is the reference's
    KL(ref || variant) = sum p (ln p - ln q) over the labels, in nats, mean over texts

Texts are encoded in batches, filled up to the longest of each batch. Shape suffixes: B batch, T tokens, D vector.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assay.core.canonical import digest
from assay.core.errors import InputError
from assay.core.records import Absent, Estimate, Measured
from assay.run.measure.reference import ReferenceRows, ReferenceWriter
from assay.run.measure.scores import mean_estimate
from assay.run.session import Encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.run.session import LogitArray, TokenArray

BATCH = 16
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n{2,}")
EMBEDDING_METRICS = ("cosine_mean", "cosine_min")
CLASSIFICATION_METRICS = ("label_agreement", "kl_nats", "max_logit_difference")


def sentences(text: str, encode: Callable[[str], Sequence[int]], context: int, at_least: int) -> list[list[int]]:
    """Token ids of the text's sentences from its beginning, until they hold `at_least` tokens.

    Args:
        text: of the study.
        encode: gives a text's ids with the special tokens around them.
        context: most tokens of one; a longer sentence is cut between words into shorter ones.
        at_least: tokens wanted, special ones included.

    Raises:
        InputError: the text is too short, or a single word has more tokens than the context.
    """
    found: list[list[int]] = []
    held = 0
    for sentence in (part.strip() for part in _SENTENCE.split(text)):
        if not sentence:
            continue
        for ids in _within(sentence, encode, context):
            found.append(ids)
            held += len(ids)
            if held >= at_least:
                return found
    raise InputError(
        f"quality over at least {at_least} tokens of text",
        f"the text has {held}",
        "Give a longer text, or ask for fewer",
    )


def random_sentences(vocab_size: int, context: int, at_least: int, seed: int) -> list[list[int]]:
    """Random ids in rows of 4 to 64 tokens, for a model without a tokenizer."""
    generator = random.Random(seed)
    found: list[list[int]] = []
    while sum(map(len, found)) < at_least:
        length = generator.randint(min(4, context), min(64, context))
        found.append([generator.randrange(vocab_size) for _ in range(length)])
    return found


def recipe(rows: Sequence[Sequence[int]]) -> str:
    """What was encoded, in words."""
    lengths = [len(row) for row in rows]
    span = f"{min(lengths)} to {max(lengths)} tokens"
    return f"{len(rows)} sentences of {span}, in padded batches of {BATCH}; mean over sentences"


def write_reference(
    encoder: Encoder, rows: Sequence[Sequence[int]], path: Path, head: str
) -> dict[str, Measured | Estimate]:
    """Encode the texts with the reference and write its vectors to `path`; what needs a reference is Absent.

    Raises:
        StoreError: the file cannot be written.
    """
    with ReferenceWriter(path, _digest(rows), len(rows)) as writer:
        for vectors_BD in _encoded(encoder, rows):
            writer.add(vectors_BD)
    return dict.fromkeys(metrics_of(head), Absent(reason="this is the reference"))


def measure(encoder: Encoder, rows: Sequence[Sequence[int]], path: Path, head: str) -> dict[str, Measured | Estimate]:
    """Metrics of a variant's vectors against those that `write_reference` wrote for the same texts.

    Raises:
        ContractError: the reference is of other texts or another size.
        CorruptFileError, StoreError: its file is not whole, or cannot be read.
    """
    pairs: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    with closing(ReferenceRows(path, _digest(rows))) as reference:
        for vectors_BD in _encoded(encoder, rows):
            known_BD = reference.next(*vectors_BD.shape)
            pairs.append((known_BD.astype(np.float64), vectors_BD.astype(np.float64)))
    known_ND, found_ND = (np.concatenate(side) for side in zip(*pairs, strict=True))
    broken = int((~np.isfinite(found_ND)).any(axis=1).sum())
    if broken:
        reason = Absent(reason=f"{broken} of {len(rows)} vectors are not finite (NaN or infinite)")
        return dict.fromkeys(metrics_of(head), reason)
    return _embeddings(known_ND, found_ND) if head == "embedding" else _labels(known_ND, found_ND)


def metrics_of(head: str) -> tuple[str, ...]:
    """Names of the metrics of one kind of encoder."""
    return EMBEDDING_METRICS if head == "embedding" else CLASSIFICATION_METRICS


def padded(rows: Sequence[Sequence[int]]) -> tuple[TokenArray, TokenArray]:
    """Tokens `[B, T]`, filled up with zeros on the right, and their numbers `[B]`."""
    lengths_B = np.array([len(row) for row in rows], dtype=np.int64)
    tokens_BT = np.zeros((len(rows), int(lengths_B.max())), dtype=np.int64)
    for row, ids in zip(tokens_BT, rows, strict=True):
        row[: len(ids)] = ids
    return tokens_BT, lengths_B


def _embeddings(known_ND: NDArray[np.float64], found_ND: NDArray[np.float64]) -> dict[str, Measured | Estimate]:
    lengths_N = np.linalg.norm(known_ND, axis=1) * np.linalg.norm(found_ND, axis=1)
    if not lengths_N.all():
        return dict.fromkeys(EMBEDDING_METRICS, Absent(reason="a vector has no length"))
    cosines_N = np.einsum("nd,nd->n", known_ND, found_ND) / lengths_N
    return {"cosine_mean": _of_texts(cosines_N), "cosine_min": float(cosines_N.min())}


def _labels(known_NL: NDArray[np.float64], found_NL: NDArray[np.float64]) -> dict[str, Measured | Estimate]:
    difference = float(np.abs(known_NL - found_NL).max())
    if known_NL.shape[1] == 1:
        one = Absent(reason="the head has one output, which is no choice of labels")
        return {"label_agreement": one, "kl_nats": one, "max_logit_difference": difference}
    agrees_N = known_NL.argmax(axis=1) == found_NL.argmax(axis=1)
    log_p_NL, log_q_NL = (side - np.logaddexp.reduce(side, axis=1, keepdims=True) for side in (known_NL, found_NL))
    # Never negative by definition; rounding of the two logarithms can leave -1e-16.
    kl_N = np.maximum((np.exp(log_p_NL) * (log_p_NL - log_q_NL)).sum(axis=1), 0.0)
    return {
        "label_agreement": float(agrees_N.mean()),
        "kl_nats": _of_texts(kl_N),
        "max_logit_difference": difference,
    }


def _of_texts(values_N: NDArray[np.float64]) -> Measured | Estimate:
    estimate = mean_estimate(values_N)
    if isinstance(estimate, Estimate):
        return estimate.model_copy(update={"method": estimate.method.replace("tokens", "texts")})
    return estimate


def _encoded(encoder: Encoder, rows: Sequence[Sequence[int]]) -> Iterator[LogitArray]:
    for at in range(0, len(rows), BATCH):
        yield encoder.encode(*padded(rows[at : at + BATCH]))


def _within(sentence: str, encode: Callable[[str], Sequence[int]], context: int) -> Iterator[list[int]]:
    ids = list(encode(sentence))
    if len(ids) <= context:
        yield ids
        return
    words = sentence.split()
    if len(words) < 2:
        raise InputError(
            f"encode a word of {len(ids)} tokens", f"the model's context is {context}", "Give a text of shorter words"
        )
    for half in (words[: len(words) // 2], words[len(words) // 2 :]):
        yield from _within(" ".join(half), encode, context)


def _digest(rows: Sequence[Sequence[int]]) -> str:
    return digest([list(row) for row in rows])
