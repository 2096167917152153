"""Rotary positions: angles by definition, scalings against transformers, refusals."""

import math

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from assay.build.nn.rope import RopeScaling, RotaryTable, inverse_frequencies, rotate
from assay.core.errors import CheckpointError

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def test_a_rotation_turns_each_pair_by_its_angle():
    table = RotaryTable(8, 100.0, RopeScaling())
    x = torch.randn(1, 2, 3, 8, generator=torch.Generator().manual_seed(0))
    turned = rotate(x, *table.slice(5, 3, x))
    for t in range(3):
        for i in range(4):
            angle = (5 + t) * 100.0 ** (-2 * i / 8)
            a, b = x[0, :, t, i], x[0, :, t, i + 4]
            torch.testing.assert_close(turned[0, :, t, i], a * math.cos(angle) - b * math.sin(angle))
            torch.testing.assert_close(turned[0, :, t, i + 4], b * math.cos(angle) + a * math.sin(angle))


@pytest.mark.parametrize("scaling", [{"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0}, LLAMA3])
def test_frequencies_equal_those_of_transformers(scaling):
    config = LlamaConfig(
        hidden_size=64,
        num_attention_heads=2,
        max_position_embeddings=512,
        rope_parameters={**scaling, "rope_theta": 5e5},
    )
    reference = LlamaRotaryEmbedding(config).inv_freq
    found = inverse_frequencies(32, 5e5, RopeScaling.from_dict(scaling))
    # The same float32 formula, in another order of operations.
    torch.testing.assert_close(found, reference, rtol=1e-6, atol=0)


def test_the_table_grows_and_follows_type():
    table = RotaryTable(8, 1e4, RopeScaling())
    short = table.slice(0, 4, torch.empty(0))[0].clone()
    assert torch.equal(table.slice(0, 3000, torch.empty(0))[0][:4], short)
    assert table.slice(0, 4, torch.empty(0, dtype=torch.bfloat16))[1].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"rope_type": "yarn", "factor": 2.0}, "yarn"),
        ({"type": "dynamic", "factor": 2.0}, "dynamic"),
        ({"rope_type": "llama3", "factor": 2.0}, "low_freq_factor"),
        ({"rope_type": "linear", "factor": "two"}, "factor"),
        ({"rope_type": "default", "partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(table, named):
    with pytest.raises(CheckpointError, match=named):
        RopeScaling.from_dict(table)
