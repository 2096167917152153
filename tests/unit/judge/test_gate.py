"""The gate fails only beyond the margin, keeps no absolute time, and turns to JUnit and Markdown."""

import random
from xml.etree import ElementTree

import pytest

from assay.core.gate import GateBaseline
from assay.core.records import Cell, Estimate, Finding, Outcome
from assay.judge.gate import baseline_of, gate, speed_outcome
from assay.judge.stats.sequence import confidence_sequence
from assay.show.gate import gate_junit, gate_markdown, gate_text
from fixtures_result import make_result


def estimate(low, high):
    return Estimate(value=(low + high) / 2, low=low, high=high, method="test")


@pytest.mark.parametrize(
    ("metric", "now", "kept", "outcome"),
    [
        ("decode_tok_per_s", (1.34, 1.38), (1.34, 1.36), "passed"),
        ("decode_tok_per_s", (1.20, 1.28), (1.32, 1.38), "failed"),
        ("decode_tok_per_s", (1.20, 1.38), (1.32, 1.38), "inconclusive"),
        ("decode_tok_per_s", (1.335, 1.34), (1.349, 1.351), "passed"),  # worse, and within the margin of 2 %
        ("end_to_end_s", (1.06, 1.10), (0.98, 1.02), "failed"),
        ("end_to_end_s", (0.90, 0.93), (0.98, 1.02), "passed"),
        ("end_to_end_s", (1.00, 1.10), (0.98, 1.02), "inconclusive"),
    ],
)
def test_a_speed_fails_only_wholly_beyond_the_margin(metric, now, kept, outcome):
    assert speed_outcome(metric, estimate(*now), estimate(*kept), 0.02) == outcome


def result_of(**changes):
    return make_result().model_copy(update={"findings": (), "gate": {}} | changes)


def outcomes(report):
    return {test.name: test.outcome for test in report.tests}


def slower(result, factor, low=0.99, high=1.01):
    """Every comparison's ratio times `factor`, with a narrow interval."""

    def change(c):
        if not isinstance(c.ratio, Estimate):
            return c
        value = c.ratio.value * factor
        narrow = c.ratio.model_copy(update={"value": value, "low": value * low, "high": value * high})
        return c.model_copy(update={"ratio": narrow})

    return result.model_copy(update={"comparisons": tuple(change(c) for c in result.comparisons)})


def test_the_same_run_passes_against_itself_but_for_the_rows_that_failed_then_too():
    result = slower(result_of(), 1.0)
    report = gate(result, baseline_of(result), 0.02)
    assert [test.name for test in report.failed] == ["int4-g32 runs"]
    assert outcomes(report)["decode_tok_per_s of int8 on decode 128+64"] == "passed"
    assert outcomes(report)["weight_bytes of int8"] == "passed"


def test_a_loss_of_speed_fails_and_a_gain_passes():
    result = slower(result_of(), 1.0)
    kept = baseline_of(result)
    name = "decode_tok_per_s of int8 on decode 128+64"
    assert outcomes(gate(slower(result, 0.9), kept, 0.02))[name] == "failed"
    assert outcomes(gate(slower(result, 0.998), kept, 0.02))[name] == "passed"
    assert outcomes(gate(slower(result, 1.2), kept, 0.02))[name] == "passed"
    assert outcomes(gate(slower(result, 0.9), None, 0.02))[name] == "passed"  # still faster than the base of the run


def test_a_disturbed_run_does_not_fail():
    result = slower(result_of(), 1.0)
    disturbed = slower(result, 0.9)
    shift = tuple(c.model_copy(update={"ratio": estimate(1.1, 1.2)}) for c in result.null_estimates)
    report = gate(disturbed.model_copy(update={"null_estimates": shift}), baseline_of(result), 0.02)
    assert outcomes(report)["decode_tok_per_s of int8 on decode 128+64"] == "inconclusive"


def test_a_struck_number_decides_nothing():
    result = slower(result_of(), 1.0)
    finding = Finding(check="unsynchronised", severity="ERR", cells=(Cell(row="int8", metric="tpot_s"),),
                      summary="flat", cause="cause unknown", remedy="synchronise")  # fmt: skip
    bad = slower(result, 0.5).model_copy(update={"findings": (finding,)})
    assert outcomes(gate(bad, baseline_of(result), 0.02))["decode_tok_per_s of int8 on decode 128+64"] == "inconclusive"


def test_sizes_and_quality_are_held_hard():
    result = slower(result_of(), 1.0)
    kept = baseline_of(result)

    def with_metric(name, value):
        rows = tuple(
            row.model_copy(update={"metrics": {**row.metrics, name: value}}) if row.name == "int8" else row
            for row in result.rows
        )
        return outcomes(gate(result.model_copy(update={"rows": rows}), kept, 0.02))[f"{name} of int8"]

    size = next(row for row in result.rows if row.name == "int8").metrics["weight_bytes"]
    assert with_metric("weight_bytes", size * 1.001) == "passed"
    assert with_metric("weight_bytes", size * 1.01) == "failed"
    assert with_metric("kl_nats", estimate(0.5, 0.6)) == "failed"
    assert with_metric("kl_nats", estimate(0.0, 0.6)) == "inconclusive"


def test_a_row_that_crashes_or_is_gone_fails():
    result = slower(result_of(), 1.0)
    kept = baseline_of(result)
    crashed = tuple(
        row.model_copy(update={"outcome": Outcome(kind="crashed", message="boom")}) if row.name == "int8" else row
        for row in result.rows
    )
    assert outcomes(gate(result.model_copy(update={"rows": crashed}), kept, 0.02))["int8 runs"] == "failed"
    gone = tuple(row for row in result.rows if row.name != "int8")
    assert outcomes(gate(result.model_copy(update={"rows": gone}), kept, 0.02))["int8 runs"] == "failed"


def test_no_absolute_time_is_kept_and_the_baseline_round_trips():
    kept = baseline_of(result_of())
    assert all(n.kind == "ratio" or n.metric.endswith(("bytes", "nats", "agreement", "ratio")) for n in kept.numbers)
    assert GateBaseline.from_json(kept.to_json()) == kept


def test_junit_and_markdown_say_the_same():
    result = slower(result_of(), 1.0)
    report = gate(slower(result, 0.9), baseline_of(result), 0.02)
    suite = ElementTree.fromstring(gate_junit(report)).find("testsuite")
    cases = suite.findall("testcase")
    assert int(suite.get("tests")) == len(cases) == len(report.tests)
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure")) == len(report.failed) > 0
    assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped"))
    assert gate_markdown(report).count("**failed**") == len(report.failed)
    assert f"{len(report.failed)} failed" in gate_text(report)


def test_hostile_words_are_no_xml():
    result = result_of(name="<evil>&\x1b[31m")
    text = gate_junit(gate(result, None, 0.02))
    assert ElementTree.fromstring(text).find("testsuite").get("name") == "assay gate <evil>&\\x1b[31m"


def test_an_unchanged_tree_fails_in_at_most_one_of_100_runs():
    """The same rule as benchmarks/gate_false_alarms.py in short: 400 runs of four speeds, none of which changed."""
    draw, failed = random.Random(3), 0

    def measured():
        mean, low, high = confidence_sequence([draw.gauss(0, 0.03) for _ in range(20)], 0.01 / 4)
        return Estimate(value=2.718**mean, low=2.718**low, high=2.718**high, method="test")

    for _ in range(400):
        failed += any(speed_outcome("decode_tok_per_s", measured(), measured(), 0.02) == "failed" for _ in range(4))
    assert failed <= 4
