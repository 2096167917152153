"""Logits of every decoder family against transformers on small random models, in every way of reading a sequence."""

import copy
import dataclasses
import itertools

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, GPT2Config

from assay.build.checkpoints import hf_directory
from assay.build.families import build_model, family
from assay.build.nn.rope import RopeScaling, RotaryTable
from assay.core.cost import attended, matmul_parameters
from tiny_models import CASES, LEFT_OUT, WINDOW, as_json, plain

LENGTH = 40
TOLERANCE = 1e-5
"""Both compute in float32 in different orders: a few roundings of 6e-8 per operation, 40 operations deep."""
TOLERANCE_64 = {"gpt2": 1e-12, "opt": 1e-12}
"""In float64; elsewhere 5e-6 remain of norms and angles, which both compute in float32 whatever the type."""


def drawn(config, rows=2, length=LENGTH):
    return torch.randint(0, config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(1))


def relative(found, expected):
    """Largest error by the largest logit: single logits near zero have no relative error."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def by_length(config):
    """Whether positions are scaled by how long the sequence has become, so that chunks are other mathematics."""
    rope = getattr(config, "rope_parameters", None) or {}
    return rope.get("rope_type") in ("dynamic", "longrope")


def in_chunks(model, tokens, lengths, dtype=torch.float32, **options):
    cache = model.new_cache(len(tokens), tokens.shape[1], dtype, "cpu")
    parts = [model(chunk, cache, **options) for chunk in tokens.split(lengths, dim=1)]
    assert cache.length == tokens.shape[1]
    return torch.cat(parts, dim=1)


def theirs_in_chunks(model, tokens, lengths):
    # A model of its own: the scaling of a longer sequence that it has read before would stay.
    model = copy.deepcopy(model)
    cache = DynamicCache(config=model.config)
    chunks = tokens.split(lengths, dim=1)
    return torch.cat([model(chunk, past_key_values=cache, use_cache=True).logits for chunk in chunks], dim=1)


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_logits_equal_in_one_pass_in_chunks_and_token_by_token(config, both):
    theirs, ours = both(config)
    fresh = copy.deepcopy(theirs)
    tokens = drawn(config)
    with torch.inference_mode():
        expected = theirs(tokens).logits
        assert relative(ours(tokens), expected) < TOLERANCE
        assert relative(ours(tokens, last_only=True), expected[:, -1:]) < TOLERANCE
        for lengths in ((LENGTH,), (20, *[1] * 20), (1, 7, 1, 16, 15), (39, 1)):
            wanted = theirs_in_chunks(fresh, tokens, lengths) if by_length(config) else expected
            assert relative(in_chunks(ours, tokens, lengths), wanted) < TOLERANCE
        cache = ours.new_cache(2, LENGTH, torch.float32, "cpu")
        whole = ours(tokens, cache)
        cache.rewind(0)
        last = ours(tokens, cache, last_only=True)
        # The same computation but for the shape of the last product.
        assert relative(last, whole[:, -1:]) < 1e-6


@pytest.mark.parametrize("config", plain().values(), ids=plain())
def test_logits_equal_in_double_precision(config, both):
    theirs, ours = both(config)
    theirs, ours = theirs.double(), ours.double()
    tokens = drawn(config)
    tolerance = TOLERANCE_64.get(config.model_type, 5e-6)
    with torch.inference_mode():
        expected = theirs(tokens).logits
        assert expected.dtype == torch.float64
        assert relative(ours(tokens), expected) < tolerance
        assert relative(in_chunks(ours, tokens, (9, 8, 22, 1), torch.float64), expected) < tolerance


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_a_padded_batch_gives_each_prompt_what_it_gives_alone(config, both):
    theirs, ours = both(config)
    tokens = drawn(config, rows=3, length=24)
    padding = torch.tensor([0, 5, 17])
    real = torch.arange(24) >= padding[:, None]
    with torch.inference_mode():
        positions = (real.cumsum(1) - 1).clamp(min=0)
        expected = theirs(tokens, attention_mask=real.long(), position_ids=positions).logits[real]
        assert relative(ours(tokens, padding_B=padding)[real], expected) < TOLERANCE
        # 24 tokens are no more than what length-dependent positions begin with: chunks are the same mathematics.
        for lengths in ((20, *[1] * 4), (1, 7, 1, 15), (23, 1)):
            assert relative(in_chunks(ours, tokens, lengths, padding_B=padding)[real], expected) < TOLERANCE
        # Padding on the right needs nothing.
        for row, count in enumerate(padding):
            alone = theirs(tokens[row : row + 1, : 24 - count]).logits
            assert relative(ours(tokens)[row : row + 1, : 24 - count], alone) < TOLERANCE
            left = ours(tokens, padding_B=padding)[row : row + 1, count:]
            assert relative(left, theirs(tokens[row : row + 1, count:]).logits) < TOLERANCE


WINDOWED = {name: config for name, config in CASES.items() if (getattr(config, "sliding_window", None) or 1) == WINDOW}


@pytest.mark.parametrize("config", WINDOWED.values(), ids=WINDOWED)
@pytest.mark.parametrize("chunk", [1, 3, WINDOW - 1, WINDOW, WINDOW + 1])
def test_prefill_and_decode_equal_decode_alone_near_the_window_and_every_chunk_edge(config, both, chunk):
    _, ours = both(config)
    ours = ours.double()
    tokens = drawn(config)
    edges = {WINDOW + offset for offset in range(-2, 3)}
    edges |= {edge + offset for edge in range(chunk, LENGTH, chunk) for offset in (-1, 0, 1)}
    with torch.inference_mode():
        alone = in_chunks(ours, tokens, 1, torch.float64)
        for prompt in sorted(edge for edge in edges if 0 < edge < LENGTH):
            first = [chunk] * (prompt // chunk) + [prompt % chunk] * (prompt % chunk > 0)
            after = min(WINDOW + 2, LENGTH - prompt)
            found = in_chunks(ours, tokens[:, : prompt + after], [*first, *[1] * after], torch.float64)
            # The same model in float64; norms and angles in float32 are those of each token, however it is read.
            assert relative(found, alone[:, : prompt + after]) < 1e-6, prompt


def test_every_family_with_a_window_is_tried_near_it():
    assert {config.model_type for config in WINDOWED.values()} == {"mistral", "qwen2", "qwen3"}


@pytest.mark.parametrize("model_type", plain())
def test_each_option_that_is_read_has_two_values_among_the_cases(model_type):
    kind = family(model_type)
    read = [kind.Config.from_dict(as_json(c)) for c in CASES.values() if c.model_type == model_type]
    same = {
        field.name
        for field in dataclasses.fields(kind.Config)
        if all(getattr(one, field.name) == getattr(other, field.name) for one, other in itertools.combinations(read, 2))
    }
    assert {(model_type, name) for name in same} <= LEFT_OUT


@pytest.mark.parametrize("config", plain().values(), ids=plain())
def test_the_cost_model_counts_the_products_that_the_model_has(config):
    kind = family(config.model_type)
    read = kind.Config.from_dict(as_json(config))
    linear = [module for module in kind.Model(read).modules() if isinstance(module, torch.nn.Linear)]
    assert matmul_parameters(kind.contract(read, "float32")) == sum(module.weight.numel() for module in linear)


@pytest.mark.parametrize("name", ["mistral", "qwen2, windows by layer", "qwen3, windows from layer 1"])
def test_the_cost_model_counts_what_windows_leave(name):
    config = CASES[name]
    kind = family(config.model_type)
    contract = kind.contract(kind.Config.from_dict(as_json(config)), "float32")
    windows = {"mistral": 3, "qwen2, windows by layer": 2, "qwen3, windows from layer 1": 2}[name]
    assert attended(contract, 40) == windows * WINDOW + (3 - windows) * 40


def test_planted_faults_are_seen(both):
    """A comparison proves itself on faults before its "equal" is believed."""
    theirs, ours = both(CASES["llama"])
    tokens = drawn(CASES["llama"], rows=1)
    table = ours.model.rotary
    with torch.inference_mode():
        expected = theirs(tokens).logits
        ours.model.rotary = RotaryTable(8, 10001.0, RopeScaling())
        assert relative(ours(tokens), expected) > TOLERANCE
        ours.model.rotary = table
        assert relative(ours(tokens), expected) < TOLERANCE
        ours.model.layers[1].mlp.up_proj.weight[3, 4] *= 1.01
        assert relative(ours(tokens), expected) > TOLERANCE


def test_a_window_that_is_one_too_wide_is_seen(both):
    theirs, ours = both(CASES["mistral"])
    tokens = drawn(CASES["mistral"], rows=1)
    with torch.inference_mode():
        expected = theirs(tokens).logits
        for layer in ours.model.layers:
            layer.self_attn.window += 1
        assert relative(ours(tokens), expected) > 1e-3


@pytest.mark.parametrize("config", plain().values(), ids=plain())
def test_bf16_logits_are_as_near_as_bf16_is(config, both):
    theirs, ours = both(config, spread=0.02)
    tokens = drawn(config, rows=1)
    with torch.inference_mode():
        exact = theirs(tokens).logits
        theirs, ours = theirs.bfloat16(), ours.bfloat16()
        expected, found = theirs(tokens).logits, ours(tokens)
        assert found.dtype == torch.bfloat16
        # The error of bf16 itself, seen in transformers, is the yardstick; other orders of operations may double it.
        assert relative(found.float(), exact) < 2 * max(relative(expected.float(), exact), 2**-8)


@pytest.mark.parametrize("config", plain().values(), ids=plain())
def test_a_rewound_cache_goes_on_as_if_nothing_had_happened(config, both):
    _, ours = both(config)
    tokens = drawn(config, rows=1, length=30)
    with torch.inference_mode():
        cache = ours.new_cache(1, 32, torch.float32, "cpu")
        ours(tokens[:, :20], cache)
        once = ours(tokens[:, 20:25], cache)
        ours(tokens[:, :7], cache)
        cache.rewind(20)
        assert torch.equal(ours(tokens[:, 20:25], cache), once)


@pytest.mark.slow
def test_a_gpt2_of_full_size_gives_equal_logits(tmp_path):
    torch.manual_seed(0)
    theirs = AutoModelForCausalLM.from_config(GPT2Config()).eval()
    theirs.save_pretrained(tmp_path)
    ours = build_model(hf_directory.open_checkpoint(tmp_path))
    tokens = torch.randint(0, 50257, (1, 256), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert sum(parameter.numel() for parameter in ours.parameters()) == 124_439_808
        assert relative(ours(tokens), theirs(tokens).logits) < 1e-5
