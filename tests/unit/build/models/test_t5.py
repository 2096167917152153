"""T5 against transformers: one pass, decoding behind a source, chunks, rewind, padded sources, buckets of distances."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention

from assay import catalog
from assay.build.checkpoints import hf_directory
from assay.build.families import build_model
from assay.build.models.t5 import buckets_of
from assay.core.errors import CheckpointError, ContractError

T5 = {
    "vocab_size": 97, "d_model": 48, "d_kv": 12, "d_ff": 80, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4,
    "decoder_start_token_id": 0, "relative_attention_max_distance": 20, "relative_attention_num_buckets": 8,
}  # fmt: skip
CONFIGS = {
    "plain": {},
    "gated": {"feed_forward_proj": "gated-gelu"},
    "gated silu, another start": {"feed_forward_proj": "gated-silu", "decoder_start_token_id": 5},
    "unscaled head": {"tie_word_embeddings": False},
    "usual buckets, one head": {
        "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32, "num_heads": 1, "d_kv": 48,
    },
}  # fmt: skip


def saved(changes, path, spread=0.1):
    """T5 does not scale its scores: wider weights than these make a softmax so steep that rounding itself is seen."""
    torch.manual_seed(0)
    theirs = T5ForConditionalGeneration(T5Config(**{**T5, **changes})).eval()
    for parameter in theirs.parameters():
        parameter.data += torch.randn_like(parameter) * spread
    theirs.save_pretrained(path)
    return theirs, build_model(hf_directory.open_checkpoint(path))


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def ids(*shape, seed=1):
    return torch.randint(1, 97, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_logits_equal_in_every_way_of_decoding(changes, tmp_path):
    theirs, ours = saved(changes, tmp_path)
    start = theirs.config.decoder_start_token_id
    source, target = ids(2, 30), ids(2, 24, seed=2)
    given = torch.cat((torch.full((2, 1), start), target), dim=1)
    with torch.inference_mode():
        expected = theirs(input_ids=source, decoder_input_ids=given).logits
        for lengths in ((24,), (1,) * 24, (1, 7, 1, 15), (23, 1)):
            for kind in ("static", "growing"):
                cache = ours.new_cache(2, 54, torch.float32, "cpu", kind)
                parts = [ours(source, cache)]
                assert cache.length == 30
                parts += [ours(chunk, cache) for chunk in target.split(lengths, dim=1)]
                assert cache.length == 54
                # Both compute in float32 in different orders.
                assert relative(torch.cat(parts, dim=1), expected) < 1e-5
        window = theirs(input_ids=source, decoder_input_ids=source).logits
        assert relative(ours(source), window) < 1e-5
        assert relative(ours(source, last_only=True), window[:, -1:]) < 1e-5


def test_a_head_of_its_own_is_read_and_a_contradiction_refused(tmp_path):
    theirs, _ = saved({"tie_word_embeddings": False}, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = torch.randn(97, 48, generator=torch.Generator().manual_seed(3))
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(CheckpointError, match="ties the head"):
        build_model(hf_directory.open_checkpoint(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    ours = build_model(hf_directory.open_checkpoint(tmp_path))
    source = ids(1, 9)
    with torch.inference_mode():
        states = theirs(input_ids=source, decoder_input_ids=source, output_hidden_states=True).decoder_hidden_states[-1]
        assert relative(ours(source), states @ tensors["lm_head.weight"].t()) < 1e-5


def test_padded_sources_give_what_each_gives_alone(tmp_path):
    theirs, ours = saved(CONFIGS["gated"], tmp_path)
    lengths = (30, 4, 17)
    sources = [ids(1, length, seed=length) for length in lengths]
    target = ids(3, 6, seed=2)
    padding = torch.tensor([30 - length for length in lengths])
    batch = torch.cat([torch.cat((torch.full((1, 30 - s.shape[1]), 96), s), dim=1) for s in sources])
    with torch.inference_mode():
        cache = ours.new_cache(3, 40, torch.float32, "cpu")
        found = [ours(batch, cache, padding_B=padding)]
        found += [ours(chunk, cache, padding_B=padding) for chunk in target.split((1, 5), dim=1)]
        found = torch.cat(found, dim=1)
        for row, source in enumerate(sources):
            given = torch.cat((torch.zeros(1, 1, dtype=torch.int64), target[row : row + 1]), dim=1)
            expected = theirs(input_ids=source, decoder_input_ids=given).logits
            assert relative(found[row : row + 1], expected) < 1e-5


def test_rewind_goes_on_as_if_nothing_had_happened_and_never_into_the_source(tmp_path):
    _, ours = saved({}, tmp_path)
    source, target = ids(1, 10), ids(1, 12, seed=2)
    with torch.inference_mode():
        cache = ours.new_cache(1, 22, torch.float32, "cpu")
        first = ours(source, cache)
        ours(target[:, :8], cache)
        once = ours(target[:, 8:], cache)
        assert cache.length == 22
        with pytest.raises(ContractError, match="23 tokens"):
            ours(target[:, :1], cache)
        for length in (18, 10, 18):
            cache.rewind(length) if length <= cache.length else ours(target[:, :8], cache)
            assert cache.length == length
        assert torch.equal(ours(target[:, 8:], cache), once)
        for wrong in (9, 1, 23, -1):
            assert not cache.can_rewind(wrong)
            with pytest.raises(ContractError, match="source of 10"):
                cache.rewind(wrong)
        cache.rewind(0)
        assert torch.equal(ours(source, cache), first)
        with pytest.raises(ContractError, match="one of 10"):
            cache.write_source(0, torch.zeros(1, 4, 3, 12), torch.zeros(1, 4, 3, 12))


@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (16, 64)])
def test_buckets_are_those_of_transformers(both_ways, buckets, distance):
    distances = torch.arange(-700, 701)[None]
    expected = T5Attention._relative_position_bucket(distances, both_ways, buckets, distance)
    assert torch.equal(buckets_of(distances, both_ways, buckets, distance), expected)


def test_a_planted_fault_is_seen(tmp_path):
    theirs, ours = saved({}, tmp_path)
    source = ids(1, 20)
    with torch.inference_mode():
        expected = theirs(input_ids=source, decoder_input_ids=source).logits
        ours.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight[3, 1] += 0.1
        assert relative(ours(source), expected) > 1e-5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"feed_forward_proj": "gated-mish"}, "feed_forward_proj"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder"),
        ({"decoder_start_token_id": 97}, "decoder starts with 97"),
        ({"relative_attention_num_buckets": 6}, "6 buckets"),
        ({"relative_attention_max_distance": 4}, "up to 4"),
    ],
)
def test_other_mathematics_is_refused(tmp_path, change, said):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "t5", **T5, **change}))
    with pytest.raises(CheckpointError, match=said):
        catalog.open_checkpoint(str(path))


def test_one_half_alone_lacks_the_other(tmp_path):
    from transformers import T5EncoderModel

    T5EncoderModel(T5Config(**T5)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "is_encoder_decoder": True}))
    with pytest.raises(CheckpointError, match=r"lacks decoder\.block\.0"):
        build_model(hf_directory.open_checkpoint(tmp_path))
