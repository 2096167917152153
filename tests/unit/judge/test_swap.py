"""The swap test proposes an exchange of labels that mends several findings, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from assay.judge.audit import audit_tables
from assay.judge.swap import exchanged
from planted import blind, healthy


def proposals(table: Any) -> list[set[str]]:
    findings = audit_tables([table]).findings
    return [{cell.row for cell in finding.cells} for finding in findings if finding.check == "swap_test"]


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [("training A100 float32", "S", "XL"), ("training A100 float32", "M", "L"), ("batches A100", "batch 2", "batch 16"),
     ("lengths V100", "128 tokens", "1024 tokens")],
)  # fmt: skip
def test_exchanged_labels_are_found(name: str, one: str, other: str) -> None:
    assert proposals(exchanged(healthy.TABLES[name](0), one, other)) == [{one, other}]


def test_it_proposes_and_changes_nothing() -> None:
    broken = exchanged(healthy.TABLES["training A100 float32"](0), "S", "XL")
    found = audit_tables([broken])
    assert found.counts["invalid"] > 0
    assert next(f for f in found.findings if f.check == "swap_test").severity == "INFO"
    assert "exchanged labels" in {each.cause for each in found.diagnoses}


@pytest.mark.parametrize("name", healthy.TABLES)
def test_a_sound_table_has_nothing_to_exchange(name: str) -> None:
    assert proposals(healthy.TABLES[name](0)) == []


@pytest.mark.parametrize("name", ["one cell in other units", "labels flipped", "power in milliwatts"])
def test_other_faults_are_not_mended_by_an_exchange(name: str) -> None:
    origin, edit = blind.BLIND[name]
    assert proposals(edit(healthy.TABLES[origin](0))) == []


def test_exchanging_twice_is_nothing() -> None:
    table = healthy.TABLES["batches T4"](0)
    assert exchanged(exchanged(table, "batch 1", "batch 8"), "batch 1", "batch 8") == table
