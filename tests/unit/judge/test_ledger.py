"""Expected beside measured: the ledger's sums, the excerpt's numbers, and whether a verdict still holds."""

import math

import pytest
from scipy import stats

from assay.core.decisions import Effect, Expectation
from assay.core.records import Absent, Cell, Estimate, Finding
from assay.judge.excerpt import effect
from assay.judge.ledger import ledger
from assay.judge.recheck import recheck
from fixtures_decisions import failed_gate, make_decision, make_experiment, make_run_of
from fixtures_result import make_result


def decided(name, pairs, level=0.9):
    """A decision whose expectations and measured ratios are these."""
    expect = tuple(
        Expectation(metric=f"m{place}", value=value, low=low, high=high, level=level)
        for place, (value, low, high, _) in enumerate(pairs)
    )
    effects = tuple(Effect(metric=f"m{place}", value=found) for place, (*_, found) in enumerate(pairs))
    run = make_run_of(make_experiment(name), effects=effects)
    return make_decision("measured", make_experiment(name), expected=expect, evidence=run.evidence)


def test_an_empty_ledger_says_so():
    empty = ledger(())
    assert isinstance(empty.coverage, Absent)
    assert isinstance(empty.bias, Absent)


def test_coverage_and_bias_are_those_of_scipy():
    pairs = [(1.0, 0.9, 1.1, 1.05), (1.2, 1.0, 1.4, 1.5), (2.0, 1.0, 3.0, 2.5), (0.5, 0.4, 0.6, 0.45)]
    found = ledger((decided("a", pairs[:2]), decided("b", pairs[2:])))
    assert (found.expectations, found.inside, found.unmeasured) == (4, 3, 0)
    wilson = stats.binomtest(3, 4).proportion_ci(method="wilson")
    assert (found.coverage.low, found.coverage.high) == pytest.approx((wilson.low, wilson.high), rel=1e-6)
    logs = [math.log(measured / value) for value, _, _, measured in pairs]
    interval = stats.t.interval(0.95, 3, loc=sum(logs) / 4, scale=stats.sem(logs))
    assert (math.log(found.bias.low), math.log(found.bias.high)) == pytest.approx(interval, rel=1e-6)


def test_an_expectation_counts_once_and_struck_numbers_do_not():
    first = decided("a", [(1.0, 0.9, 1.1, 1.05)])
    again = decided("a", [(1.0, 0.9, 1.1, 5.0)])
    found = ledger((first, again))
    assert (found.expectations, found.inside) == (1, 1)
    struck = Effect(metric="m0", value=1.0, struck=("noise: impossible",))
    bad = first.model_copy(update={"evidence": first.evidence.model_copy(update={"effects": (struck,)})})
    assert ledger((bad,)).unmeasured == 1


def test_effects_are_the_result_s_own_numbers():
    result = make_result()
    rows = {row.name: row for row in result.rows}
    speed = next(c for c in result.comparisons if (c.variant, c.metric) == ("int8", "decode_tok_per_s"))
    wanted = Expectation(metric="decode_tok_per_s", value=1.0, low=0.9, high=1.1)
    found = effect(result, wanted, rows["int8"], rows["bf16"])
    assert (found.value, found.outcome) == (speed.ratio, speed.outcome)
    size = effect(result, wanted.model_copy(update={"metric": "weight_bytes"}), rows["int8"], rows["bf16"])
    assert size.value == rows["int8"].metrics["weight_bytes"] / rows["bf16"].metrics["weight_bytes"]
    own = effect(result, wanted.model_copy(update={"metric": "kl_nats", "kind": "value"}), rows["int8"], rows["bf16"])
    assert own.value == rows["int8"].metrics["kl_nats"]
    none = effect(result, wanted.model_copy(update={"metric": "energy_j"}), rows["int8"], rows["bf16"])
    assert isinstance(none.value, Absent)


@pytest.mark.parametrize(
    ("row", "metric", "struck"),
    [("int8", "decode_tok_per_s@decode 128+64", True), ("bf16", "tpot_s", True), ("fp32", "tpot_s", False),
     ("int8", "kl_nats", False)],
)  # fmt: skip
def test_a_check_on_either_side_strikes_a_ratio_out(row, metric, struck):
    finding = Finding(
        check="unsynchronised",
        severity="ERR",
        cells=(Cell(row=row, metric=metric),),
        summary="flat",
        cause="cause unknown",
        remedy="synchronise",
    )
    result = make_result().model_copy(update={"findings": (finding,)})
    rows = {found.name: found for found in result.rows}
    wanted = Expectation(metric="decode_tok_per_s", value=1.0, low=0.9, high=1.1)
    assert bool(effect(result, wanted, rows["int8"], rows["bf16"]).struck) is struck


def moved(evidence, low, high):
    ratio = Estimate(value=(low + high) / 2, low=low, high=high, method="test")
    first = evidence.effects[0].model_copy(update={"value": ratio})
    return evidence.model_copy(update={"effects": (first, *evidence.effects[1:])})


def test_a_verdict_holds_falls_or_stays_open():
    decision = make_decision("shipping")
    evidence = decision.evidence
    then = evidence.effects[0].value
    assert recheck(decision, evidence).holds is True
    assert recheck(decision, moved(evidence, then.high + 0.01, then.high + 0.1)).holds is False
    assert recheck(decision, moved(evidence, then.low - 0.1, then.low + 0.001)).holds is True
    assert recheck(decision, evidence.model_copy(update={"verdict": failed_gate()})).holds is False
    unsure = evidence.verdict.model_copy(update={"status": "inconclusive"})
    assert isinstance(recheck(decision, evidence.model_copy(update={"verdict": unsure})).holds, Absent)
