"""What an engine that owns its loop may answer. It refuses answers that cannot be true, and says which and why.

Shared by every runtime whose engine is outside of Assay: a measurement is as honest as the answer it stands on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.core.errors import EngineError
from assay.core.records import Absent
from assay.run.session import Generation

CLOCK_TOLERANCE = 1.001
_CLOCK_SLACK_NS = 1_000_000
"""An engine's clock may be this much ahead of ours: a thousandth, and a millisecond."""
_SHOWN = 200


def lied(asked: str, found: str, remedy: str = "Mend the engine; `assay runner check` tests one") -> EngineError:
    """The error for an answer that cannot be true."""
    return EngineError(asked, found, remedy, "wrong_answer")


def quoted(content: object) -> str:
    """What an engine said, cut to a length that a table can bear."""
    text = repr(content)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def whole_numbers(content: Any, what: str, asked: str) -> tuple[int, ...]:
    """A list of whole numbers. Raises EngineError."""
    if not isinstance(content, Sequence) or isinstance(content, (str, bytes)):
        raise lied(asked, f"{what} is {quoted(content)}, no list of whole numbers")
    wrong = next((item for item in content if not isinstance(item, int) or isinstance(item, bool)), None)
    if wrong is not None:
        raise lied(asked, f"{what} holds {quoted(wrong)}, no whole number")
    return tuple(content)


def believed(
    made: Generation, prompt_tokens: int, new_tokens: int, vocab_size: int, elapsed_ns: int, asked: str
) -> Generation:
    """The answer, if it can be true.

    Args:
        made: the answer.
        prompt_tokens: tokens of the prompt that was sent.
        new_tokens: how many were asked for.
        vocab_size: ids are below it.
        elapsed_ns: between sending the request and having its answer, on our clock.
        asked: for the message.

    Raises:
        EngineError: it has another number of tokens or times, an id outside of the vocabulary, a time that is not
            positive or goes back, a last time later than its own arrival, or another count of the prompt.
    """
    if not isinstance(made.tokens, Absent):
        if len(made.tokens) != new_tokens:
            raise lied(asked, f"{new_tokens} new tokens were asked for and {len(made.tokens)} came")
        outside = next((token for token in made.tokens if not 0 <= token < vocab_size), None)
        if outside is not None:
            raise lied(asked, f"the token {outside} is outside of the vocabulary of {vocab_size}")
    if len(made.times_ns) != new_tokens:
        raise lied(asked, f"{new_tokens} new tokens were asked for and {len(made.times_ns)} times came")
    if made.times_ns[0] <= 0:
        raise lied(asked, f"the first time is {made.times_ns[0]} ns after the request")
    for at, (before, after) in enumerate(zip(made.times_ns, made.times_ns[1:], strict=False), start=1):
        if after < before:
            raise lied(asked, f"time {at} is {after} ns, before time {at - 1} of {before} ns")
    if made.times_ns[-1] > elapsed_ns * CLOCK_TOLERANCE + _CLOCK_SLACK_NS:
        raise lied(
            asked,
            f"the last token is said to have come after {made.times_ns[-1] / 1e6:.3f} ms, and the whole answer was "
            f"here after {elapsed_ns / 1e6:.3f} ms",
            "Give times in nanoseconds since the request was read",
        )
    if not isinstance(made.prompt_tokens, Absent) and made.prompt_tokens != prompt_tokens:
        raise lied(asked, f"the prompt has {prompt_tokens} tokens and the engine counted {made.prompt_tokens}")
    return made
