"""The gate's command: what it asks for, what it writes, and its exit status."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from assay.cli import main
from assay.core.records import Estimate
from fixtures_result import make_result


def type_(*words):
    return CliRunner().invoke(main, words)


@pytest.fixture
def good(tmp_path, monkeypatch):
    """A study whose run gives a healthy result; returns what makes later runs slower."""
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text('model = "m"\nbaseline = "a"\nreference = "a"\n[[variants]]\nname = "a"\n')
    rows = tuple(row for row in make_result().rows if row.outcome.kind == "ok")
    state = {"factor": 1.0}

    def run(study, store, progress):
        assert not study.measure.stop_early
        assert study.measure.alpha <= 0.01
        result = make_result().model_copy(update={"findings": (), "gate": {}, "rows": rows})
        ratio = Estimate(
            value=1.4 * state["factor"], low=1.39 * state["factor"], high=1.41 * state["factor"], method="x"
        )
        changed = tuple(c.model_copy(update={"ratio": ratio}) for c in result.comparisons)
        return result.model_copy(update={"comparisons": changed})

    monkeypatch.setattr("assay.api.projects.run", run)
    return state


def test_a_loss_against_a_kept_run_is_exit_status_1(good):
    assert type_("gate", "study.toml", "--save-baseline", "good.json", "--quiet").exit_code == 0
    assert type_("gate", "study.toml", "--baseline", "good.json", "--quiet").exit_code == 0
    good["factor"] = 0.9
    done = type_("gate", "study.toml", "--baseline", "good.json", "--junit", "g.xml", "--markdown", "g.md", "--quiet")
    assert done.exit_code == 1
    assert "FAILED" in done.output
    assert "<failure" in Path("g.xml").read_text()
    assert "**failed**" in Path("g.md").read_text()
    assert list(Path(".assay").iterdir()) == [Path(".assay/artifacts")]


def test_a_baseline_that_is_none_is_refused(good):
    Path("bad.json").write_text('{"study": 1}')
    for name in ("bad.json", "none.json"):
        done = type_("gate", "study.toml", "--baseline", name, "--quiet")
        assert done.exit_code == 2
        assert "--save-baseline" in done.output


def test_a_study_or_two_commands_are_asked_for(good):
    for words in ((), ("--command", "true"), ("study.toml", "--base-command", "true", "--command", "true"),
                  ("--base-command", "true", "--command", "true", "--baseline", "x.json")):  # fmt: skip
        assert type_("gate", *words).exit_code == 2
