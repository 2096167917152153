"""The journal: each rule is seen refusing a violation, and a broken file leaves the rest usable."""

import datetime as dt
import json
import shutil

import pytest

from assay.core.decisions import DeviceTrigger, Effect, NumberTrigger, VersionTrigger
from assay.core.errors import JournalError
from assay.core.records import Absent, Target
from assay.keep.journal import Journal
from assay.keep.log_check import Surroundings, check_log, newer
from assay.keep.rules import broken_rules
from fixtures_decisions import failed_gate, make_decision, make_experiment, make_run_of
from fixtures_result import make_environment


def around(**changes):
    plain = {
        "today": dt.date(2026, 11, 27),
        "machine": make_environment().machine,
        "devices": ("cpu",),
        "version_of": lambda package: {"torch": "2.13.0+cpu"}.get(package),
        "has_run": lambda run: True,
        "figures": {},
    }
    return Surroundings(**(plain | changes))


@pytest.mark.parametrize("status", ["prototype", "measured", "shipping", "shelved", "rejected", "abandoned", "planned"])
def test_a_whole_decision_is_kept_and_read_again(tmp_path, status):
    journal = Journal(tmp_path)
    entry = journal.add(make_decision(status))
    log = journal.read()
    assert [found.decision for found in log.entries] == [entry.decision]
    assert log.problems == ()
    assert entry.decision.id.startswith("2026-11-23-")


@pytest.mark.parametrize(
    ("status", "changes", "said"),
    [
        ("measured", {"numbers": ()}, "no numeric reason"),
        ("rejected", {"numbers": (Effect(metric="x", value=Absent(reason="it crashed")),)}, "it crashed"),
        ("shelved", {"triggers": ()}, "no revisit trigger"),
        ("rejected", {"triggers": ()}, "no revisit trigger"),
        ("abandoned", {"triggers": ()}, "no revisit trigger"),
        ("rejected", {"evidence": Absent(reason="not run")}, "points at no runs"),
        ("shipping", {"evidence": make_run_of(make_experiment(), verdict=failed_gate()).evidence}, "passed gate"),
        ("shipping", {"evidence": make_run_of(make_experiment(), gate={}).evidence}, "the study sets none"),
        ("shipping", {"target": Target(device="cuda")}, "on the target, torch on cuda"),
        ("planned", {"evidence": make_run_of(make_experiment()).evidence}, "carries results"),
        ("in_training", {"numbers": (Effect(metric="loss", value=3.0, source="by hand"),)}, "carries results"),
        ("measured", {"numbers": (Effect(metric="x", value=1.5, struck=("noise: impossible",)),)}, "failed a check"),
    ],
)
def test_a_violation_of_each_rule_is_refused(tmp_path, status, changes, said):
    decision = make_decision(status, **changes)
    with pytest.raises(JournalError, match=said):
        Journal(tmp_path).add(decision)
    assert list(tmp_path.rglob("*.json")) == []
    assert broken_rules(decision)


def test_a_change_of_mind_supersedes_and_edits_nothing(tmp_path):
    journal = Journal(tmp_path)
    first = journal.add(make_decision("measured"))
    before = first.path.read_bytes()
    second = journal.add(make_decision("rejected", decided_utc="2026-11-24T10:00:00+00:00"))
    assert second.decision.supersedes == (first.decision.id,)
    assert first.path.read_bytes() == before
    log = journal.read()
    assert [entry.decision.status for entry in log.history("int8")] == ["measured", "rejected"]
    assert [entry.decision.status for entry in log.standing()] == ["rejected"]


def test_a_broken_file_is_named_and_the_rest_stays_usable(tmp_path):
    journal = Journal(tmp_path)
    whole = journal.add(make_decision())
    broken = whole.path.with_name("2026-11-25-00000000.json")
    broken.write_text(whole.path.read_text()[:-40])
    log = journal.read()
    assert [entry.path for entry in log.entries] == [whole.path]
    assert [(problem.where, "version control" in problem.remedy) for problem in log.problems] == [(str(broken), True)]


def test_an_edited_decision_is_found(tmp_path):
    journal = Journal(tmp_path)
    entry = journal.add(make_decision())
    fields = json.loads(entry.path.read_text())
    entry.path.write_text(json.dumps(fields | {"reason": "twice as fast"}))
    (problem,) = journal.read().problems
    assert "was edited after it was written" in problem.found
    assert problem.where == str(entry.path)


def test_a_hand_edit_that_breaks_a_rule_is_found(tmp_path):
    journal = Journal(tmp_path)
    entry = journal.add(make_decision("rejected"))
    fields = json.loads(entry.path.read_text())
    entry.path.write_text(json.dumps(fields | {"triggers": []}))
    found = " ".join(problem.found for problem in journal.read().problems)
    assert "no revisit trigger" in found


def test_two_decisions_of_one_id_after_a_merge_are_told_and_count_once(tmp_path):
    journal = Journal(tmp_path)
    entry = journal.add(make_decision())
    shutil.copy(entry.path, entry.path.with_name("theirs.json"))
    log = journal.read()
    assert len(log.entries) == 1
    (problem,) = log.problems
    assert "2 decisions have the id" in problem.found
    assert "theirs.json" in problem.where
    fields = json.loads(entry.path.read_text())
    entry.path.with_name("theirs.json").write_text(json.dumps(fields | {"reason": "edited"}))
    log = journal.read()
    assert [kept.decision.reason for kept in log.entries] == [entry.decision.reason]
    assert any("They differ" in problem.remedy for problem in log.problems)


def test_two_people_who_decided_at_once_are_a_contradiction(tmp_path):
    ours, theirs = Journal(tmp_path / "ours"), Journal(tmp_path / "theirs")
    ours.add(make_decision("measured"))
    entry = theirs.add(make_decision("rejected", decided_utc="2026-11-24T10:00:00+00:00"))
    shutil.copy(entry.path, tmp_path / "ours" / "int8" / "decisions" / entry.path.name)
    findings = check_log(ours.read(), around())
    assert [finding.kind for finding in findings] == ["problem"]
    assert "neither supersedes the other" in findings[0].found
    ours.add(make_decision("shelved", decided_utc="2026-11-25T10:00:00+00:00"))
    assert check_log(ours.read(), around()) == ()


def test_two_shipping_variants_for_one_target_and_workload_are_a_contradiction(tmp_path):
    journal = Journal(tmp_path)
    journal.add(make_decision("shipping"))
    other = make_experiment("other")
    journal.add(make_decision("shipping", other))
    found = [finding.found for finding in check_log(journal.read(), around())]
    assert len(found) == 1
    assert "2 variants ship for smollm2-135m" in found[0]
    assert "prefill 512, decode 128+64" in found[0]


def test_a_variant_that_ships_and_was_rejected_is_a_contradiction(tmp_path):
    journal = Journal(tmp_path)
    journal.add(make_decision("shipping"))
    journal.add(make_decision("rejected", make_experiment("other")))
    found = [finding.found for finding in check_log(journal.read(), around())]
    assert len(found) == 1
    assert "ships by 'int8' and is rejected by 'other'" in found[0]


@pytest.mark.parametrize(
    ("trigger", "changes", "true"),
    [
        (VersionTrigger(package="torch", at_least="2.14"), {}, False),
        (VersionTrigger(package="torch", at_least="2.13"), {}, True),
        (VersionTrigger(package="coremltools", at_least="1"), {}, False),
        (DeviceTrigger(device="cuda"), {}, False),
        (DeviceTrigger(device="cuda"), {"devices": ("cpu", "cuda")}, True),
        (NumberTrigger(metric="usable_cpus", at_least=1), {}, True),
        (NumberTrigger(metric="usable_cpus", at_least=1e6), {}, False),
        (NumberTrigger(metric="kl_nats", at_most=0.5), {"figures": {"int8": {"kl_nats": 0.2}}}, True),
        (NumberTrigger(metric="kl_nats", at_most=0.1), {"figures": {"int8": {"kl_nats": 0.2}}}, False),
    ],
)
def test_triggers_come_true_where_they_do(tmp_path, trigger, changes, true):
    journal = Journal(tmp_path)
    journal.add(make_decision("shelved", triggers=(trigger,)))
    kinds = [finding.kind for finding in check_log(journal.read(), around(**changes))]
    assert kinds == (["trigger"] if true else [])


def test_a_date_comes(tmp_path):
    journal = Journal(tmp_path)
    journal.add(make_decision("shelved"))
    assert check_log(journal.read(), around()) == ()
    (finding,) = check_log(journal.read(), around(today=dt.date(2999, 1, 1)))
    assert (finding.kind, "2999-01-01" in finding.found) == ("trigger", True)


def test_deleted_runs_are_told_and_the_decision_stays(tmp_path):
    journal = Journal(tmp_path)
    entry = journal.add(make_decision())
    log = journal.read()
    one_lost = around(has_run=lambda run: run != entry.decision.evidence.runs[0])
    (finding,) = check_log(log, one_lost)
    assert finding.kind == "problem"
    assert entry.decision.evidence.runs[0] in finding.found
    elsewhere = around(machine=make_environment().machine.model_copy(update={"release": "another"}),
                       has_run=lambda run: False)  # fmt: skip
    (finding,) = check_log(log, elsewhere)
    assert (finding.kind, "another machine" in finding.found) == ("remark", True)


def test_a_decision_older_than_its_tools_is_remarked(tmp_path):
    journal = Journal(tmp_path)
    entry = journal.add(make_decision())
    then = entry.decision.evidence.toolchain["torch"]
    (finding,) = check_log(journal.read(), around(version_of=lambda package: {"torch": "98.1"}.get(package)))
    assert finding.kind == "remark"
    assert f"torch {then} then, 98.1 now" in finding.found


def test_a_predecessor_that_is_gone_is_a_problem(tmp_path):
    journal = Journal(tmp_path)
    first = journal.add(make_decision("measured"))
    journal.add(make_decision("rejected", decided_utc="2026-11-24T10:00:00+00:00"))
    first.path.unlink()
    (finding,) = check_log(journal.read(), around())
    assert first.decision.id in finding.found


def test_versions_are_compared_by_their_numbers():
    assert newer("2.14.0+cpu", "2.13.1")
    assert newer("2.10", "2.9.9")
    assert not newer("2.13", "2.13.0")
    assert not newer("2.13.0+cu128", "2.13.0+cpu")
