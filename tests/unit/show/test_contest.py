"""A contest is told in 80 columns with its interval, its noise and what is missing; nothing is lost in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from assay.core.errors import InputError
from assay.core.records import Absent, Contest
from assay.show.contest import WIDTH, render_contest

GOLDEN = Path(__file__).parents[2] / "golden" / "contest-v1.json"


@pytest.fixture
def contest() -> Contest:
    return Contest.from_json(GOLDEN.read_text())


def test_the_table_fits_and_tells_the_decision(contest: Contest) -> None:
    text = render_contest(contest)
    assert max(cell_len(line) for line in text.splitlines()) <= WIDTH
    assert "B is faster than A: B / A = ×0.810 (0.790 … 0.830)" in text
    assert "3.100 (3.000 … 3.300)" in text
    assert "time per call, ms" in text
    assert "no 99th percentile of a call: 480 samples; p99 needs 662" in " ".join(text.split())
    assert "\x1b" not in text
    assert "\x1b[32m" in render_contest(contest, colour=True)


def test_an_inconclusive_one_says_what_would_have_been_found(contest: Contest) -> None:
    found = contest.comparison.model_copy(update={"outcome": "inconclusive", "smallest_effect": 0.031})
    open_ended = contest.model_copy(update={"comparison": found, "complete": False})
    text = " ".join(render_contest(open_ended).split())
    assert "Smallest effect found 4 times out of 5 with these rounds: 3.1 %" in text
    assert "ended before it was decided" in text


def test_a_failure_shows_no_ratio(contest: Contest) -> None:
    reason = "B crashed: exit status 3"
    gone = {"outcome": "not_comparable", "ratio": Absent(reason=reason), "reason": reason}
    failed = contest.model_copy(
        update={"comparison": contest.comparison.model_copy(update=gone), "further": (), "complete": False}
    )
    text = render_contest(failed)
    assert "Not comparable: B crashed: exit status 3." in text
    assert "B / A" not in text
    assert "against itself" not in text


def test_programs_cannot_steer_a_terminal_or_a_page(contest: Contest) -> None:
    sides = (contest.sides[0].model_copy(update={"program": "echo \x1b[2J`id`|x"}), contest.sides[1])
    hostile = contest.model_copy(update={"sides": sides})
    assert "\x1b" not in render_contest(hostile)
    assert "`` echo \\x1b[2J`id`|x ``" in render_contest(hostile, "markdown")


def test_markdown_has_a_table(contest: Contest) -> None:
    text = render_contest(contest, "markdown")
    assert "| | A | B |" in text
    assert "| time per call, ms | 3.100 (3.000 … 3.300) |" in text


def test_json_is_the_record(contest: Contest) -> None:
    assert Contest.from_json(render_contest(contest, "json")) == contest
    assert json.loads(render_contest(contest, "json"))["kind"] == "commands"


def test_other_formats_are_refused(contest: Contest) -> None:
    with pytest.raises(InputError, match="pyperf"):
        render_contest(contest, "pyperf")
