"""The runner: every check is listed, documented and independent of the others; findings come errors first."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from assay.core.records import ModelSource
from assay.judge.checks import base, figures, policy, runner, work
from assay.judge.checks.policy import CheckPolicy
from assay.judge.checks.runner import CHECKS, load_check, run_checks

FOLDER = Path(runner.__file__).parent
DOCS = Path(__file__).parents[4] / "docs" / "checks"
LEAVES = {"__init__", "base", "figures", "policy", "policy_file", "runner", "tables", "work"}


def test_every_file_of_the_folder_is_listed_and_nothing_else() -> None:
    assert set(CHECKS) == {path.stem for path in FOLDER.glob("*.py")} - LEAVES
    assert len(CHECKS) == len(set(CHECKS))


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_has_its_name_a_rule_and_a_page(name: str) -> None:
    module = load_check(name)
    assert name == module.NAME
    assert module.RULE
    text = (DOCS / f"{name}.md").read_text()
    for heading in ("## What it means", "## How people fall into it", "## What to do"):
        assert heading in text
    assert f"Rule {module.RULE}" in text


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_imports_no_other_check(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    others = {module for module in imported if module.startswith("assay.judge.checks")}
    assert others <= {base.__name__, figures.__name__, policy.__name__, work.__name__}


def test_every_threshold_is_read_and_says_its_rule() -> None:
    source = "".join((FOLDER / f"{name}.py").read_text() for name in (*CHECKS, "work", "../swap"))
    for field in CheckPolicy.model_fields:
        assert f"policy.{field}" in source, field


def test_the_thresholds_can_be_overridden_by_name_only() -> None:
    assert CheckPolicy(noise_iqr=0.5).noise_iqr == 0.5
    with pytest.raises(ValidationError):
        CheckPolicy(noise_iqrr=0.5)  # type: ignore[call-arg]


def test_a_sound_study_has_nothing_worse_than_info(make: Any) -> None:
    findings, not_checked = run_checks(make.subject())
    assert {finding.severity for finding in findings} <= {"INFO"}
    assert all(": no " in reason for reason in not_checked)


def test_errors_come_first_and_nothing_is_said_twice(make: Any) -> None:
    subject = make.subject(
        quality=(make.quality("int8", nll_nats=11.0),),
        null_estimates=(make.comparison("A/A", (1.05, 1.03, 1.07), "better"),),
        source=ModelSource(kind="gguf", location="a", digest="ab" * 32, quantisation="Q4_1"),
    )
    findings, not_checked = run_checks(subject)
    severities = [finding.severity for finding in findings]
    assert severities == sorted(severities, key=["ERR", "WARN", "INFO"].index)
    assert {"ERR", "WARN", "INFO"} == set(severities)
    assert len(set(not_checked)) == len(not_checked)


def test_another_policy_is_obeyed(make: Any) -> None:
    draw = random.Random(1)
    values = [draw.lognormvariate(-4, 0.3) for _ in range(40)]
    rounds = tuple(
        r.model_copy(update={"runs": (make.run("bf16", [make.timed("tpot_s", values)]),)})
        for r in make.rounds_of({"bf16": 0.0}, 1)
    )
    strict, _ = run_checks(make.subject(rounds=rounds))
    lax, _ = run_checks(make.subject(rounds=rounds), CheckPolicy(noise_deviation=9.0, noise_extreme=9.0, noise_iqr=9.0))
    assert "noise" in {finding.check for finding in strict}
    assert "noise" not in {finding.check for finding in lax}


def test_cells_are_named_as_the_rows_table_names_them(make: Any) -> None:
    rows = (make.row("bf16", "baseline", **{"tpot_s@decode 128+64": 0.02, "load_s": 1.0}),)
    subject = make.subject(rows=rows)
    assert subject.cell("bf16", "tpot_s", "decode 128+64").metric == "tpot_s@decode 128+64"
    assert subject.cell("bf16", "load_s", "load").metric == "load_s"
    assert subject.value(rows[0], "tpot_s", "decode 128+64") == 0.02
    assert subject.row("none") is None
    assert subject.quality_of("none") is None


def test_an_empty_study_is_survived(make: Any) -> None:
    findings, not_checked = run_checks(make.subject(rows=(), rounds=(), quality=(), comparisons=(), null_estimates=()))
    assert findings == ()
    assert not_checked
