"""The checks check themselves: planted faults are found, healthy results are left alone."""

from __future__ import annotations

import pytest

from assay.judge.checks.runner import CHECKS
from planted import suite

CAUGHT = 0.90
FALSE_ERRORS = 0.02
FALSE_WARNINGS = 0.10


@pytest.fixture(scope="module")
def planted() -> tuple[suite.Planted, ...]:
    return suite.plant()


def test_there_are_sixty_faults_and_twenty_blind_ones(planted: tuple[suite.Planted, ...]) -> None:
    assert len({fault.name for fault in planted}) == len(planted) >= 60
    assert sum(fault.group == "blind" for fault in planted) >= 20


@pytest.mark.parametrize("group", ["blind", "informed", "study"])
def test_nine_of_ten_are_caught_in_every_group(planted: tuple[suite.Planted, ...], group: str) -> None:
    mine = [fault for fault in planted if fault.group == group]
    missed = [fault.name for fault in mine if not fault.rules]
    assert 1 - len(missed) / len(mine) >= CAUGHT, missed


def test_healthy_results_are_left_alone() -> None:
    found = suite.alarms(range(3))
    assert found.rows >= 300
    assert found.errors <= FALSE_ERRORS * found.rows, found.by_check
    assert found.warnings <= FALSE_WARNINGS * found.rows, found.by_check


def test_what_catches_is_a_check(planted: tuple[suite.Planted, ...]) -> None:
    assert {rule for fault in planted for rule in fault.rules} <= set(CHECKS)
