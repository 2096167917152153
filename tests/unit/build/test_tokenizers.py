"""Tokenizers against transformers' own, on plain and on hostile text; streams; vocabularies that lie."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as InnerTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from assay.build.checkpoints import gguf, hf_directory
from assay.build.tokenizers import Tokenizer
from assay.core.errors import TokenizerError
from assay.core.records import Absent

HOSTILE = (
    "",
    " ",
    "  12 34  5 and 1234567 ½ Ⅷ ² ٣",
    " lead,   three, trailing  ",
    "a\u0301e\u0308\u0323 n\u0303 \u1e69 s\u0323\u0307",
    "zero\u200bwidth\u200d\u2060\ufeff",
    "👨‍👩‍👧‍👦🏳️‍🌈 ok 👍🏽 🇩🇪",
    "\x00\x01\x7f\x1b[0m\r\n\t\x85\u2028",
    "▁▁ x ▁ ▁",
    "<|im_start|>user\n<bos> <eos></s><unk><0x41>",
    "\n\n\n  \n \t\t",
    "日本語テキスト العربية עברית हिन्दी ﷽",
    "\ufffe\uffff\U0010ffff\ue000",
    "don't DON'T I'll we'RE 'sS",
    "x" * 1000,
    "ſK ﬁ Ａ①",
    "[multimodal]<table>\t</table>",
)
CORPUS = (
    "The quick brown fox, 123 times over 4567 lazy dogs; don't DON'T we'll be here by 2024-05-06!",
    "Größe, naïve café, 日本語 のテキスト, emoji 👍🏽 and  two  spaces.\n\nNew lines\tand tabs.",
    "def f(x):\n    return x + 1  # comment\n" * 3,
)


def byte_level_metadata(pre: str = "gpt-2", **more: object) -> dict[str, object]:
    """A trained byte-level BPE as GGUF metadata; the first three tokens are control tokens."""
    inner = InnerTokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|begin|>", "<|end|>", "<|turn|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    inner.train_from_iterator(CORPUS, trainer)
    model = json.loads(inner.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3] + [1] * (len(tokens) - 3),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.eot_token_id": 2,
    } | more


def sentencepiece_metadata(architecture: str = "llama", **more: object) -> dict[str, object]:
    """A trained BPE with byte fallback as SentencePiece's converter writes it: scores fall with the rank."""
    inner = InnerTokenizer(models.BPE())
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    inner.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400))
    model = json.loads(inner.to_str())["model"]
    learned = sorted(model["vocab"], key=model["vocab"].__getitem__)
    control = ["<unk>", "<s>", "</s>"]
    own = ["<own>", "  ", "   "]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = control + own + fallback + learned
    kinds = [3] * len(control) + [4] * len(own) + [6] * len(fallback) + [1] * len(learned)
    scores = [-1000.0] * (len(tokens) - len(learned)) + [-float(rank) for rank in range(len(learned))]
    return {
        "general.architecture": architecture,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    } | more


def converted_by_transformers(metadata):
    """What transformers makes of the same metadata, as a tokenizer of the `tokenizers` package."""
    from transformers.integrations.gguf import convert_gguf_tokenizer

    names = {
        "tokens": "tokens",
        "token_type": "token_type",
        "scores": "scores",
        "merges": "merges",
        "pre": "pre_tokenizer_type",
    }
    known = {
        name: metadata[f"tokenizer.ggml.{key}"] for key, name in names.items() if f"tokenizer.ggml.{key}" in metadata
    }
    fields = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in known.items()}
    fields["tokenizer_type"] = metadata["tokenizer.ggml.model"]
    return convert_gguf_tokenizer(metadata["general.architecture"], fields)[0]


def assert_same_ids(tokenizer, reference, texts):
    for text in texts:
        expected = reference.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, add_special=False) == expected, text[:80]
        assert tokenizer.decode(expected, skip_special=False) == reference.decode(expected, skip_special_tokens=False)


@pytest.mark.parametrize("pre", ["gpt-2", "default", "llama-bpe"])
def test_byte_level_ids_are_those_of_transformers(pre):
    metadata = byte_level_metadata(pre)
    assert_same_ids(Tokenizer.from_gguf(metadata), converted_by_transformers(metadata), HOSTILE + CORPUS)


def test_qwen2_ids_are_those_of_its_tokenizer_in_transformers():
    from transformers import Qwen2Tokenizer

    metadata = byte_level_metadata("qwen2")
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    reference = Qwen2Tokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)
    texts = [text for text in HOSTILE + CORPUS if "<" not in text]  # the two know different special tokens
    assert_same_ids(Tokenizer.from_gguf(metadata), reference.backend_tokenizer, texts)


def test_smollm_cuts_single_digits_as_its_published_tokenizer_does():
    metadata = byte_level_metadata("smollm")
    reference = converted_by_transformers(metadata)  # which does not know this rule, and cuts as GPT-2
    reference.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    assert_same_ids(Tokenizer.from_gguf(metadata), reference, HOSTILE + CORPUS)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_sentencepiece_ids_are_those_of_transformers(architecture):
    gemma = {"tokenizer.ggml.add_space_prefix": False} if architecture == "gemma3" else {}
    metadata = sentencepiece_metadata(architecture, **gemma)
    # transformers adds the five special tokens of Gemma to any vocabulary of that architecture.
    texts = [text for text in HOSTILE + CORPUS if not (gemma and "<bos>" in text)]
    assert_same_ids(Tokenizer.from_gguf(metadata), converted_by_transformers(metadata), texts)


def test_special_tokens_are_put_around_a_text_as_the_file_says():
    text = "a"
    plain = Tokenizer.from_gguf(byte_level_metadata()).encode(text, add_special=False)
    for more, expected in (
        ({}, plain),
        ({"tokenizer.ggml.add_bos_token": True}, [0, *plain]),
        ({"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}, [0, *plain, 1]),
        ({"tokenizer.ggml.pre": "llama-bpe"}, [0, *plain]),
    ):
        assert Tokenizer.from_gguf(byte_level_metadata(**more)).encode(text) == expected
    assert Tokenizer.from_gguf(sentencepiece_metadata()).encode(text)[0] == 1


def test_roles_of_special_tokens_and_template():
    tokenizer = Tokenizer.from_gguf(byte_level_metadata(**{"tokenizer.chat_template": "{{ messages }}"}))
    assert (tokenizer.bos_id, tokenizer.eos_ids) == (0, (1, 2))
    assert tokenizer.chat_template == "{{ messages }}"
    assert tokenizer.decode([0, 70, 1]) == tokenizer.decode([70])
    assert tokenizer.decode([0], skip_special=False) == "<|begin|>"
    bare = byte_level_metadata()
    for key in ("bos", "eos", "eot"):
        del bare[f"tokenizer.ggml.{key}_token_id"]
    tokenizer = Tokenizer.from_gguf(bare)
    assert isinstance(tokenizer.bos_id, Absent)
    assert isinstance(tokenizer.chat_template, Absent)
    assert tokenizer.eos_ids == ()


@pytest.mark.parametrize("text", ["\ud800", "good \udfff", "\udcff\udc00 x", "a\ud83d b"])
def test_half_a_surrogate_pair_is_refused(text):
    with pytest.raises(TokenizerError, match="lone surrogate U\\+D"):
        Tokenizer.from_gguf(byte_level_metadata()).encode(text)


@pytest.mark.parametrize("index", [-1, 10_000, 1 << 32, 1 << 70])
def test_an_id_without_a_token_is_refused(index):
    tokenizer = Tokenizer.from_gguf(byte_level_metadata())
    with pytest.raises(TokenizerError, match=str(index)):
        tokenizer.decode([1, index])


# ------------------------------------------------------------------------------------------------ streams

BYTE_LEVEL = Tokenizer.from_gguf(byte_level_metadata())
SENTENCEPIECE = Tokenizer.from_gguf(sentencepiece_metadata())
GEMMA = Tokenizer.from_gguf(sentencepiece_metadata("gemma3", **{"tokenizer.ggml.add_space_prefix": False}))


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, SENTENCEPIECE, GEMMA], ids=["bpe", "spm", "gemma"])
@given(text=st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE)))
def test_a_stream_gives_the_whole_text_and_no_part_of_a_character(tokenizer, text):
    ids = tokenizer.encode(text)
    stream = tokenizer.stream(skip_special=False)
    pieces = [stream.push(index) for index in ids]
    assert "".join(pieces) + stream.flush() == tokenizer.decode(ids, skip_special=False)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, SENTENCEPIECE], ids=["bpe", "spm"])
def test_text_comes_as_soon_as_a_character_is_whole(tokenizer):
    stream = tokenizer.stream()
    pieces = [stream.push(index) for index in tokenizer.encode("é🦙!", add_special=False)]
    assert [piece for piece in pieces if piece] == ["é", "🦙", "!"]
    assert stream.flush() == ""


@given(st.lists(st.integers(3, BYTE_LEVEL.vocab_size - 1), max_size=60))
def test_a_stream_of_any_bytes_is_what_decode_gives(ids):
    stream = BYTE_LEVEL.stream()
    assert "".join(map(stream.push, ids)) + stream.flush() == BYTE_LEVEL.decode(ids)


def test_a_stream_of_broken_bytes_does_not_wait_for_ever():
    lead = BYTE_LEVEL.encode("ø", add_special=False)[0]
    assert BYTE_LEVEL.decode([lead]) == "\ufffd"
    stream = BYTE_LEVEL.stream()
    given_out = "".join(stream.push(lead) for _ in range(1000))
    assert 900 < len(given_out) <= 1000
    assert len(given_out + stream.flush()) == 1000


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, SENTENCEPIECE, GEMMA], ids=["bpe", "spm", "gemma"])
def test_what_is_saved_is_loaded_by_transformers_and_by_assay(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path / "saved")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    ours = hf_directory.tokenizer_beside(tmp_path / "saved", {})
    for text in HOSTILE + CORPUS:
        ids = tokenizer.encode(text)
        assert theirs(text)["input_ids"] == ids, text
        assert ours.encode(text) == ids
        assert theirs.decode(ids) == tokenizer.decode(ids, skip_special=False)
    assert (theirs.bos_token_id, theirs.eos_token_id) == (tokenizer.bos_id, tokenizer.eos_ids[0])
    assert (ours.bos_id, ours.eos_ids[0], ours.vocab_size) == (
        tokenizer.bos_id,
        tokenizer.eos_ids[0],
        tokenizer.vocab_size,
    )
    assert theirs.vocab_size + len(theirs.get_added_vocab()) >= tokenizer.vocab_size


def test_a_tokenizer_saved_by_transformers_is_read(tmp_path):
    from transformers import AutoTokenizer

    SENTENCEPIECE.save(tmp_path / "first")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "first")
    theirs.chat_template = "{{ bos_token }}"
    theirs.save_pretrained(tmp_path / "second")
    (tmp_path / "second" / "generation_config.json").write_text('{"eos_token_id": [2, 5]}')
    ours = hf_directory.tokenizer_beside(tmp_path / "second", {})
    assert ours.chat_template == "{{ bos_token }}"  # transformers 5 writes it to a file of its own
    assert ours.eos_ids == (2, 5)
    for text in HOSTILE + CORPUS:
        assert ours.encode(text) == theirs(text)["input_ids"]


def test_truncation_and_padding_of_a_tokenizer_file_are_not_taken_over(tmp_path):
    BYTE_LEVEL.save(tmp_path)
    inner = InnerTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    inner.enable_truncation(4)
    inner.enable_padding(length=50)
    inner.save(str(tmp_path / "tokenizer.json"))
    text = CORPUS[0]
    assert Tokenizer.from_file(tmp_path / "tokenizer.json").encode(text) == BYTE_LEVEL.encode(text)


def test_the_digest_follows_the_vocabulary():
    assert BYTE_LEVEL.digest == Tokenizer.from_gguf(byte_level_metadata()).digest
    assert BYTE_LEVEL.digest != Tokenizer.from_gguf(byte_level_metadata("smollm")).digest
    assert len(BYTE_LEVEL.digest) == 64


@pytest.mark.parametrize("content", ["", "{", "{}", '{"model": 3}', "\x00\x01"])
def test_a_damaged_tokenizer_file_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        Tokenizer.from_file(path)
    BYTE_LEVEL.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content if content != "{}" else '{"bos_token": 3}')
    with pytest.raises(TokenizerError):
        Tokenizer.from_file(
            path, tmp_path / "tokenizer_config.json"
        ) if "model" not in content else Tokenizer.from_file(tmp_path / "none.json")


BAD_VOCABULARIES = {
    "no model": ({"tokenizer.ggml.model": None}, "kind None"),
    "unknown model": ({"tokenizer.ggml.model": "bert"}, "'bert'"),
    "unknown pre": ({"tokenizer.ggml.pre": "sophia"}, "'sophia'"),
    "tokens are numbers": ({"tokenizer.ggml.tokens": [1, 2]}, "tokens"),
    "merges are missing": ({"tokenizer.ggml.merges": None}, "merges"),
    "a merge of one": ({"tokenizer.ggml.merges": ["ab"]}, "'ab'"),
    "a merge of strangers": ({"tokenizer.ggml.merges": ["qqq zzz"]}, "'qqq zzz'"),
    "an id beyond": ({"tokenizer.ggml.bos_token_id": 1 << 31}, "bos_token_id"),
    "an id of another type": ({"tokenizer.ggml.eos_token_id": "</s>"}, "eos_token_id"),
    "too few types": ({"tokenizer.ggml.token_type": [1, 2]}, "token_type"),
}


@pytest.mark.parametrize("case", BAD_VOCABULARIES)
def test_a_vocabulary_that_lies_is_refused(case):
    more, expected = BAD_VOCABULARIES[case]
    with pytest.raises(TokenizerError) as caught:
        Tokenizer.from_gguf(byte_level_metadata(**more))
    assert expected in caught.value.found


def test_sentencepiece_without_scores_is_refused():
    metadata = sentencepiece_metadata()
    del metadata["tokenizer.ggml.scores"]
    with pytest.raises(TokenizerError, match="scores"):
        Tokenizer.from_gguf(metadata)


# ------------------------------------------------------------------------------------------------ real vocabularies


@pytest.fixture(scope="module")
def smollm2(smollm2_path):
    """SmolLM2's tokenizer and what transformers makes of its file, cut by the rule that the file names."""
    checkpoint = gguf.open_checkpoint(smollm2_path)
    reference = converted_by_transformers(checkpoint.metadata)
    reference.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return checkpoint.tokenizer(), reference


@pytest.fixture(scope="module")
def gemma3(gemma3_path):
    checkpoint = gguf.open_checkpoint(gemma3_path)
    return checkpoint.tokenizer(), converted_by_transformers(checkpoint.metadata)


@pytest.mark.weights
@pytest.mark.parametrize("fixture", ["smollm2", "gemma3"])
def test_real_ids_on_hostile_text_are_those_of_transformers(fixture, request):
    tokenizer, reference = request.getfixturevalue(fixture)
    assert_same_ids(tokenizer, reference, HOSTILE)
    for text in HOSTILE:
        if "▁" not in text:  # SentencePiece's sign for a space is a space once decoded
            assert tokenizer.decode(tokenizer.encode(text, add_special=False), skip_special=False) == text


@pytest.mark.weights
@pytest.mark.shared_data
@pytest.mark.parametrize(("fixture", "bos"), [("smollm2", []), ("gemma3", [2])])
def test_real_ids_on_all_of_wikitext_2_valid_are_those_of_transformers(fixture, bos, test_data, request):
    tokenizer, reference = request.getfixturevalue(fixture)
    text = (test_data / "wikitext-2" / "valid.txt").read_text(encoding="utf-8")
    assert tokenizer.encode(text) == bos + reference.encode(text, add_special_tokens=False).ids


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.shared_data
@pytest.mark.parametrize("fixture", ["smollm2_path", "gemma3_path"])
def test_real_ids_are_those_of_the_tokenizer_that_transformers_loads_from_the_file(fixture, test_data, request):
    from transformers import AutoTokenizer

    path = request.getfixturevalue(fixture)
    ours, theirs = (
        gguf.open_checkpoint(path).tokenizer(),
        AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name),
    )
    lines = (test_data / "wikitext-2" / "valid.txt").read_text(encoding="utf-8").splitlines()
    different = [line for line in lines if ours.encode(line) != theirs(line)["input_ids"]]
    # transformers cuts SmolLM2's text as GPT-2's: a space before a fraction is joined to its first byte.
    assert all(any(sign in line for sign in "½¼¾²³") for line in different)
    assert len(different) == (4 if fixture == "smollm2_path" else 0)
    assert (ours.bos_id, ours.eos_ids[0]) == (theirs.bos_token_id, theirs.eos_token_id)


@pytest.mark.weights
@pytest.mark.parametrize("fixture", ["smollm2", "gemma3"])
@pytest.mark.parametrize("unit", ["a", " ", "1"])
def test_time_grows_with_the_length_of_a_text_without_spaces_and_not_with_its_square(fixture, unit, request):
    tokenizer, _ = request.getfixturevalue(fixture)

    def cpu_s(length: int) -> float:
        text = unit * (length // len(unit))
        started = time.process_time()
        tokenizer.encode(text)
        return time.process_time() - started

    # 16 times the text takes 16 to 20 times as long by n log n, and 256 times by its square.
    short, long = min(cpu_s(1 << 16) for _ in range(3)), cpu_s(1 << 20)
    assert long < 64 * short


@pytest.mark.weights
@pytest.mark.parametrize("fixture", ["smollm2", "gemma3"])
def test_a_real_tokenizer_survives_saving(fixture, tmp_path, request):
    tokenizer, _ = request.getfixturevalue(fixture)
    tokenizer.save(tmp_path)
    again = hf_directory.tokenizer_beside(tmp_path, {})
    for text in HOSTILE:
        assert again.encode(text) == tokenizer.encode(text)
    assert again.vocab_size == tokenizer.vocab_size


def test_the_decoder_of_a_file_is_kept(tmp_path):
    inner = InnerTokenizer(models.BPE(vocab={"a": 0, "▁b": 1}, merges=[]))
    inner.decoder = decoders.Metaspace()
    inner.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.from_file(tmp_path / "tokenizer.json").decode([0, 1]) == "a b"
