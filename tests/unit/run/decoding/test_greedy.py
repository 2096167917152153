"""Greedy decoding on a session that is a table."""

import numpy as np
import pytest

from assay.run.decoding.greedy import greedy, greedy_steps


class Table:
    """A session whose next logits depend on the last token alone."""

    def __init__(self, rows):
        self.rows = np.array(rows, dtype=np.float32)
        self.read = []

    def prefill(self, tokens):
        self.read = tokens[0].tolist()
        return self.rows[tokens[:, -1]]

    def decode(self, tokens):
        self.read += tokens[0].tolist()
        return self.rows[tokens]


CYCLE = [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]


def test_it_follows_the_largest_logit_and_reads_every_token_but_the_last():
    session = Table(CYCLE)
    assert greedy(session, [2, 0], 6) == [1, 2, 3, 0, 1, 2]
    assert session.read == [2, 0, 1, 2, 3, 0, 1]


def test_ties_go_to_the_lowest_index():
    assert greedy(Table([[1, 3, 3, 2]] * 4), [0], 3) == [1, 1, 1]


def test_it_stops_after_an_end():
    assert greedy(Table(CYCLE), [0], 6, eos_ids=(2, 3)) == [1, 2]


@pytest.mark.parametrize("count", [0, -1])
def test_no_tokens_are_no_call(count):
    session = Table(CYCLE)
    assert greedy(session, [0], count) == []
    assert session.read == []


def test_a_step_is_given_before_the_next_is_computed():
    session = Table(CYCLE)
    steps = greedy_steps(session, [0], 3)
    assert next(steps) == 1
    assert session.read == [0]
    assert list(steps) == [2, 3]
