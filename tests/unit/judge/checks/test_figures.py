"""Figures of a study and of other tools are read alike: values, spread, facts, cells, labels."""

from __future__ import annotations

import math
from typing import Any

import pytest

from assay.core.figures import Figure, FigureRow, FigureTable, labels
from assay.core.records import Absent, Cell
from assay.judge.audit import audit_tables
from assay.judge.checks.figures import canonical_dtype, entries, row_entries
from assay.judge.checks.tables import native_table, subject_of_tables, with_tables


def table(title: str = "times", **fields: Any) -> FigureTable:
    rows = (
        FigureRow(name="fp32", facts={"dtype": "FP32", "batch": 4}),
        FigureRow(name="half", facts={"dtype": "fp16"}),
    )
    figures = (
        Figure(row="fp32", metric="forward_s", value=0.0214, std=0.0004, digits=3),
        Figure(row="half", metric="forward_s", value=0.0107, digits=3),
    )
    return FigureTable(**{"title": title, "source": "a.md", "rows": rows, "figures": figures, **fields})


def test_a_study_yields_its_figures_with_their_spread_and_facts(make: Any) -> None:
    made = native_table(make.subject())
    found = made.figure("bf16", f"tpot_s@{make.decode.name}")
    assert found is not None
    assert found.value == 0.02
    assert found.samples == 6 * 12
    assert not isinstance(found.std, Absent)
    assert not isinstance(found.minimum, Absent)
    assert found.minimum < found.value
    facts = made.rows[1].facts
    assert facts["dtype"] == "bfloat16"
    assert facts[f"batch@{make.decode.name}"] == 1
    assert facts[f"prompt_tokens@{make.decode.name}"] == 128
    assert facts["parameters"] == 134_515_008


def test_an_entry_of_a_study_names_the_cells_of_its_rows(make: Any) -> None:
    subject = with_tables(make.subject())
    entry = next(entry for entry in entries(subject) if entry.row.name == "bf16")
    assert entry.workload == make.decode.name
    assert entry.cell("tpot_s") == Cell(row="bf16", metric="tpot_s")
    assert entry.amount("new_tokens") == 64
    assert entry.dtype == "bfloat16"
    shape = entry.shape
    assert shape is not None
    assert (shape.layers, shape.kv_heads, shape.gated) == (30, 3, True)
    assert with_tables(subject) is subject


def test_a_subject_of_tables_alone_has_no_rounds_and_knows_no_machine() -> None:
    subject = subject_of_tables([table()], {"device": "NVIDIA A100-SXM4-80GB", "samples": 10, "batch": 2})
    fp32, half = entries(subject)
    assert subject.environment is None
    assert (fp32.dtype, half.dtype) == ("float32", "float16")
    assert (fp32.amount("batch"), half.amount("batch")) == (4, 2)
    assert fp32.device is not None
    assert fp32.device.name == "A100"
    assert fp32.error("forward_s") == pytest.approx(math.hypot(0.0004 / math.sqrt(10), 0.0001 / math.sqrt(12)))
    assert half.error("forward_s") is None


def test_figures_of_several_workloads_are_several_entries() -> None:
    rows = (FigureRow(name="q8", facts={"prompt_tokens@pp512": 512}),)
    figures = (
        Figure(row="q8", metric="prefill_tok_per_s@pp512", value=100.0),
        Figure(row="q8", metric="decode_tok_per_s@tg128", value=10.0),
        Figure(row="q8", metric="weight_bytes", value=1e8),
    )
    subject = subject_of_tables([table(rows=rows, figures=figures)])
    prefill, decode = entries(subject)
    assert prefill.value("prefill_tok_per_s") == 100.0
    assert prefill.value("decode_tok_per_s") is None
    assert decode.value("weight_bytes") == 1e8
    assert prefill.tokens == 512
    assert decode.tokens is None
    assert prefill.cell("prefill_tok_per_s") == Cell(row="q8", metric="prefill_tok_per_s@pp512")
    assert [entry.workload for entry in row_entries(subject)] == [""]


def test_tables_of_expected_values_are_not_read() -> None:
    assert entries(subject_of_tables([table(expected=True)])) == []


def test_labels_tell_tables_apart() -> None:
    assert labels([table()]) == ("",)
    assert labels([table("one"), table("two")]) == ("one", "two")
    assert labels([table("one"), table("one"), table("one", source="b.md")]) == (
        "a.md: one (1)",
        "a.md: one (2)",
        "b.md: one",
    )


def test_hypotheses_are_no_facts() -> None:
    guess = table(hypotheses={"device": "A100"})
    assert all(entry.device is None for entry in entries(subject_of_tables([guess])))


@pytest.mark.parametrize(
    ("written", "name"),
    [("torch.float32", "float32"), ("BF16", "bfloat16"), ("TF32", "tf32"), ("Float 16", "float16"), ("mixed", "")],
)
def test_types_are_understood_as_people_write_them(written: str, name: str) -> None:
    assert canonical_dtype(written) == name


def test_an_audit_counts_what_it_judged_and_what_it_did_not() -> None:
    good, hoped = table("measured"), table("hoped for", expected=True)
    bad = table("broken", figures=(Figure(row="fp32", metric="backward_s", value=-0.003),))
    found = audit_tables([good, hoped, bad])
    assert [finding.check for finding in found.findings if finding.severity == "ERR"] == ["non_positive_time"]
    assert found.findings[0].cells == (Cell(row="fp32", metric="backward_s", table="broken"),)
    assert found.counts == {
        "tables": 2, "expected_tables": 1, "rows": 4, "figures": 3, "invalid": 1, "suspect": 0, "sound": 2,
    }  # fmt: skip
