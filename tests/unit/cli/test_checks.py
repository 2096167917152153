"""`assay checks` shows every threshold, and a policy file overrides them by name wherever a result is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from assay.cli import main
from assay.judge.checks.policy import CheckPolicy, changed, thresholds_of
from assay.judge.checks.runner import CHECKS, load_check


def test_every_check_and_every_threshold_is_shown() -> None:
    listed = json.loads(CliRunner().invoke(main, ["checks", "--format", "json"]).stdout)
    assert [entry["name"] for entry in listed] == list(CHECKS)
    shown = " ".join(entry["thresholds"] for entry in listed)
    rules = {load_check(name).RULE for name in CHECKS}
    for name, field in CheckPolicy.model_fields.items():
        parts = {part.strip() for part in (field.description or "").partition(":")[0].split(",")}
        assert f"{name}=" in shown or not parts & rules, name


def test_thresholds_belong_to_rules_by_number() -> None:
    assert set(thresholds_of("6", CheckPolicy())) == {"backward_least", "backward_most"}
    assert "rounds_share" in thresholds_of("14", CheckPolicy())


def test_what_a_policy_changed_is_told() -> None:
    assert changed(CheckPolicy()) == {}
    assert changed(CheckPolicy(noise_iqr=0.5)) == {"noise_iqr": 0.5}


@pytest.mark.parametrize("command", ["run", "bench", "compare", "quality", "audit"])
def test_every_command_that_judges_takes_a_policy(command: str) -> None:
    assert "--policy" in CliRunner().invoke(main, [command, "--help"]).stdout


def test_a_policy_with_a_wrong_name_is_refused_before_anything_runs(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("noise_iqrr = 0.5\n")
    done = CliRunner().invoke(main, ["bench", "no-such-model", "--policy", str(policy)])
    assert done.exit_code == 2
    assert "noise_iqrr" in done.output
