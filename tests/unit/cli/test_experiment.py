"""The commands of experiments and of the journal, on files made by hand: what a user types, and what comes back."""

from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from assay.cli import main
from assay.cli.experiment import STATUSES
from assay.core import decisions
from assay.core.experiment_file import read_experiment
from assay.keep.journal import Journal
from assay.keep.store import open_store
from assay.pipeline.experiments import KIND, decision_on, expectation_of, trigger_of
from fixtures_decisions import make_decision, make_experiment, make_run_of


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which an experiment `int8` was written and run."""
    monkeypatch.chdir(tmp_path)
    type_("experiment", "new", "int8", "--model", "smollm2-135m", "--baseline", "bf16", "--candidate", "int8",
          "--hypothesis", "It is faster", "--min-speedup", "1.05",
          "--expect", "decode_tok_per_s@decode 128+64=1.4:1.2:1.6", "--expect", "weight_bytes=0.5:0.3:0.9")  # fmt: skip
    path = Path("experiments/int8/experiment.toml")
    path.write_text(path.read_text().replace(decisions.dt.date.today().isoformat(), "2026-11-21"))
    experiment = read_experiment(path.parent)
    run = make_run_of(make_experiment())
    open_store(".assay").put(KIND, "int8", run.model_copy(update={"experiment": experiment}))
    return tmp_path


def type_(*words, status=0):
    done = CliRunner().invoke(main, words)
    assert done.exit_code == status, done.output
    return done.output


def test_the_statuses_are_those_of_the_records():
    assert get_args(decisions.Status) == STATUSES == tuple(decisions.STATUSES)


def test_from_a_run_to_a_rendered_page(project):
    said = type_("experiment", "decide", "int8", "--status", "shipping", "--reason", "1.46 x, and the same text")
    assert "Wrote experiments/int8/decisions/" in said
    assert "int8  shipping" in type_("experiment", "list")
    assert "Status: **shipping**" in type_("experiment", "show", "int8")
    assert "1.46 x, and the same text" in type_("experiment", "history", "int8")
    assert "as expected" in type_("log", "ledger")
    type_("log", "render")
    page = Path("EXPERIMENTS.md").read_text()
    for words in ("## int8", "**shipping**", "It is faster", "×1.4 (1.2 … 1.6, 90 %)", "(experiments/int8/",
                  "Conclusion: 1.46 x", "gate: pass", "Predictions: 2 of 2"):  # fmt: skip
        assert words in page, words


def test_what_ships_is_the_baseline_of_the_next_experiment(project):
    assert "no decision" in type_("ship", "smollm2-135m", status=2)
    type_("experiment", "decide", "int8", "--status", "shipping", "--reason", "faster")
    assert "int8: cast(dtype=bf16) + int8_weight_only on torch" in type_("ship", "smollm2-135m")
    assert '"status":"shipping"' in type_("ship", "smollm2-135m", "--workload", "decode", "--format", "json")
    type_("ship", "smollm2-135m", "--device", "cuda", status=2)
    type_("experiment", "new", "next", "--model", "smollm2-135m", "--own-transform", "--hypothesis", "It is as good",
          "--expect", "kl_nats=0.02:0.005:0.1")  # fmt: skip
    found = read_experiment(Path("experiments/next"))
    assert found.study.baseline == "int8"
    assert [spec.kind for spec in found.variant("int8").transforms] == ["cast", "int8_weight_only"]
    assert [spec.kind.partition("@")[0] for spec in found.variant("next").transforms] == [
        "cast", "int8_weight_only", "variant.py"]  # fmt: skip
    assert found.layered_on == Journal(Path("experiments")).read().standing()[0].decision.id


def test_a_rule_refuses_with_exit_status_2_and_names_itself(project):
    said = type_("experiment", "decide", "int8", "--status", "rejected", "--reason", "slow", status=2)
    assert "no revisit trigger" in said
    assert not list(project.rglob("decisions/*"))


def test_an_experiment_that_was_changed_since_is_not_decided_on(project):
    path = Path("experiments/int8/experiment.toml")
    path.write_text(path.read_text().replace("1.05", "1.5"))
    said = type_("experiment", "decide", "int8", "--status", "measured", "--reason", "x", status=2)
    assert "was changed since it was run" in said


def test_log_check_turns_problems_into_exit_status_1_and_render_leaves_them_out(project):
    type_("log", "check")
    type_("experiment", "decide", "int8", "--status", "shelved", "--reason", "x", "--trigger", "date=2020-01-01")
    assert "TRIGGER" in type_("log", "check", status=1)
    (kept,) = Path("experiments/int8/decisions").iterdir()
    kept.with_name("broken.json").write_text("{")
    assert "broken.json" in type_("log", "check", status=1)
    assert "broken.json" in type_("log", "render", status=1)
    assert "shelved" in Path("EXPERIMENTS.md").read_text()


def test_a_broken_experiment_file_leaves_the_list_usable(project):
    Path("experiments/broken").mkdir()
    Path("experiments/broken/experiment.toml").write_text("hypothesis = ")
    said = type_("experiment", "list")
    assert "int8" in said
    assert "broken" in said
    assert "Mend that line" in type_("log", "check", status=1)


def test_unknown_names_list_the_known_ones(project):
    assert "Known: int8" in type_("experiment", "run", "inty", status=2)
    assert "exists" in type_("experiment", "new", "int8", "--model", "smollm2-135m", status=2)


def test_an_unstated_experiment_is_refused_when_it_is_run(project):
    type_("experiment", "new", "vague", "--model", "smollm2-135m", "--candidate", "int8")
    said = type_("experiment", "run", "vague", status=2)
    assert "hypothesis" in said
    assert "expect" in said


@pytest.mark.parametrize(
    ("written", "kind"),
    [("torch>=2.14", "version"), ("device=cuda", "device"), ("date=2027-06-01", "date"), ("kl_nats<=0.01", "number"),
     ("memory_bytes>=3e10", "number")],
)  # fmt: skip
def test_triggers_are_read(written, kind):
    assert trigger_of(written).kind == kind


@pytest.mark.parametrize("written", ["soon", "date=tomorrow", "torch<=2", "kl_nats>=much", "when=now", "torch>=new"])
def test_what_is_no_trigger_is_refused(written):
    with pytest.raises(decisions_errors(), match="Write torch"):
        trigger_of(written)


@pytest.mark.parametrize("written", ["decode_tok_per_s", "speed=1:1:1", "kl_nats=1:2:3", "kl_nats=a:b:c"])
def test_what_is_no_expectation_is_refused(written):
    with pytest.raises(decisions_errors()):
        expectation_of(written)


def test_numbers_are_measured_or_by_hand(project):
    experiment = read_experiment(Path("experiments/int8"))
    run = open_store(".assay").get(KIND, "int8", decisions.ExperimentRun)
    decided = decision_on(experiment, run, "measured", "x", ("kl_nats", "training_h=400"), ())
    assert [(number.name, number.source) for number in decided.numbers] == [
        ("kl_nats (value)", "measured"), ("training_h (value)", "by hand")]  # fmt: skip
    with pytest.raises(decisions_errors(), match="none of that name"):
        decision_on(experiment, run, "measured", "x", ("speed",), ())


def test_a_page_of_hostile_words_is_no_markup(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Journal(Path("experiments")).add(make_decision(reason="<script>alert(1)</script> | a\n## not a heading"))
    type_("log", "render")
    page = Path("EXPERIMENTS.md").read_text()
    assert "<script>" not in page
    assert "\n## not a heading" not in page


def decisions_errors():
    from assay.core.errors import InputError

    return InputError
