"""Published perplexities of models that people measure again, each with its source. It refuses to interpolate.

Tags: published (read in a source), computed (from published points, +- 15 %).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

PAPER = "GPT-2 paper, table 3 (zero-shot, context 1024)"
RAW = "raw test text joined by a blank line, windows of 1024 without overlap (Hugging Face, perplexity of "
"fixed-length models)"
STRIDED = "raw test text, windows of 1024 that start every 512 tokens (Hugging Face, perplexity of fixed-length models)"
CURVE = "GPT-2 small on WikiText-2 by context: 29.17 at 1024, 43.34 at 256, 0.198 nats per halving"


@dataclass(frozen=True)
class Expected:
    """One perplexity, and how it was taken."""

    model: str
    dataset: str
    context: int
    stride: int
    """Tokens between the starts of windows; equal to the context where they do not overlap."""
    perplexity: float
    source: str
    tag: Literal["published", "computed"] = "published"


def _paper(dataset: str, *values: float) -> tuple[Expected, ...]:
    models = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
    return tuple(
        Expected(model, dataset, 1024, 1024, value, PAPER) for model, value in zip(models, values, strict=True)
    )


PERPLEXITIES: tuple[Expected, ...] = (
    *_paper("wikitext-2", 29.41, 22.76, 19.93, 18.34),
    *_paper("wikitext-103", 37.50, 26.37, 22.05, 17.48),
    Expected("gpt2", "wikitext-2", 1024, 1024, 29.94, RAW),
    Expected("gpt2-large", "wikitext-2", 1024, 1024, 19.44, RAW),
    Expected("gpt2", "wikitext-2", 1024, 512, 25.2, STRIDED),
    Expected("gpt2-large", "wikitext-2", 1024, 512, 16.45, STRIDED),
    Expected("gpt2", "wikitext-2", 1024, 1024, 29.17, CURVE),
    Expected("gpt2", "wikitext-2", 512, 512, 35.6, CURVE, "computed"),
    Expected("gpt2", "wikitext-2", 256, 256, 43.34, CURVE),
    Expected("gpt2", "wikitext-2", 128, 128, 53.0, CURVE, "computed"),
    Expected("gpt2", "wikitext-2", 64, 64, 64.0, CURVE, "computed"),
)


def canonical_dataset(written: str) -> str:
    """`wikitext-2` of WikiText-2, wikitext2, wikitext-2-raw-v1 ...; empty where the tables have no such text."""
    text = re.sub(r"[^a-z0-9]", "", written.casefold())
    if text.startswith("wikitext103"):
        return "wikitext-103"
    return "wikitext-2" if text.startswith("wikitext2") else ""


def perplexities(model: str, dataset: str, context: int, stride: int) -> tuple[Expected, ...]:
    """What is published for a model (by `core.shapes.canonical_name`) on a text, by window and stride."""
    return tuple(
        each
        for each in PERPLEXITIES
        if (each.model, each.dataset, each.context, each.stride) == (model, dataset, context, stride)
    )
