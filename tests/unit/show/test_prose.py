"""Text for a paper, a README or an issue: what it claims is what an outcome backs and no check struck out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from assay.cli import main
from assay.core.records import Cell, Finding, Result
from assay.keep.store import open_store
from assay.show.prose import PURPOSES, claims, invalid_for, render_prose
from assay.show.view import view_of
from fixtures_result import make_result

COMPARATIVES = re.compile(
    r"\b(better|worse|equivalent|faster|slower|smaller|larger|higher|lower|improve\w*|best|wins?)\b"
)


def struck(result: Result, row: str, metric: str) -> Result:
    planted = Finding(
        check="planted", severity="ERR", cells=(Cell(row=row, metric=metric),), summary="planted fault",
        cause="planted", remedy="none",
    )  # fmt: skip
    return result.model_copy(update={"findings": (*result.findings, planted)})


@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_comparative_word_is_backed_by_an_outcome(purpose: str) -> None:
    result = make_result()
    backed = {claim.text for claim in claims(view_of(result))}
    text = render_prose(result, purpose)  # type: ignore[arg-type]
    found = [line for line in text.splitlines() if line.startswith("- **") and " in " in line and "ratio" in line]
    assert {line.removeprefix("- ") for line in found} == backed
    for claim in claims(view_of(result)):
        said = COMPARATIVES.search(claim.text.replace("higher is better", "").replace("lower is better", ""))
        assert said is not None
        assert said[0] == claim.comparison.outcome


def test_no_claim_rests_on_a_cell_that_failed_a_check() -> None:
    result = make_result()
    before = claims(view_of(result))
    assert before
    for claim in before:
        compared = claim.comparison
        for row in (compared.variant, compared.baseline):
            after = struck(result, row, compared.metric)
            assert compared not in [each.comparison for each in claims(view_of(after))]
            text = render_prose(after, "paper")
            assert claim.text not in text
            assert "planted fault" in text, "what was left out is said, with the reason"
        for finding in result.findings:
            assert finding.severity != "ERR" or finding not in invalid_for(result, compared)


def test_another_metric_s_fault_takes_no_claim_away() -> None:
    result = make_result()
    after = struck(result, "int8", "perplexity")
    assert [c.text for c in claims(view_of(after))] == [c.text for c in claims(view_of(result))]
    assert "left out" in next(
        line for line in render_prose(after, "readme").splitlines() if line.startswith("| **int8**")
    )


def test_inconclusive_is_said_as_such_and_claims_nothing() -> None:
    result = make_result()
    undecided = tuple(
        comparison.model_copy(update={"outcome": "inconclusive", "smallest_effect": 0.031})
        for comparison in result.comparisons
    )
    text = render_prose(result.model_copy(update={"comparisons": undecided}), "readme")
    assert "Inconclusive for **int8** and **bf16** in decode" in text
    assert "3.1 % would have been found with 80 % power" in text
    assert not re.search(
        r"is (better|worse|equivalent)", text.replace("higher is better", "").replace("lower is better", "")
    )


@pytest.mark.parametrize("purpose", PURPOSES)
def test_environment_noise_and_caveats_are_there(purpose: str) -> None:
    text = render_prose(make_result(), purpose)  # type: ignore[arg-type]
    assert "Intel Xeon" in text
    assert "torch 2.13.0" in text
    assert "Noise (the baseline against itself" in text
    assert "Not complete" in text
    assert "suspect: some process waited" in text, "a warning stands beside the number that it concerns"
    quiet = make_result().model_copy(update={"null_estimates": ()})
    assert "the noise that it saw is not known" in render_prose(quiet, purpose)  # type: ignore[arg-type]


def test_hostile_names_do_not_become_markup() -> None:
    result = make_result()
    rows = tuple(
        row.model_copy(update={"name": "<b>|`x`\x1b[31m"}) if row.name == "fp32" else row for row in result.rows
    )
    text = render_prose(result.model_copy(update={"rows": rows}), "issue")
    assert "<b>" not in text
    assert "\x1b" not in text


def test_the_command_writes_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    open_store(store).add_result(make_result())
    done = CliRunner().invoke(main, ["--store", str(store), "report", "--for", "paper"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == render_prose(make_result(), "paper").strip()
    refused = CliRunner().invoke(main, ["--store", str(store), "report", "--for", "paper", "--format", "html"])
    assert refused.exit_code == 2
    assert "--for writes Markdown" in refused.output
    file = tmp_path / "text.md"
    assert (
        CliRunner().invoke(main, ["--store", str(store), "report", "--for", "issue", "--output", str(file)]).exit_code
        == 0
    )
    assert file.read_text().startswith("Variants of")
