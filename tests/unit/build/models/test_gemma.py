"""The Gemma families against transformers on small random models, below, at and beyond the window."""

import importlib
import json

import pytest
import torch
from transformers import Gemma2Config, Gemma3nTextConfig, Gemma3TextConfig, Gemma4TextConfig

from assay.build.checkpoints import random as random_checkpoint
from assay.build.families import build_model
from assay.build.models import gemma3n_text, gemma4_text
from assay.build.transforms import int8_weight_only
from assay.core import cost
from assay.core.errors import ContractError

WINDOW, TOKENS = 8, 40
SHAPE = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "sliding_window": WINDOW,
    "query_pre_attn_scalar": 24,
}
LOCAL_FIRST = ["sliding_attention", "full_attention", "full_attention", "sliding_attention", "full_attention"]
POSITIONS = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
CONFIGS = {
    # transformers computes caps of scores in its plain implementation alone.
    "gemma2": Gemma2Config(**SHAPE, attn_implementation="eager"),
    "gemma2, low caps": Gemma2Config(
        **SHAPE, attn_implementation="eager", attn_logit_softcapping=2.0, final_logit_softcapping=3.0
    ),
    "gemma2, no caps": Gemma2Config(**SHAPE, attn_logit_softcapping=None, final_logit_softcapping=None),
    "gemma2, own head, biases": Gemma2Config(
        **SHAPE, attn_implementation="eager", tie_word_embeddings=False, attention_bias=True
    ),
    "gemma3": Gemma3TextConfig(**SHAPE, sliding_window_pattern=3),
    "gemma3, all local": Gemma3TextConfig(**SHAPE),
    "gemma3, layer_types": Gemma3TextConfig(**SHAPE, layer_types=LOCAL_FIRST, final_logit_softcapping=5.0),
    "gemma3, linear positions": Gemma3TextConfig(**SHAPE, sliding_window_pattern=2, rope_parameters=POSITIONS),
    "gemma3, one key for all heads": Gemma3TextConfig(
        **{**SHAPE, "num_key_value_heads": 1}, sliding_window_pattern=2, attention_bias=True
    ),
}
SHAPE_3N = {key: value for key, value in SHAPE.items() if key != "query_pre_attn_scalar"}
SHAPE_3N |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 90, "laurel_rank": 6}
SHAPE_3N |= {"num_hidden_layers": 6, "num_kv_shared_layers": 2}
LOCAL_AND_GLOBAL = ["sliding_attention", "full_attention"] * 3
CONFIGS |= {
    "gemma3n": Gemma3nTextConfig(**SHAPE_3N, layer_types=LOCAL_AND_GLOBAL),
    "gemma3n, nothing shared, sparse gates": Gemma3nTextConfig(
        **{**SHAPE_3N, "num_kv_shared_layers": 0, "intermediate_size": [80, 80, 64, 80, 48, 80]},
        layer_types=LOCAL_AND_GLOBAL,
        activation_sparsity_pattern=[0.95, 0.5, 0.0, 0.0, 0.3, 0.0],
    ),
    "gemma3n, two streams, the second active": Gemma3nTextConfig(
        **{**SHAPE_3N, "num_kv_shared_layers": 4},
        layer_types=LOCAL_AND_GLOBAL,
        altup_num_inputs=2,
        altup_active_idx=1,
        altup_correct_scale=False,
        attention_bias=True,
        final_logit_softcapping=5.0,
    ),
}
SHAPE_4 = {key: value for key, value in SHAPE_3N.items() if key != "laurel_rank"}
SHAPE_4 |= {"vocab_size_per_layer_input": 97, "global_head_dim": 24, "layer_types": LOCAL_AND_GLOBAL}
EXPERTS = {"enable_moe_block": True, "num_experts": 5, "top_k_experts": 2, "moe_intermediate_size": 24}
CONFIGS |= {
    "gemma4": Gemma4TextConfig(**SHAPE_4),
    "gemma4, nothing shared, no embeddings of layers": Gemma4TextConfig(
        **{**SHAPE_4, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 0},
        final_logit_softcapping=5.0,
        attention_bias=True,
    ),
    "gemma4, keys as values, wide shared layers": Gemma4TextConfig(
        **SHAPE_4, attention_k_eq_v=True, num_global_key_value_heads=1, use_double_wide_mlp=True
    ),
    # The kernel that transformers prefers for experts has no float64.
    "gemma4, experts": Gemma4TextConfig(**SHAPE_4, **EXPERTS, experts_implementation="eager"),
}
CHUNKS = (
    (TOKENS,),
    (20, *[1] * 20),
    (1, 7, 1, 16, 15),
    (WINDOW - 1, *[1] * 4, 29),
    (WINDOW, *[1] * 4, 28),
    (WINDOW + 1, 1, WINDOW - 1, 1, WINDOW, 1, 13),
    (39, 1),
    (1,) * TOKENS,
)


def relative(found, expected):
    """Largest error by the largest logit: single logits near zero have no relative error."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def drawn(batch=2, count=TOKENS):
    return torch.randint(0, 97, (batch, count), generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def pair(request, both):
    return both(request.param)


def test_logits_equal_in_one_pass_in_chunks_and_token_by_token(pair):
    theirs, ours = pair
    tokens = drawn()
    with torch.inference_mode():
        expected = theirs(tokens).logits
        # Both compute in float32 in different orders: a few roundings of 6e-8 per operation, 60 operations deep.
        assert relative(ours(tokens), expected) < 1e-5
        assert relative(ours(tokens, last_only=True), expected[:, -1:]) < 1e-5
        for kind in ("static", "growing"):
            for lengths in CHUNKS:
                cache = ours.new_cache(2, TOKENS, torch.float32, "cpu", kind)
                parts = [ours(chunk, cache) for chunk in tokens.split(lengths, dim=1)]
                assert cache.length == TOKENS
                assert relative(torch.cat(parts, dim=1), expected) < 1e-5, lengths


def test_float64_logits_are_nearer(pair):
    theirs, ours = pair
    theirs, ours, tokens = theirs.double(), ours.double(), drawn()
    with torch.inference_mode():
        # Norms, scores and positions are float32 on both sides even so: their roundings are what is left.
        assert relative(ours(tokens), theirs(tokens).logits) < 2e-6


@pytest.mark.parametrize("count", [1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 2 * WINDOW + 1])
def test_lengths_around_the_window(pair, count):
    theirs, ours = pair
    tokens = drawn(count=count)
    with torch.inference_mode():
        expected = theirs(tokens).logits
        assert relative(ours(tokens), expected) < 1e-5
        cache = ours.new_cache(2, count, torch.float32, "cpu")
        parts = [ours(token, cache) for token in tokens.split(1, dim=1)]
        assert relative(torch.cat(parts, dim=1), expected) < 1e-5


def test_prefill_and_decode_equal_decode_alone_at_every_edge(pair):
    _, ours = pair
    tokens = drawn(1, 2 * WINDOW + 4)
    with torch.inference_mode():
        cache = ours.new_cache(1, 2 * WINDOW + 4, torch.float32, "cpu")
        alone = torch.cat([ours(token, cache) for token in tokens.split(1, dim=1)], dim=1)
        for edge in range(1, 2 * WINDOW + 4):
            cache = ours.new_cache(1, 2 * WINDOW + 4, torch.float32, "cpu")
            prefill = ours(tokens[:, :edge], cache, last_only=True)
            decoded = [ours(token, cache) for token in tokens[:, edge:].split(1, dim=1)]
            assert relative(torch.cat([prefill, *decoded], dim=1), alone[:, edge - 1 :]) < 1e-5, edge


def test_a_padded_batch_gives_each_prompt_what_it_gives_alone(pair):
    theirs, ours = pair
    tokens, padding = drawn(3, 28), torch.tensor([0, 5, 17])
    with torch.inference_mode():
        alone = [theirs(tokens[row : row + 1, skip:]).logits[0] for row, skip in enumerate(padding)]
        found = ours(tokens, padding_B=padding)
        for row, skip in enumerate(padding):
            assert relative(found[row, skip:], alone[row]) < 1e-5
        for lengths in ((20, *[1] * 8), (1, 7, 1, 19), (27, 1)):
            cache = ours.new_cache(3, 28, torch.float32, "cpu")
            parts = [ours(chunk, cache, padding_B=padding) for chunk in tokens.split(lengths, dim=1)]
            for row, skip in enumerate(padding):
                assert relative(torch.cat(parts, dim=1)[row, skip:], alone[row]) < 1e-5


def test_a_cache_rewound_after_a_wrap_goes_on_as_if_nothing_had_happened(pair, monkeypatch):
    monkeypatch.setattr("assay.build.nn.kv_cache_sliding.SLACK", 4)
    theirs, ours = pair
    tokens, other = drawn(1), drawn(2)[1:]
    with torch.inference_mode():
        expected = theirs(tokens).logits
        cache = ours.new_cache(1, TOKENS, torch.float32, "cpu")
        found = [ours(tokens[:, :12], cache)]
        for start in range(12, TOKENS - 3):
            # Four tokens are drafted; the first one is right, the others are forgotten.
            drafted = torch.cat((tokens[:, start : start + 1], other[:, :3]), dim=1)
            found.append(ours(drafted, cache)[:, :1])
            cache.rewind(start + 1)
        assert relative(torch.cat(found, dim=1), expected[:, : TOKENS - 3]) < 1e-5
        if ours.config.windows != (None,) * 5:
            with pytest.raises(ContractError, match="has left behind"):
                cache.rewind(WINDOW)
        assert cache.length == TOKENS - 3


def test_local_layers_keep_their_window_and_little_more(pair):
    _, ours = pair
    config = ours.config
    cache = ours.new_cache(1, 128, torch.float32, "cpu")
    slots = {None: 128, WINDOW: (WINDOW - 1 + 64) * 5 // 4}
    keeping = sorted(set(getattr(config, "kv_owners", range(config.num_hidden_layers))))

    def bytes_of(layer):
        heads, width = config.num_key_value_heads, config.head_dim
        by_layer = isinstance(width, tuple)
        return 2 * 4 * (heads[layer] * width[layer] if by_layer else heads * width) * slots[config.windows[layer]]

    assert cache.nbytes == sum(map(bytes_of, keeping))


def test_planted_faults_are_seen(both):
    """A comparison proves itself on faults before its "equal" is believed."""
    theirs, ours = both(CONFIGS["gemma3"])
    tokens = drawn()
    with torch.inference_mode():
        expected = theirs(tokens).logits
        layer = ours.model.layers[1]
        for owner, name, wrong in (
            (layer.self_attn, "window", WINDOW + 1),
            (layer.self_attn, "window", WINDOW - 1),
            (layer.self_attn, "scale", 0.25),
            (layer.post_attention_layernorm, "_offset", 0),
            (ours.model, "rotary_local", ours.model.rotary_global),
            (ours.model.embed_tokens, "_rounded", {torch.float32: 7.0}),
        ):
            right = getattr(owner, name)
            setattr(owner, name, wrong)
            assert relative(ours(tokens), expected) > 1e-4, name
            setattr(owner, name, right)
        assert relative(ours(tokens), expected) < 1e-5


def test_products_of_matrices_are_those_that_the_contract_counts(pair):
    _, ours = pair
    counted = 0

    def count(module, _, __):
        nonlocal counted
        counted += module.weight.numel()

    for module in ours.modules():
        if isinstance(module, torch.nn.Linear | gemma3n_text.Coefficients):
            module.register_forward_hook(count)
    with torch.inference_mode():
        ours(drawn(1, 1))
    if isinstance(getattr(ours.config, "experts", None), gemma4_text.Experts):
        counted += ours.config.num_hidden_layers * 2 * 3 * 48 * 24
    family = importlib.import_module(type(ours).__module__)
    assert cost.matmul_parameters(family.contract(ours.config, "float32")) == counted


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "gemma3n", "gemma4"])
def test_bf16_logits_are_as_near_as_bf16_is(name, both):
    theirs, ours = both(CONFIGS[name], spread=0.02)
    tokens = drawn(1)
    with torch.inference_mode():
        exact = theirs(tokens).logits
        theirs, ours = theirs.bfloat16(), ours.bfloat16()
        expected, found = theirs(tokens).logits, ours(tokens)
        assert found.dtype == torch.bfloat16
        # The error of bf16 itself, seen in transformers, is the yardstick; other orders of operations may double it.
        assert relative(found.float(), exact) < 2 * max(relative(expected.float(), exact), 2**-8)


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "gemma3n", "gemma4"])
def test_random_weights_compute_and_int8_leaves_the_coefficients_of_streams(name, tmp_path):
    """torch's int8 kernel crashes on matrices as narrow as the streams are few."""
    config = json.loads(CONFIGS[name].to_json_string(use_diff=False))
    config |= {"hidden_size_per_layer_input": 16} if "hidden_size_per_layer_input" in config else {}
    config |= {"laurel_rank": 16} if "laurel_rank" in config else {}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = build_model(random_checkpoint.open_checkpoint(tmp_path))
    tokens = drawn(1)
    with torch.inference_mode():
        expected = ours(tokens)
        change = int8_weight_only.apply(ours.bfloat16(), int8_weight_only.Options())
        found = ours(tokens).float()
    assert expected.std() > 0
    assert not [module for module in change.modules if "altup." in module]
    # bf16 and int8 leave two digits of logits that random weights make small.
    assert relative(found, expected) < 0.2
