"""Logits of both families against transformers on small random models, in every way of reading a sequence."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from assay.build.checkpoints import hf_directory
from assay.build.families import build_model
from assay.build.nn.rope import RopeScaling, RotaryTable

LLAMA = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}
GPT2 = {"vocab_size": 97, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CONFIGS = {
    "llama": LlamaConfig(**LLAMA),
    "llama, tied head": LlamaConfig(**LLAMA, tie_word_embeddings=True),
    "llama, one head per key": LlamaConfig(**{**LLAMA, "num_key_value_heads": 6}),
    "llama, one key for all heads": LlamaConfig(**{**LLAMA, "num_key_value_heads": 1}),
    "llama, biases": LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True),
    "llama, head_dim": LlamaConfig(**LLAMA, head_dim=16),
    "llama, llama3 positions": LlamaConfig(**LLAMA, rope_parameters=LLAMA3),
    "llama, linear positions": LlamaConfig(
        **LLAMA, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    ),
    "gpt2": GPT2Config(**GPT2),
    "gpt2, own head": GPT2Config(**GPT2, tie_word_embeddings=False),
    "gpt2, exact gelu": GPT2Config(**GPT2, activation_function="gelu"),
    "gpt2, n_inner and eps": GPT2Config(**GPT2, n_inner=100, layer_norm_epsilon=1e-3),
}


def relative(found, expected):
    """Largest error by the largest logit: single logits near zero have no relative error."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_logits_equal_in_one_pass_in_chunks_and_token_by_token(config, both):
    theirs, ours = both(config)
    tokens = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs(tokens).logits
        # Both compute in float32 in different orders: a few roundings of 6e-8 per operation, 40 operations deep.
        assert relative(ours(tokens), expected) < 1e-5
        assert relative(ours(tokens, last_only=True), expected[:, -1:]) < 1e-5
        for lengths in ((40,), (20, *[1] * 20), (1, 7, 1, 16, 15), (39, 1)):
            cache = ours.new_cache(2, 40, torch.float32, "cpu")
            parts = [ours(chunk, cache) for chunk in tokens.split(lengths, dim=1)]
            assert cache.length == 40
            assert relative(torch.cat(parts, dim=1), expected) < 1e-5


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_padded_batch_gives_each_prompt_what_it_gives_alone(config, both):
    theirs, ours = both(config)
    tokens = torch.randint(0, 97, (3, 24), generator=torch.Generator().manual_seed(1))
    padding = torch.tensor([0, 5, 17])
    real = torch.arange(24) >= padding[:, None]
    with torch.inference_mode():
        positions = (real.cumsum(1) - 1).clamp(min=0)
        expected = theirs(tokens, attention_mask=real.long(), position_ids=positions).logits[real]
        assert relative(ours(tokens, padding_B=padding)[real], expected) < 1e-5
        for lengths in ((20, *[1] * 4), (1, 7, 1, 15), (23, 1)):
            cache = ours.new_cache(3, 24, torch.float32, "cpu")
            parts = [ours(chunk, cache, padding_B=padding) for chunk in tokens.split(lengths, dim=1)]
            assert relative(torch.cat(parts, dim=1)[real], expected) < 1e-5
        # Padding on the right needs nothing.
        for row, count in enumerate(padding):
            alone = theirs(tokens[row : row + 1, : 24 - count]).logits
            assert relative(ours(tokens)[row : row + 1, : 24 - count], alone) < 1e-5


def test_planted_faults_are_seen(both):
    """A comparison proves itself on faults before its "equal" is believed."""
    theirs, ours = both(CONFIGS["llama"])
    tokens = torch.randint(0, 97, (1, 40), generator=torch.Generator().manual_seed(1))
    table = ours.model.rotary
    with torch.inference_mode():
        expected = theirs(tokens).logits
        ours.model.rotary = RotaryTable(8, 10001.0, RopeScaling())
        assert relative(ours(tokens), expected) > 1e-5
        ours.model.rotary = table
        assert relative(ours(tokens), expected) < 1e-5
        ours.model.layers[1].mlp.up_proj.weight[3, 4] *= 1.01
        assert relative(ours(tokens), expected) > 1e-5


@pytest.mark.parametrize("config", [CONFIGS["llama"], CONFIGS["gpt2"]], ids=["llama", "gpt2"])
def test_bf16_logits_are_as_near_as_bf16_is(config, both):
    theirs, ours = both(config, spread=0.02)
    tokens = torch.randint(0, 97, (1, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = theirs(tokens).logits
        theirs, ours = theirs.bfloat16(), ours.bfloat16()
        expected, found = theirs(tokens).logits, ours(tokens)
        assert found.dtype == torch.bfloat16
        # The error of bf16 itself, seen in transformers, is the yardstick; other orders of operations may double it.
        assert relative(found.float(), exact) < 2 * max(relative(expected.float(), exact), 2**-8)


@pytest.mark.parametrize("config", [CONFIGS["llama"], CONFIGS["gpt2"]], ids=["llama", "gpt2"])
def test_a_rewound_cache_goes_on_as_if_nothing_had_happened(config, both):
    _, ours = both(config)
    tokens = torch.randint(0, 97, (1, 30), generator=torch.Generator().manual_seed(1))
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
