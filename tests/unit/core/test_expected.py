"""Published perplexities: found by the names that people write, and consistent with the curve over contexts."""

from __future__ import annotations

import math

import pytest

from assay.core.expected import CURVE, PERPLEXITIES, canonical_dataset, perplexities
from assay.core.shapes import KNOWN


@pytest.mark.parametrize(
    ("written", "name"),
    [("WikiText-2", "wikitext-2"), ("wikitext-2-raw-v1", "wikitext-2"), ("wikitext2", "wikitext-2"),
     ("WikiText 103", "wikitext-103"), ("C4", ""), ("", "")],
)  # fmt: skip
def test_texts_are_understood_as_people_write_them(written: str, name: str) -> None:
    assert canonical_dataset(written) == name


def test_every_value_is_of_a_known_model_and_has_a_source() -> None:
    for each in PERPLEXITIES:
        assert each.model in KNOWN
        assert each.source
        assert each.stride <= each.context


def test_the_curve_falls_by_a_fifth_of_a_nat_per_doubling() -> None:
    curve = {each.context: each.perplexity for each in PERPLEXITIES if each.source == CURVE}
    for context in (64, 128, 256, 512):
        step = math.log(curve[context] / curve[2 * context])
        assert step == pytest.approx(0.198, abs=0.02)


def test_larger_models_predict_better() -> None:
    for dataset in ("wikitext-2", "wikitext-103"):
        best = [
            min(e.perplexity for e in perplexities(model, dataset, 1024, 1024))
            for model in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
        ]
        assert best == sorted(best, reverse=True)
