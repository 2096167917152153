"""A plan against the formulas by hand, published figures, and what a worker tells of a tiny model."""

import json

import pytest

from assay.core import cost
from assay.core.errors import InputError
from assay.core.records import Absent, Ceilings, Load
from assay.core.study import Study
from assay.keep.store import open_store
from assay.pipeline import prediction
from assay.pipeline.doctor import CEILINGS
from assay.run.measure import environment
from assay.show.plan import render_plan

CONFIG = {
    "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}  # fmt: skip
NOTHING = Absent(reason="not asked")
IDLE = Load(
    load_average=0.0, psi_cpu_some_avg10=0.0, steal_fraction=0.0, available_bytes=8e9, frequency_hz=NOTHING,
    temperature_c=NOTHING, thermal_state=NOTHING,
)  # fmt: skip


def ceilings(threads, **changes):
    fields = {
        "machine": environment.machine().content_digest,
        "measured_utc": "2026-01-01T00:00:00+00:00",
        "elapsed_s": 1.0,
        "threads": threads,
        "flops_per_s": {"float32": 1e9, "bfloat16": 4e9},
        "cache_bytes_per_s": {},
        "memory_bytes_per_s": {"triad": 1e8, "read_sum": 2e8},
        "dispatch_floor_s": {"torch": 1e-6},
        "clock_resolution_s": 1e-8,
        "noise": 0.01,
        "cpu_share": 1.0,
        "contention": (),
        "before": IDLE,
        "after": IDLE,
    }
    return Ceilings(**{**fields, **changes})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "config.json"
    path.write_text(json.dumps(CONFIG))
    int8 = {"kind": "int8_weight_only"}
    content = {
        "name": "tiny",
        "model": str(path),
        "baseline": "fp32",
        "reference": "fp32",
        "variants": [
            {"name": "fp32"},
            {"name": "int8", "transforms": [{"kind": "cast", "dtype": "bf16"}, int8]},
            {"name": "wrong", "transforms": [int8]},
        ],
        "workloads": [
            {"kind": "load"},
            {"kind": "prefill", "prompt_tokens": 32, "new_tokens": 0},
            {"kind": "decode", "prompt_tokens": 8, "new_tokens": 8},
            {"kind": "generate", "prompt_tokens": 8, "new_tokens": 4},
        ],
        "quality": {"sample_tokens": 0},
        "threads": 1,
    }
    return Study.model_validate_json(json.dumps(content))


@pytest.fixture(scope="module")
def planned(study, tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("plan") / "store")
    known = ceilings(threads=1)
    store.put(CEILINGS, known.machine, known)
    return prediction.plan_study(study, store)


def cells_of(plan, workload):
    return {cell.row: cell for cell in plan.cells if cell.workload == workload}


def test_every_cell_is_the_roofline_of_its_shapes(planned):
    rows = {row.name: row for row in planned.rows}
    for name, peak in (("fp32", 1e9), ("int8", 4e9)):
        artifact = rows[name].artifact
        cell = cells_of(planned, "prefill 32")[name]
        flops, moved = cost.prefill_flops(artifact.contract, 1, 32), cost.prefill_bytes(artifact, 32)
        assert (cell.flops, cell.bytes_moved, cell.tokens) == (flops, moved, 32)
        assert cell.compute_s == pytest.approx(flops / peak)
        assert cell.transfer_s == pytest.approx(moved / 2e8)
        assert cell.dispatch_s == pytest.approx(cell.dispatches * 1e-6)
        assert cell.seconds == pytest.approx(max(flops / peak, moved / 2e8) + cell.dispatch_s)
        assert cell.tokens_per_s == pytest.approx(32 / cell.seconds)
    assert cells_of(planned, "prefill 32")["fp32"].bound == "compute"
    assert cells_of(planned, "decode 8+8")["fp32"].bound == "bandwidth"


def test_generating_launches_a_prompt_and_its_steps(planned):
    prompt = cells_of(planned, "prefill 32")["fp32"].dispatches
    step = cells_of(planned, "decode 8+8")["fp32"].dispatches
    assert cells_of(planned, "generate 8+4")["fp32"].dispatches == prompt + 3 * step


def test_what_cannot_be_built_is_said_before(planned):
    wrong = next(row for row in planned.rows if row.name == "wrong")
    assert isinstance(wrong.artifact, Absent)
    assert "before int8_weight_only" in wrong.artifact.reason
    assert any("wrong cannot be built" in warning for warning in planned.warnings)


def test_the_workers_of_a_round_are_added_the_hidden_one_too(planned):
    rows = {row.name: row.memory_bytes for row in planned.rows}
    assert planned.together_bytes == 2 * rows["fp32"] + rows["int8"]
    assert planned.groups == (("fp32", "int8", "A/A"),)


def test_the_table_fits_80_columns_and_says_what_is_missing(planned):
    planned = planned.model_copy(update={"model": "tiny/config.json"})
    text = render_plan(planned)
    assert max(map(len, text.splitlines())) <= 80
    assert "wrong cannot be built" in " ".join(text.split())
    assert json.loads(render_plan(planned, "json"))["name"] == "tiny"
    assert "| fp32 |" in render_plan(planned, "markdown")


def test_long_names_are_not_shortened(planned):
    name = "a-variant-with-a-very-long-name-that-nobody-should-have-written"
    cells = tuple(cell.model_copy(update={"row": name}) for cell in planned.cells)
    rows = tuple(row.model_copy(update={"name": name}) for row in planned.rows)
    text = render_plan(planned.model_copy(update={"cells": cells, "rows": rows, "warnings": (), "model": "m"}))
    assert name in text
    assert max(map(len, text.splitlines())) <= 80


def test_without_ceilings_there_are_no_times(study, monkeypatch):
    monkeypatch.setattr(prediction, "_ask", lambda *_: pytest.fail("not asked"))
    roofs = prediction.measured_roofs(prediction.known_ceilings(None, "cpu"), "a CPU", 1)
    found = prediction.predict(cost.Work(1e9, 1e6, 1, 1), "float32", 10.0, prediction.floor_of(roofs, "torch"), roofs)
    assert set(found) == {"compute_s", "transfer_s", "dispatch_s", "seconds", "bound"}
    assert all(value == prediction.NO_CEILINGS for value in found.values())
    assert "assay doctor --measure" in prediction.NO_CEILINGS.reason


def test_ceilings_of_other_threads_predict_nothing():
    roofs = prediction.measured_roofs(ceilings(threads=2), "a CPU", 1)
    assert roofs.kind == "none"
    assert "of 2 threads, the study computes with 1" in roofs.bytes_per_s.reason


def test_a_launch_bound_is_named():
    roofs = prediction.measured_roofs(ceilings(threads=1), "a CPU", 1)
    found = prediction.predict(cost.Work(1e3, 1e3, 1, 1), "float32", 100.0, 1e-6, roofs)
    assert found["bound"] == "dispatch"
    assert found["seconds"] == pytest.approx(1e-4 + 5e-6)


def test_published_hardware_is_named_as_such():
    roofs = prediction.published_roofs("rtx pro 6000")
    assert (roofs.kind, roofs.flops_per_s["bfloat16"], roofs.bytes_per_s) == ("published", 504e12, 1792e9)
    found = prediction.predict(
        cost.Work(504e12, 1.0, 1, 1), "bfloat16", 9.0, prediction.floor_of(roofs, "torch"), roofs
    )
    assert found["seconds"] == pytest.approx(1.0)
    assert isinstance(found["dispatch_s"], Absent)
    assert "recalled: bandwidth" in prediction.published_roofs("A100").source
    missing = prediction.predict(cost.Work(1.0, 1.0, 1, 1), "bfloat16", 1.0, NOTHING, prediction.published_roofs("M1"))
    assert "no peak of bfloat16" in missing["seconds"].reason
    with pytest.raises(InputError, match="table"):
        prediction.published_roofs("abacus")


def test_what_does_not_fit_is_said(study, planned, monkeypatch):
    artifacts = {row.name: row.artifact for row in planned.rows}
    monkeypatch.setattr(prediction, "_ask", lambda *_: (artifacts, {"step": 1, "prompt": 1}, ()))
    need = next(row.memory_bytes for row in planned.rows if row.name == "fp32")
    for available, words in (
        (need / 2, "fp32 does not fit"),
        (2.3 * need, "rounds will hold"),
        (need * 1.1, "in turn"),
    ):
        load = IDLE.model_copy(update={"available_bytes": float(available)})
        monkeypatch.setattr(prediction.surroundings, "load", lambda load=load: load)
        warnings = prediction.plan_study(study, None).warnings
        assert any(words in warning for warning in warnings), (available, warnings)


def test_a_plan_without_a_fit_is_told_from_the_pair_that_is_too_large():
    needs = {"a": 40.0, "b": 40.0, "c": 5.0}
    assert prediction.fitting.fits(("a", "c"), needs, 60.0)
    assert not prediction.fitting.fits(("a", "b"), needs, 60.0)
    assert not prediction.fitting.fits(("a",), needs, 30.0)
    assert prediction.fitting.fits(("a",), needs, 41.0)
