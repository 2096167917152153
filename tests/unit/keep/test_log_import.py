"""An existing log in Markdown: entries, statuses, figures, and every kind of contradiction planted once."""

import pytest

from assay.core.errors import InputError
from assay.core.records import Absent
from assay.keep.log_import import parse_log, read_log
from assay.show.imported_log import imported_text

LOG = """# Decision log

Every experiment with its outcome.

| experiment | status |
|---|---|
| INT8 weights | shipping |
| Flash decoding | rejected |

## 1. INT8 weights — SHIPPED (2025-03-01)

Decode went from 25.4 tok/s to 31.2 tok/s (+22.8 %). Baseline 25.4 tok/s.

## 2. Palettes of 4 bits — REJECTED

Decode 24.9 tok/s -> 19.9 tok/s (-35 %). Never again.

## 3. Flash decoding [shipping]

Attention 4.0 ms + 1.5 ms + 2.0 ms = 8.5 ms. Revisit when the compiler lands split keys.

## 4. Palettes of 4 bits, again — prototype (2025-03-09)

With groups of 8: 30 tok/s, 1.2x. Baseline 28.0 tok/s.

## 5. Speculative decoding — shipping

Expected 45 tok/s.

## 6. Sliding window - planned

Measured 3 ms.

## 7. Pruned vocabulary — shelved

Revisit once the tokenizer can do without.

## Rejected ideas

### Sparse attention

12 tok/s. Unless a sparse kernel appears.

## How to read this

Plain prose.
"""


@pytest.fixture(scope="module")
def log():
    return parse_log(LOG, "log.md")


def found_of(log, kind):
    return [problem.found for problem in log.problems if problem.kind == kind]


def test_entries_have_their_statuses_and_dates(log):
    assert [(entry.title, entry.status) for entry in log.entries] == [
        ("INT8 weights", "shipping"),
        ("Palettes of 4 bits", "rejected"),
        ("Flash decoding", "shipping"),
        ("Palettes of 4 bits, again", "prototype"),
        ("Speculative decoding", "shipping"),
        ("Sliding window", "planned"),
        ("Pruned vocabulary", "shelved"),
        ("Sparse attention", "rejected"),
    ]
    assert [entry.date for entry in log.entries if isinstance(entry.date, str)] == ["2025-03-01", "2025-03-09"]


def test_figures_have_their_units_and_lines(log):
    first = log.entries[0].figures
    assert [(figure.value, figure.unit) for figure in first] == [
        (25.4, "tok/s"), (31.2, "tok/s"), (22.8, "%"), (25.4, "tok/s")]  # fmt: skip
    assert LOG.splitlines()[first[0].line - 1].startswith("Decode went from")
    assert first[3].label.endswith("Baseline")


def test_contradictions_are_named(log):
    said = "\n".join(found_of(log, "contradiction"))
    assert "Palettes of 4 bits is 'REJECTED', Palettes of 4 bits, again is 'prototype'" in said
    assert "never again" in said
    assert "Flash decoding: its heading says 'shipping', the table says 'rejected'" in said
    assert "the baseline has 2 values: 25.4 tok/s, 28 tok/s" in said
    assert "Speculative decoding: 'shipping', and every number is a prediction" in said
    assert "Sliding window: 'planned', with results" in said
    assert len(found_of(log, "contradiction")) == 5


def test_what_does_not_add_up_is_named(log):
    said = found_of(log, "does not add up")
    assert len(said) == 2
    assert any("from 24.9 to 19.9 is -20.1 %" in found for found in said)
    assert any("the sum is 7.5" in found for found in said)


def test_what_is_missing_is_named(log):
    assert found_of(log, "missing") == [
        "Palettes of 4 bits: 'REJECTED', and nothing would reopen it",
        "Pruned vocabulary: 'shelved' without a number",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "10 ms -> 5 ms (2x)",
        "10 ms -> 5 ms (-50 %)",
        "10 ms to 5 ms, 50 % less",
        "25.4 tok/s -> 31.2 tok/s (1.23x)",
        "40 -> 50 tok/s (+25%)",
        "1.5 ms + 2.5 ms = 4 ms",
        "0.3 + 0.3 = 0.6",
    ],
)
def test_sums_that_are_right_are_left_alone(line):
    assert found_of(parse_log(f"## A thing - measured\n\n{line}\n", "x"), "does not add up") == []


@pytest.mark.parametrize(
    "line", ["10 ms -> 5 ms (3x)", "10 ms -> 5 ms (-40 %)", "40 -> 50 tok/s (+35%)", "1.5 ms + 2.5 ms = 5 ms"]
)
def test_sums_that_are_wrong_are_found(line):
    assert len(found_of(parse_log(f"## A thing - measured\n\n{line}\n", "x"), "does not add up")) == 1


def test_a_status_line_against_its_heading():
    log = parse_log("## INT8 - shipping\n\n**Status:** rejected, 12 tok/s\n", "x")
    assert any(
        "the heading says 'shipping', its text says 'rejected'" in found for found in found_of(log, "contradiction")
    )


def test_code_blocks_are_no_headings():
    log = parse_log("## INT8 - shipping\n\n```\n# rejected - REJECTED\n```\n12 tok/s\n", "x")
    assert len(log.entries) == 1


def test_a_file_without_entries_is_refused(tmp_path):
    path = tmp_path / "log.md"
    path.write_text("# Title\n\nProse.\n")
    with pytest.raises(InputError, match="no heading in it has a status"):
        read_log(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_log(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path / "none.md")


def test_the_terminal_names_entries_and_problems(log):
    text = imported_text(log)
    assert "8 entries, 9 problems" in text
    assert "from 24.9 to 19.9" in text
    assert not isinstance(log.entries[0].status, Absent)
