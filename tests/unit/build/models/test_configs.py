"""What the families read from config.json, what they refuse, and what they warn of."""

import warnings

import pytest

from assay.build.models import gemma2, gemma3_text, gemma3n_text, gemma4_text, gpt2, llama
from assay.core.errors import CheckpointError

LLAMA = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 96}


def test_configs_of_both_versions_of_transformers_read_the_same():
    four = {**LLAMA, "rope_theta": 5e5, "rope_scaling": None, "torch_dtype": "bfloat16", "pretraining_tp": 1}
    five = {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "dtype": "bfloat16"}
    assert llama.Config.from_dict(four) == llama.Config.from_dict(five)
    assert llama.Config.from_dict(four).rope_theta == 5e5


def test_scaled_positions_of_both_versions_read_the_same():
    table = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    four = {**LLAMA, "rope_theta": 5e5, "rope_scaling": {**table, "rope_type": "llama3"}}
    five = {**LLAMA, "rope_parameters": {**table, "rope_type": "llama3", "rope_theta": 5e5}}
    assert llama.Config.from_dict(four) == llama.Config.from_dict(five)


def test_missing_fields_take_the_defaults_of_transformers():
    from transformers import GPT2Config, LlamaConfig

    theirs, ours = LlamaConfig(), llama.Config.from_dict({})
    for field in ("vocab_size", "hidden_size", "num_key_value_heads", "rms_norm_eps", "max_position_embeddings"):
        assert getattr(ours, field) == getattr(theirs, field), field
    theirs, ours = GPT2Config(), gpt2.Config.from_dict({})
    for field in ("vocab_size", "n_embd", "n_positions", "activation_function", "layer_norm_epsilon"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert ours.n_inner == 4 * 768


def test_gemmas_take_the_defaults_of_transformers_and_an_explicit_null():
    from transformers import Gemma2Config, Gemma3TextConfig

    same = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_key_value_heads", "head_dim")
    same += ("max_position_embeddings", "query_pre_attn_scalar", "final_logit_softcapping")
    for family, config in ((gemma2, Gemma2Config), (gemma3_text, Gemma3TextConfig)):
        theirs, ours = config(), family.Config.from_dict({})
        for field in same:
            assert getattr(ours, field) == getattr(theirs, field), field
        windows = {"sliding_attention": theirs.sliding_window, "full_attention": None}
        assert ours.windows == tuple(windows[kind] for kind in theirs.layer_types)
        assert ours == family.Config.from_dict(theirs.to_dict())
    assert gemma2.Config.from_dict({}).attn_logit_softcapping == 50.0
    assert gemma2.Config.from_dict({"attn_logit_softcapping": None}).attn_logit_softcapping is None


def test_gemma3_positions_of_both_versions_read_the_same():
    four = {"rope_theta": 5e5, "rope_local_base_freq": 2e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    five = {
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
        }
    }
    assert gemma3_text.Config.from_dict(four) == gemma3_text.Config.from_dict(five)


def test_every_key_that_transformers_writes_is_known():
    from transformers import (
        Gemma2Config,
        Gemma3nTextConfig,
        Gemma3TextConfig,
        Gemma4TextConfig,
        GPT2Config,
        LlamaConfig,
    )

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llama.Config.from_dict(LlamaConfig().to_dict())
        gpt2.Config.from_dict(GPT2Config().to_dict())
        gemma2.Config.from_dict(Gemma2Config().to_dict())
        gemma3_text.Config.from_dict(Gemma3TextConfig().to_dict())
        assert gemma3n_text.Config.from_dict(Gemma3nTextConfig().to_dict()) == gemma3n_text.Config.from_dict({})
        assert gemma4_text.Config.from_dict(Gemma4TextConfig().to_dict()) == gemma4_text.Config.from_dict({})


def test_keys_known_to_alter_another_familys_computation_are_refused_unless_they_are_off():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llama.Config.from_dict({**LLAMA, "final_logit_softcapping": None, "num_local_experts": 1, "logit_scale": 1.0})
    with pytest.raises(CheckpointError, match=r"num_local_experts = 8 changes the computation.*for llama"):
        llama.Config.from_dict({**LLAMA, "num_local_experts": 8})


def test_unknown_keys_are_named_in_a_warning():
    with pytest.warns(UserWarning, match="not use: clip_qkv, zeta"):
        llama.Config.from_dict({**LLAMA, "zeta": 1, "clip_qkv": 8.0})


@pytest.mark.parametrize(
    ("family", "wrong", "said"),
    [
        (llama, {"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        (llama, {"rope_scaling": {"type": "su", "factor": 4.0}}, "'su'"),
        (llama, {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (llama, {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        (llama, {"sliding_window": 64}, "sliding_window = 64"),
        (llama, {"quantization_config": {"bits": 4}}, "quantization_config"),
        (llama, {"hidden_size": -1}, "hidden_size = -1"),
        (llama, {"hidden_size": True}, "hidden_size = True"),
        (llama, {"rms_norm_eps": "small"}, "rms_norm_eps = 'small'"),
        (llama, {"rope_scaling": 8.0}, "must be a table"),
        (llama, {"num_key_value_heads": 3}, "4 heads over 3 key-value heads"),
        (llama, {"head_dim": 15}, "width 15"),
        (gemma2, {"hidden_activation": "relu"}, "hidden_activation = 'relu'"),
        (gemma2, {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        (gemma2, {"layer_types": ["full_attention"]}, "1 of full_attention for 26 layers"),
        (gemma2, {"layer_types": ["chunked_attention"] * 26}, "26 of chunked_attention"),
        (gemma2, {"layer_types": "all"}, "a list of strings"),
        (gemma2, {"final_logit_softcapping": 0.0}, "final_logit_softcapping = 0.0"),
        (gemma2, {"num_key_value_heads": 3}, "8 heads over 3 key-value heads"),
        (gemma3n_text, {"num_kv_shared_layers": 34}, "layer 4 is to read keys"),
        (gemma3n_text, {"altup_active_idx": 4}, "stream 4 of 4"),
        (gemma3n_text, {"activation_sparsity_pattern": 1.0}, "sparsity up to 1.0"),
        (gemma3n_text, {"activation_sparsity_pattern": [0.5]}, "a list of 35"),
        (gemma3n_text, {"intermediate_size": -1}, "intermediate_size = -1"),
        (gemma4_text, {"use_bidirectional_attention": "all"}, "use_bidirectional_attention = 'all'"),
        (gemma4_text, {"per_layer_config": {"3": {"head_dim": 128}}}, "key-value heads of width 256"),
        (gemma4_text, {"per_layer_config": {"full_attention": {"head_dim": 512}}}, "its layers are full_attention"),
        (gemma4_text, {"enable_moe_block": True}, "'num_experts' is missing"),
        (gemma4_text, {"vocab_size_per_layer_input": 100}, "100 tokens of 262144"),
        (gemma3_text, {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping = 50.0"),
        (gemma3_text, {"sliding_window": None, "query_pre_attn_scalar": -1}, "query_pre_attn_scalar = -1"),
        (gemma3_text, {"rope_scaling": {"rope_type": "zeta"}}, "zeta"),
        (gpt2, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        (gpt2, {"scale_attn_weights": False}, "scale_attn_weights"),
        (gpt2, {"activation_function": "relu"}, "activation_function = 'relu'"),
        (gpt2, {"n_head": 7}, "n_head = 7"),
        (gpt2, {"bias": "no"}, "bias = 'no'"),
    ],
)
def test_other_mathematics_is_refused_by_name(family, wrong, said):
    known = LLAMA if family is llama else {}
    with pytest.raises(CheckpointError, match=said):
        family.Config.from_dict({**known, **wrong})
