"""`assay compare --command A --command B`: what it prints, what it refuses, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from assay import api
from assay.cli import main
from assay.core.records import Contest

GOLDEN = Path(__file__).parents[2] / "golden" / "contest-v1.json"
TWO = ("--command", "true", "--command", "true")


def compare(store: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--store", str(store), "compare", *words])


def test_two_commands_are_compared_and_kept_apart_from_progress(tmp_path: Path) -> None:
    done = compare(tmp_path / "s", *TWO, "--budget", "1", "--rounds", "2", "--quiet", "--format", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [side["program"] for side in found["sides"]] == ["true", "true"]
    assert found["comparison"]["outcome"] == "inconclusive", "two rounds decide nothing"
    assert done.stderr == ""


def test_a_report_is_written(tmp_path: Path) -> None:
    report = tmp_path / "r.md"
    done = compare(tmp_path / "s", *TWO, "--budget", "1", "--rounds", "2", "--report", str(report))
    assert done.exit_code == 0, done.output
    assert "| | A | B |" in report.read_text(encoding="utf-8")
    assert f"Wrote {report}" in done.stderr


def test_what_was_found_is_reported_again(tmp_path: Path) -> None:
    done = compare(tmp_path / "s", *TWO, "--budget", "1", "--rounds", "2", "--quiet", "--format", "json")
    contest = json.loads(done.stdout)
    for name in ((), (contest["id"][:12],)):
        words = ["--store", str(tmp_path / "s"), "report", *name, "--format", "json"]
        assert json.loads(CliRunner().invoke(main, words).stdout) == contest
    listed = CliRunner().invoke(main, ["--store", str(tmp_path / "s"), "list", "studies"])
    assert "B against A" in listed.stdout
    missing = CliRunner().invoke(main, ["--store", str(tmp_path / "s"), "report", "nothing-of-this-name"])
    assert missing.exit_code == 2


def test_a_command_that_fails_is_told_in_its_own_words(tmp_path: Path) -> None:
    done = compare(tmp_path / "s", "--command", "true", "--command", "echo no data >&2; exit 3", "--quiet")
    assert done.exit_code == 5
    assert "Not comparable: B crashed: exit status 3: no data." in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("fp32",),
        ("fp32", "bf16"),
        ("--command", "true"),
        (*TWO, "--command", "true"),
        ("fp32", *TWO),
        (*TWO, "--model", "m"),
        (*TWO, "--gate"),
        (*TWO, "--format", "csv"),
        (*TWO, "--report", "r.csv"),
        (*TWO, "--margin", "0"),
        (*TWO, "--budget", "0"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = compare(tmp_path / "s", *words)
    assert done.exit_code == 2
    assert "Error: " in done.stderr
    assert done.stdout == ""


def test_ctrl_c_shows_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_programs: str, **_options: object) -> Contest:
        raise api.ContestInterrupted(Contest.from_json(GOLDEN.read_text()))

    monkeypatch.setattr(api, "compare_commands", interrupted)
    done = compare(tmp_path / "s", *TWO)
    assert done.exit_code == 130
    assert "B is faster than A" in done.stdout
    assert "Interrupted" in done.stderr
