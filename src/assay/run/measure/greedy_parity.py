"""Parity by greedy tokens alone, for engines that give no logits. It refuses to call a tie a fault.

The reference continues the beginning of the text greedily and notes how sure it was of each choice: the difference of
the logarithms of the two most probable tokens. Where another engine first differs, a small margin there is a tie that
rounding decided, and a large one is a fault.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from assay.core.errors import CorruptFileError
from assay.core.records import Absent, Estimate, Measured
from assay.run.session import Generator, Session

PROMPT_TOKENS = 64
NEW_TOKENS = 64
RECIPE = (
    f"no logits: {NEW_TOKENS} greedy tokens after the first {PROMPT_TOKENS} tokens of the text, held against the "
    "reference's own up to the first difference"
)
_NEEDS_LOGITS = (
    "nll_nats", "perplexity", "perplexity_ratio", "kl_nats", "kl_median_nats", "kl_p99_nats", "kl_p999_nats",
    "kl_max_nats", "top1_agreement", "rms_probability_difference", "psnr_db", "max_logit_difference",
)  # fmt: skip


@dataclass(frozen=True)
class GreedyReference:
    """What the reference said after a prompt, and how sure it was."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    margins_nats: tuple[float, ...]
    """Logarithm of the first token's probability over the second's, for each choice."""


def reference_of(session: Session, text: Sequence[int]) -> GreedyReference:
    """Continue the beginning of the text, as far as the session's contract lets it."""
    prompt = tuple(text[:PROMPT_TOKENS])
    tokens: list[int] = []
    margins: list[float] = []
    logits_V = session.prefill(np.asarray([prompt], dtype=np.int64))[0]
    for step in range(NEW_TOKENS):
        second, first = np.partition(logits_V.astype(np.float64), -2)[-2:]
        tokens.append(int(logits_V.argmax()))
        margins.append(float(first - second))
        if step + 1 < NEW_TOKENS:
            logits_V = session.decode(np.asarray([tokens[-1:]], dtype=np.int64))[0, -1]
    return GreedyReference(prompt, tuple(tokens), tuple(margins))


def beside(logits: Path) -> Path:
    """Where the greedy reference lies: beside the file of the reference's logits, and removed with it."""
    return logits.with_suffix(".greedy")


def write(reference: GreedyReference, path: Path) -> None:
    """Write a reference for the workers that follow."""
    path.write_text(json.dumps(asdict(reference)))


def read(path: Path) -> GreedyReference:
    """Read what `write` wrote. Raises CorruptFileError."""
    try:
        fields = json.loads(path.read_text())
        return GreedyReference(*(tuple(fields[name]) for name in ("prompt", "tokens", "margins_nats")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(
            f"The reference's greedy tokens were to be read from {path}", str(error), "Run the study again"
        ) from error


def measure(
    engine: Generator, text: Sequence[int], reference: GreedyReference
) -> tuple[dict[str, Measured | Estimate], int]:
    """Metrics of an engine without logits by name as in `core.metrics`, and the number of tokens compared.

    Raises:
        EngineError: the engine failed.
    """
    reason = Absent(reason="the engine gives no logits; see the greedy tokens")
    metrics: dict[str, Measured | Estimate] = dict.fromkeys(_NEEDS_LOGITS, reason)
    if tuple(text[: len(reference.prompt)]) != reference.prompt:
        metrics |= dict.fromkeys(("greedy_tokens_equal", "greedy_margin_nats"), Absent(reason="another text"))
        return metrics, 0
    made = engine.generate(reference.prompt, len(reference.tokens)).tokens
    if isinstance(made, Absent):
        return metrics | dict.fromkeys(("greedy_tokens_equal", "greedy_margin_nats"), made), 0
    return metrics | compare(made, reference), len(reference.tokens)


def compare(tokens: Sequence[int], reference: GreedyReference) -> dict[str, Measured]:
    """How many tokens equal the reference's before the first that does not, and the reference's margin there."""
    pairs = zip(tokens, reference.tokens, strict=True)
    equal = next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), len(reference.tokens))
    margin: Measured = Absent(reason=f"all {equal} greedy tokens equal the reference's")
    if equal < len(reference.tokens):
        margin = reference.margins_nats[equal]
    return {"greedy_tokens_equal": float(equal), "greedy_margin_nats": margin}
