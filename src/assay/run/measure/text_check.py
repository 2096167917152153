"""Is what a variant writes degenerate? Figures of its text, to be held against the reference's own of equal length.

They refuse to judge alone: healthy small models repeat themselves, so only the difference to the reference speaks.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PROMPTS = (
    "The old lighthouse keeper opened the door and",
    "To repair a bicycle tyre, first",
    "The history of the printing press begins",
)
NEW_TOKENS = 256
_EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "IDEOGRAPHIC"})
"""Scripts that one healthy text mixes."""


def figures(texts: Sequence[str], tokens: Sequence[Sequence[int]]) -> Mapping[str, float]:
    """Figures of some texts together.

    Args:
        texts: what was written after each prompt.
        tokens: the same as token ids.

    Returns:
        `text_compression` (bytes / bytes after zlib), `text_distinct_2` (different pairs of tokens / pairs),
        `text_repeated_4grams` (share of the 4-grams that stood before), `text_script_share` (letters
        of the commonest script / letters), `text_longest_word` (characters).
    """
    whole = "\n".join(texts)
    raw = whole.encode("utf-8")
    return {
        "text_compression": len(raw) / len(zlib.compress(raw, 9)),
        "text_distinct_2": _distinct(tokens, 2),
        "text_repeated_4grams": 1.0 - _distinct(tokens, 4),
        "text_script_share": script_share(whole),
        "text_longest_word": float(max((len(word) for word in whole.split()), default=0)),
    }


def _distinct(tokens: Sequence[Sequence[int]], length: int) -> float:
    """Different n-grams / n-grams, none across two texts; 1 where no text is that long."""
    seen: set[tuple[int, ...]] = set()
    total = 0
    for ids in tokens:
        grams = [tuple(ids[start : start + length]) for start in range(len(ids) - length + 1)]
        seen |= set(grams)
        total += len(grams)
    return len(seen) / total if total else 1.0


def script_share(text: str) -> float:
    """Letters of the commonest script / letters, by the first word of their Unicode names; 1 without letters."""
    scripts: Counter[str] = Counter()
    for letter in text:
        if letter.isalpha():
            script = unicodedata.name(letter, "UNKNOWN").split(" ")[0].split("-")[0]
            scripts["EAST ASIAN" if script in _EAST_ASIAN else script] += 1
    total = sum(scripts.values())
    return max(scripts.values()) / total if total else 1.0


def mean_nll(session: Any, prompts: Sequence[Sequence[int]], written: Sequence[Sequence[int]]) -> float:
    """Mean negative log-likelihood of what was written, in nats per token, by a session with logits (float64)."""
    total, count = 0.0, 0
    for prompt, ids in zip(prompts, written, strict=True):
        if not ids:
            continue
        sequence = np.asarray([[*prompt, *ids]], dtype=np.int64)
        logits_TV = session.logits(sequence)[0][len(prompt) - 1 : -1].astype(np.float64)
        highest = logits_TV.max(axis=1)
        normaliser = highest + np.log(np.exp(logits_TV - highest[:, None]).sum(axis=1))
        total += float((normaliser - logits_TV[np.arange(len(ids)), np.asarray(ids)]).sum())
        count += len(ids)
    return total / count if count else 0.0
