"""Shapes of models: parameters and FLOPs against published figures, and how they are written."""

from __future__ import annotations

import pytest

from assay.core import cost
from assay.core.errors import InputError
from assay.core.shapes import KNOWN, Shape, canonical_name, known_shape, parse_shape

PUBLISHED = {
    "gpt2": 124e6, "gpt2-medium": 355e6, "gpt2-large": 774e6, "gpt2-xl": 1558e6, "smollm2-135m": 134.5e6,
    "smollm2-360m": 361.8e6, "smollm2-1.7b": 1711e6, "gemma-3-270m": 268e6, "tinyllama-1.1b": 1100e6,
    "llama-2-7b": 6738e6, "llama-3-8b": 8030e6,
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert KNOWN[name].parameters == pytest.approx(PUBLISHED[name], rel=0.01)


def test_gpt2_takes_the_flops_of_the_specification() -> None:
    contract = KNOWN["gpt2"].contract()
    assert cost.forward_flops(contract, 1, 128) == pytest.approx(32.2e9, rel=0.005)
    assert cost.forward_flops(contract, 1, 512) == pytest.approx(136e9, rel=0.005)


@pytest.mark.parametrize(
    ("written", "name"),
    [("GPT-2", "gpt2"), ("openai-community/gpt2-xl", "gpt2-xl"), ("GPT-2 small", "gpt2"),
     ("SmolLM2 135M", "smollm2-135m"), ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m"),
     ("a model of ours", ""), ("", "")],
)  # fmt: skip
def test_names_are_understood_as_people_write_them(written: str, name: str) -> None:
    assert canonical_name(written) == name
    assert (known_shape(written) is None) == (name == "")


def test_a_shape_is_read_as_it_is_written() -> None:
    assert parse_shape("S=12x768x3072,gated") == ("S", Shape(12, 768, 3072, gated=True))
    assert parse_shape("24x1024x4096,vocab=50257,heads=16,untied") == (
        "",
        Shape(24, 1024, 4096, vocab_size=50257, heads=16, tied=False),
    )


@pytest.mark.parametrize("text", ["S=12x768", "S=12x768x3072,wide", "S=0x768x3072", "12x768x3072,vocab=many", "S"])
def test_another_shape_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="gated"):
        parse_shape(text)
