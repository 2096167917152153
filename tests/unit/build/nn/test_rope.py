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


SCALINGS = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 3.0},
    "llama3": LLAMA3,
    "yarn": {"rope_type": "yarn", "factor": 4.0},
    "yarn, all keys": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 16.0,
        "beta_slow": 2.0,
        "mscale": 0.7,
        "mscale_all_dim": 0.9,
        "truncate": False,
    },
    "yarn, attention factor": {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.8},
    "longrope": {
        "rope_type": "longrope",
        "short_factor": [1.0 + 0.1 * i for i in range(16)],
        "long_factor": [2.0 + 0.3 * i for i in range(16)],
        "original_max_position_embeddings": 64,
    },
    "longrope, attention factor": {
        "rope_type": "longrope",
        "short_factor": [1.0] * 16,
        "long_factor": [3] * 16,
        "original_max_position_embeddings": 64,
        "factor": 2.0,
        "attention_factor": 1.3,
    },
}


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("lengths", [(10,), (63, 64, 65), (300, 128), (20, 500)])
def test_angles_and_their_factor_equal_those_of_transformers(scaling, lengths):
    config = LlamaConfig(
        hidden_size=64,
        num_attention_heads=2,
        max_position_embeddings=128,
        rope_parameters={**scaling, "rope_theta": 5e5},
    )
    table = RotaryTable(32, 5e5, RopeScaling.from_dict(scaling, 128))
    for length in lengths:
        # A new one each time: what transformers scaled for a longer sequence it keeps for a shorter one.
        reference = LlamaRotaryEmbedding(config)
        cos, sin = reference(torch.empty(0), torch.arange(length)[None])
        found_cos, found_sin = table.slice(0, length, torch.empty(0))
        # The same float32 angles up to 500 radians in another order of operations: 500 x 6e-8, a few times.
        torch.testing.assert_close(found_cos, cos[0], rtol=0, atol=2e-4)
        torch.testing.assert_close(found_sin[:, 16:], sin[0, :, 16:], rtol=0, atol=2e-4)


@pytest.mark.parametrize("kind", SCALINGS)
def test_frequencies_equal_those_of_transformers(kind):
    config = LlamaConfig(
        hidden_size=64,
        num_attention_heads=2,
        max_position_embeddings=512,
        rope_parameters={**SCALINGS[kind], "rope_theta": 5e5},
    )
    reference = LlamaRotaryEmbedding(config).inv_freq
    found = inverse_frequencies(32, 5e5, RopeScaling.from_dict(SCALINGS[kind], 512))
    # The same float32 formula, in another order of operations.
    torch.testing.assert_close(found, reference, rtol=1e-6, atol=0)


def test_only_the_first_part_of_a_head_is_rotated():
    x = torch.randn(1, 2, 3, 16, generator=torch.Generator().manual_seed(0))
    part = RotaryTable(16, 100.0, RopeScaling(partial_rotary_factor=0.5)).slice(5, 3, x)
    whole = RotaryTable(8, 100.0, RopeScaling()).slice(5, 3, x)
    assert torch.equal(rotate(x, *part)[..., :8], rotate(x[..., :8], *whole))
    assert torch.equal(rotate(x, *part)[..., 8:], x[..., 8:])


def test_padding_shifts_the_positions_of_each_sequence():
    like = torch.empty(0)
    table = RotaryTable(8, 1e4, RopeScaling())
    cos, sin = table.slice(2, 5, like, torch.tensor([0, 3]))
    assert torch.equal(cos[0, 0], table.slice(2, 5, like)[0])
    assert torch.equal(sin[1, 0, 1:], table.slice(0, 4, like)[1])


def test_the_longest_sequence_of_a_padded_batch_decides_the_scaling():
    like = torch.empty(0)
    scaling = RopeScaling.from_dict(SCALINGS["dynamic"], 16)
    padded = RotaryTable(8, 1e4, scaling).slice(0, 24, like, torch.tensor([4, 10]))[0]
    assert torch.equal(padded[0, 0, 4:], RotaryTable(8, 1e4, scaling).slice(0, 20, like)[0])


@pytest.mark.parametrize(("kind", "length"), [("default", 128), ("dynamic", 384), ("yarn", 512), ("longrope", 128)])
def test_the_context_is_what_the_scaling_makes_room_for(kind, length):
    assert RopeScaling.from_dict(SCALINGS[kind], 128).context_length(128) == length


def test_the_table_grows_and_follows_type():
    table = RotaryTable(8, 1e4, RopeScaling())
    short = table.slice(0, 4, torch.empty(0))[0].clone()
    assert torch.equal(table.slice(0, 3000, torch.empty(0))[0][:4], short)
    assert table.slice(0, 4, torch.empty(0, dtype=torch.bfloat16))[1].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"rope_type": "su", "factor": 2.0}, "'su'"),
        ({"type": "mrope", "mrope_section": [1]}, "'mrope'"),
        ({"type": "dynamic", "factor": 2.0, "alpha": 1000.0}, "alpha"),
        ({"rope_type": "yarn"}, "missing.*factor"),
        ({"rope_type": "yarn", "factor": 2.0, "truncate": 1}, "truncate"),
        ({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 1.5}, "original_max"),
        ({"rope_type": "longrope", "long_factor": [1.0], "short_factor": 1.0}, "short_factor"),
        ({"rope_type": "llama3", "factor": 2.0}, "low_freq_factor"),
        ({"rope_type": "linear", "factor": "two"}, "factor"),
        ({"rope_type": "linear", "factor": 2.0, "truncate": True}, "truncate"),
        ({"rope_type": "default", "partial_rotary_factor": -0.5}, "partial_rotary_factor"),
        ({"rope_type": "default", "mscale": 1.0}, "mscale"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(table, named):
    with pytest.raises(CheckpointError, match=named):
        RopeScaling.from_dict(table)
