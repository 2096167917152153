"""Tables in the style of the notebooks of origin: the audit says what is wrong, and nothing false of healthy ones.

The figures are invented; the faults are those that misled people.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.core.audit import AuditReport
from assay.core.records import Finding, Scalar
from assay.pipeline.audit import audit

DATA = Path(__file__).parents[3] / "data" / "audit"
FOLKLORE = ("only for training", "physically impossible")


def report(name: str, **facts: Scalar) -> AuditReport:
    return audit([DATA / name], facts)


def found(name: str, check: str, severity: str, **facts: Scalar) -> set[tuple[str, str]]:
    """The cells that findings of a check concern."""
    return {
        (cell.row, cell.metric)
        for finding in report(name, **facts).findings
        if (finding.check, finding.severity) == (check, severity)
        for cell in finding.cells
    }


def invalid(name: str, **facts: Scalar) -> set[tuple[str, str]]:
    return {(c.row, c.metric) for f in report(name, **facts).findings if f.severity == "ERR" for c in f.cells}


def test_a_negative_backward_time() -> None:
    assert found("training.md", "non_positive_time", "ERR") == {("S", "backward_s")}
    assert ("S", "forward_s") in found("training.md", "cold_call", "WARN"), "one cold call stands in the mean"
    assert invalid("training.md") == {("S", "backward_s")}, "the warm table is sound"
    assert report("training.md").tables[1].rows[3].facts["status"] == "OOM", "a failure is a row"


def test_a_compile_flag_that_did_nothing() -> None:
    assert found("training.md", "compile_absent", "WARN") == {("eager", "forward_s"), ("compiled", "forward_s")}


def test_tf32_passed_as_fp32() -> None:
    assert invalid("tf32.md") == {("gpt2-xl, fp32", "forward_s")}
    (finding,) = [each for each in report("tf32.md").findings if each.severity == "ERR"]
    assert "TF32" in finding.cause


def test_a_perplexity_of_217_and_a_power_above_the_limit() -> None:
    facts = {"dataset": "wikitext-2", "samples": 20, "prompt_tokens": 128}
    rows = {"FP32", "FP16", "Mixed"}
    assert found("precision.md", "expected_perplexity", "ERR", **facts) == {(row, "perplexity") for row in rows}
    assert ("FP32", "power_w") in found("precision.md", "energy", "ERR", **facts)
    (finding,) = [
        f for f in report("precision.md", **facts).findings if f.check == "expected_perplexity" and "FP32" in f.summary
    ][:1]
    assert "single lines" in finding.cause
    assert not any(metric in ("call_s", "tok_per_s", "weight_bytes") for _, metric in invalid("precision.md", **facts))


def test_a_guess_of_the_text_is_no_fact_and_what_is_expected_is_not_judged() -> None:
    measured, expected = report("precision.md").tables
    assert (measured.facts["device"], measured.facts["model"], measured.facts["context"]) == (
        "RTX PRO 6000",
        "GPT-2 small",
        128,
    )
    assert expected.expected
    assert report("precision.md").counts["expected_tables"] == 1


def test_mixed_precision_slower_is_explained_by_facts() -> None:
    report_ = report("wrong-card.md")
    (finding,) = [f for f in report_.findings if f.check == "slower_precision" and "mixed" in f.summary]
    assert finding.severity == "INFO"
    assert "capability 6" in finding.cause
    assert "no tensor cores" in finding.cause
    assert report_.exit_status == 0


def test_operation_counts_that_cannot_be() -> None:
    assert ("CPUAndNeuralEngine", "call_s") in found("ane.txt", "compute_units", "ERR")
    assert ("All", "call_s") in found("ane.txt", "compute_units", "WARN"), "all units, slower than one of them"


def test_a_copied_row_and_a_unit_slip() -> None:
    copied = found("sizes.csv", "copied_rows", "WARN")
    assert {("L, fp32", "forward_s"), ("L, fp32 (2)", "forward_s")} <= copied
    assert ("M, bf16", "forward_s") in found("sizes.csv", "unit_slip", "WARN")


def test_a_printed_ratio_a_better_cliff_and_a_size_that_is_not_four_bits() -> None:
    assert ("int4", "decode_tok_per_s") in found("quantised.md", "printed_ratio", "WARN")
    assert ("int3", "perplexity") in found("quantised.md", "better_than_reference", "WARN")
    assert ("int4", "weight_bytes") in found("quantised.md", "weight_size", "ERR", model="smollm2-135m")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("llama-bench.md", set()),
        ("optimum.csv", set()),
        ("german.csv", set()),
        ("healthy.md", {"slower_precision"}),
    ],
)
def test_nothing_false_is_said_of_healthy_tables(name: str, allowed: set[str]) -> None:
    """The healthy table has an int8 prefill that is slower than bf16: true, and no fact of the table explains it."""
    said = [finding for finding in report(name).findings if finding.severity != "INFO"]
    assert {finding.check for finding in said} == allowed
    assert report(name).exit_status == 0


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.iterdir()))
def test_every_finding_has_rows_figures_cause_and_remedy_and_no_folklore(name: str) -> None:
    def whole(finding: Finding) -> bool:
        figures = finding.numbers or any(letter.isdigit() for letter in finding.summary)
        return bool(finding.cells and figures and finding.cause and finding.remedy and finding.summary)

    for finding in report(name).findings:
        assert whole(finding), finding
        assert not any(word in finding.cause.casefold() for word in FOLKLORE)
