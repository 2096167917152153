"""What changed between two results is told by intervals, and a change is never called a comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import fixtures_result as shared
from assay.cli import main
from assay.core.difference import Difference
from assay.core.records import Absent, Estimate, Result
from assay.judge.difference import difference
from assay.show.difference import DIFFERENCE_FORMATS, render_difference


def changed(result: Result, metric: str, value: float | Absent | Estimate) -> Result:
    first, *others = result.rows
    row = first.model_copy(update={"metrics": {**first.metrics, metric: value}})
    return result.model_copy(update={"rows": (row, *others)})


@pytest.fixture(scope="module")
def before() -> Result:
    return shared.make_result()


def test_a_result_does_not_differ_from_itself(before: Result) -> None:
    found = difference(before, before)
    assert found.cells == found.statuses == found.surroundings == found.findings_new == ()
    assert found.unchanged > 20


@pytest.mark.parametrize(
    ("low", "value", "high", "kind"), [(1.5, 1.6, 1.7, "apart"), (0.9, 1.05, 1.2, "within"), (1.1, 1.2, 1.3, "within")]
)
def test_intervals_decide_what_a_change_is(before: Result, low: float, value: float, high: float, kind: str) -> None:
    old = changed(before, "load_s", Estimate(value=1.0, low=0.9, high=1.1, method="m"))
    new = changed(before, "load_s", Estimate(value=value, low=low, high=high, method="m"))
    [cell] = difference(old, new).cells
    assert (cell.row, cell.metric, cell.kind) == ("fp32", "load_s", kind)
    assert cell.ratio == pytest.approx(value)


def test_numbers_appear_vanish_and_change_exactly(before: Result) -> None:
    none = Absent(reason="there was no meter")
    measured, missing = changed(before, "energy_j", 2.0), changed(before, "energy_j", none)
    [gone] = difference(measured, missing).cells
    [new] = difference(missing, measured).cells
    [exact] = difference(measured, changed(before, "energy_j", 3.0)).cells
    assert (gone.kind, new.kind, exact.kind) == ("vanished", "appeared", "exact")
    assert isinstance(gone.ratio, Absent)
    assert new.ratio == none
    assert exact.ratio == pytest.approx(1.5)


def test_rows_verdicts_findings_and_surroundings(before: Result) -> None:
    machine = before.environment.machine.model_copy(update={"usable_cpus": 99})
    verdict = before.verdicts[2].model_copy(update={"status": "inconclusive"})
    after = before.model_copy(
        update={
            "rows": before.rows[:-1],
            "environment": before.environment.model_copy(update={"machine": machine}),
            "verdicts": (*before.verdicts[:2], verdict, *before.verdicts[3:]),
            "findings": before.findings[1:],
        }
    )
    found = difference(before, after)
    assert found.rows_gone == (before.rows[-1].name,)
    assert found.rows_new == ()
    assert [(s.row, s.after) for s in found.statuses] == [(verdict.variant, "inconclusive")]
    assert len(found.findings_gone) == 1
    assert any("usable_cpus" in line and "99" in line for line in found.surroundings)


def test_every_format_tells_the_same(before: Result) -> None:
    found = difference(before, changed(before, "energy_j", 3.0))
    for format_ in DIFFERENCE_FORMATS:
        text = render_difference(found, format_)
        assert "energy" in text
        if format_ == "json":
            assert Difference.from_json(text) == found
        else:
            assert "measured apart" in " ".join(text.split())
            assert max(map(len, text.splitlines())) <= 80 or format_ != "table"


def test_the_command_takes_reports(before: Result, tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(before.to_json())
    new.write_text(changed(before, "energy_j", 3.0).to_json())
    words = ["report", str(new), "--against", str(old), "--format", "json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert [cell["metric"] for cell in json.loads(done.stdout)["cells"]] == ["energy_j"]
    old.write_text("{}")
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 2
    assert "it is no result" in refused.stderr
