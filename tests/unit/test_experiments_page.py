"""EXPERIMENTS.md of this repository is what its journal renders, and its journal is in order."""

import datetime as dt
from pathlib import Path

import pytest

from assay.core.records import Absent
from assay.keep.journal import Journal
from assay.pipeline.experiments import experiments_page, readable
from assay.pipeline.plan import plan_rows

ROOT = Path(__file__).parents[2]
JOURNAL = Journal(ROOT / "experiments")
EXPERIMENTS, PROBLEMS = readable(JOURNAL)


def test_the_page_is_what_is_rendered():
    text, problems = experiments_page(ROOT / "experiments")
    assert problems == ()
    assert (ROOT / "EXPERIMENTS.md").read_text(encoding="utf-8") == text, "assay log render writes it anew"


def test_every_file_can_be_read():
    assert PROBLEMS == ()
    assert len(EXPERIMENTS) >= 6


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_names_what_the_catalog_has(name):
    experiment = EXPERIMENTS[name]
    assert plan_rows(experiment.study)
    assert dt.date.fromisoformat(experiment.stated) >= dt.date(2026, 11, 27)


def test_no_expectation_was_changed_after_it_was_measured():
    for entry in JOURNAL.read().standing():
        decision = entry.decision
        assert decision.expected == EXPERIMENTS[decision.experiment].expect
        if not isinstance(decision.evidence, Absent):
            assert decision.stated <= decision.evidence.measured_utc[:10]
