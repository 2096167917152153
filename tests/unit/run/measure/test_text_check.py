"""Figures of texts tell loops and garbage from healthy text; the likelihood is that of a slow oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.run.measure.text_check import figures, mean_nll, script_share

HEALTHY = (
    "the wind came in first, carrying salt and the sound of gulls. He had kept the light for thirty years, and in all "
    "of them nobody had knocked so late. A boy stood outside with a lantern, and would not say his name."
)


def ids(text: str) -> list[int]:
    return [hash(word) % 50_000 for word in text.split()]


def of(text: str) -> Any:
    return figures([text], [ids(text)])


def test_a_loop_compresses_and_repeats() -> None:
    loop = of("I am not sure. " * 40)
    healthy = of(HEALTHY)
    assert loop["text_compression"] > 4 * healthy["text_compression"]
    assert loop["text_distinct_2"] < 0.1 < healthy["text_distinct_2"]
    assert loop["text_repeated_4grams"] > 0.9 > healthy["text_repeated_4grams"]


def test_scripts_and_words() -> None:
    assert script_share(HEALTHY) == 1.0
    assert script_share("灯台守は扉を開けた。") == 1.0
    assert script_share("the door الحارس فتح 灯台守は Привет") < 0.5
    assert script_share("12 + 30 = 42") == 1.0
    assert of("a" + "b" * 80)["text_longest_word"] == 81


def test_grams_do_not_cross_texts() -> None:
    assert figures(["a", "b"], [[1, 2], [1, 2]])["text_distinct_2"] == 0.5
    assert figures([], [])["text_distinct_2"] == 1.0


class Session:
    """Logits that depend on the position and the token."""

    def logits(self, tokens_BT: Any) -> Any:
        draw = np.random.default_rng(int(tokens_BT.sum()))
        return draw.normal(size=(*tokens_BT.shape, 17)).astype(np.float32)


def test_the_likelihood_is_that_of_a_slow_oracle() -> None:
    prompts, written = [[1, 2, 3], [4]], [[5, 6], [7, 8, 9]]
    total = 0.0
    for prompt, text in zip(prompts, written, strict=True):
        logits = Session().logits(np.asarray([[*prompt, *text]]))[0].astype(np.float64)
        for place, token in enumerate(text):
            row = logits[len(prompt) + place - 1]
            total -= float(np.log(np.exp(row[token]) / np.exp(row).sum()))
    assert mean_nll(Session(), prompts, written) == pytest.approx(total / 5, rel=1e-12)
