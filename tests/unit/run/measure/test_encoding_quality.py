"""Quality of encoders: sentences cut from a text, vectors against a reference's."""

import numpy as np
import pytest

from assay.core.errors import ContractError, InputError
from assay.core.records import Absent, Estimate
from assay.run.measure import encoding_quality as quality


class Table:
    """An encoder that gives each row the vector that a table has for its tokens; it notes the batches."""

    facts = {}  # noqa: RUF012 - a fake of a property
    kv_cache_bytes = 0

    def __init__(self, vectors):
        self.vectors, self.batches = vectors, []

    def encode(self, tokens_BT, lengths_B):
        self.batches.append((tokens_BT.copy(), lengths_B.copy()))
        rows = [tuple(row[:length]) for row, length in zip(tokens_BT, lengths_B, strict=True)]
        return np.array([self.vectors[tuple(map(int, row))] for row in rows], dtype=np.float32)

    def sync(self):
        pass

    def close(self):
        pass


def words(text):
    return [1, *(2 + len(word) for word in text.split()), 0]


TEXT = "One two three. Four!\n\nA title without a full stop\n\nWhat is it? It is the end of a rather long sentence."


def test_sentences_end_at_full_stops_and_blank_lines():
    rows = quality.sentences(TEXT, words, 64, 30)
    assert rows == [words(part) for part in (
        "One two three.", "Four!", "A title without a full stop", "What is it?",
        "It is the end of a rather long sentence.",
    )]  # fmt: skip


def test_no_more_than_asked_for_and_no_less():
    assert quality.sentences(TEXT, words, 64, 6) == [words("One two three."), words("Four!")]
    with pytest.raises(InputError, match="the text has 32"):
        quality.sentences(TEXT, words, 64, 1000)


def test_a_long_sentence_is_cut_between_words_and_nothing_is_lost():
    rows = quality.sentences("a bb ccc dddd eeeee ffffff.", words, 5, 8)
    assert all(len(row) <= 5 for row in rows)
    assert [token for row in rows for token in row[1:-1]] == words("a bb ccc dddd eeeee ffffff.")[1:-1]
    with pytest.raises(InputError, match="a word of 3 tokens"):
        quality.sentences("word.", words, 2, 1)


def test_rows_are_filled_up_on_their_right():
    tokens, lengths = quality.padded([[5, 6, 7], [8]])
    assert tokens.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert lengths.tolist() == [3, 1]


def vectors_of(rows, seed, size):
    generator = np.random.default_rng(seed)
    return {tuple(row): generator.standard_normal(size) for row in rows}


ROWS = [[1, *range(2, 2 + length)] for length in range(3, 23)]


def test_cosines_are_those_of_their_definition(tmp_path):
    known, found = vectors_of(ROWS, 1, 8), vectors_of(ROWS, 2, 8)
    reference, variant = Table(known), Table({key: known[key] + 0.1 * found[key] for key in known})
    alone = quality.write_reference(reference, ROWS, tmp_path / "r", "embedding")
    assert all(isinstance(value, Absent) for value in alone.values())
    metrics = quality.measure(variant, ROWS, tmp_path / "r", "embedding")
    expected = []
    for row in ROWS:
        a, b = known[tuple(row)].astype(np.float32), variant.vectors[tuple(row)].astype(np.float32)
        expected.append(sum(map(float, a * b)) / (sum(map(float, a * a)) * sum(map(float, b * b))) ** 0.5)
    assert isinstance(metrics["cosine_mean"], Estimate)
    assert metrics["cosine_mean"].value == pytest.approx(np.mean(expected), abs=1e-6)
    assert metrics["cosine_min"] == pytest.approx(min(expected), abs=1e-6)
    assert [len(lengths) for _, lengths in variant.batches] == [16, 4]
    assert quality.measure(reference, ROWS, tmp_path / "r", "embedding")["cosine_min"] == pytest.approx(1, abs=1e-12)


def test_labels_agree_or_do_not_and_their_divergence_is_that_of_scipy(tmp_path):
    from scipy.special import softmax
    from scipy.stats import entropy

    known, other = vectors_of(ROWS, 1, 3), vectors_of(ROWS, 2, 3)
    quality.write_reference(Table(known), ROWS, tmp_path / "r", "classification")
    metrics = quality.measure(Table(other), ROWS, tmp_path / "r", "classification")
    keys = [tuple(row) for row in ROWS]
    assert metrics["label_agreement"] == np.mean([known[k].argmax() == other[k].argmax() for k in keys])
    expected = np.mean([entropy(softmax(known[k]), softmax(other[k])) for k in keys])
    assert metrics["kl_nats"].value == pytest.approx(expected, rel=1e-6)
    assert metrics["max_logit_difference"] == pytest.approx(max(abs(known[k] - other[k]).max() for k in keys), rel=1e-6)


def test_one_output_has_no_labels_and_broken_vectors_no_figures(tmp_path):
    known = vectors_of(ROWS, 1, 1)
    quality.write_reference(Table(known), ROWS, tmp_path / "r", "classification")
    metrics = quality.measure(Table(known), ROWS, tmp_path / "r", "classification")
    assert isinstance(metrics["label_agreement"], Absent)
    assert metrics["max_logit_difference"] == 0
    broken = quality.measure(
        Table({**known, tuple(ROWS[3]): np.array([np.nan])}), ROWS, tmp_path / "r", "classification"
    )
    assert all("1 of 20 vectors are not finite" in value.reason for value in broken.values())


def test_another_text_is_not_compared(tmp_path):
    table = Table(vectors_of(ROWS, 1, 4))
    quality.write_reference(table, ROWS, tmp_path / "r", "embedding")
    with pytest.raises(ContractError, match="other tokens"):
        quality.measure(table, ROWS[1:], tmp_path / "r", "embedding")


def test_random_rows_hold_what_was_asked_for():
    rows = quality.random_sentences(50, 16, 200, seed=3)
    assert sum(map(len, rows)) >= 200
    assert {len(row) for row in rows} <= set(range(4, 17))
    assert rows == quality.random_sentences(50, 16, 200, seed=3)
    assert max(map(max, rows)) < 50
