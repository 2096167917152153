"""The whole line on a tiny random model: build, quality, rounds, verdict, store, report."""

import json

import pytest
from click.testing import CliRunner

from assay import api
from assay.cli import main
from assay.core.records import Absent, Estimate, Result
from assay.keep.store import open_store
from assay.pipeline.plan import NULL_NAME


def test_every_cell_is_a_number_or_says_why_not(finished):
    result, _ = finished
    assert [row.name for row in result.rows] == ["fp32", "int8"]
    for row in result.rows:
        for metric in ("weight_bytes", "bits_per_weight", "load_s", "first_call_s", "peak_rss_bytes",
                       "prefill_tok_per_s", "decode_tok_per_s", "kl_nats", "top1_agreement"):  # fmt: skip
            value = row.metrics[metric]
            if row.name == "fp32" and metric in ("kl_nats", "top1_agreement"):
                assert value == Absent(reason="this is the reference")
                continue
            number = value.value if isinstance(value, Estimate) else value
            assert not isinstance(number, Absent), (row.name, metric, number)
            assert number > 0 or metric == "kl_nats", (row.name, metric, number)
        assert isinstance(row.metrics["perplexity"], Absent)
        assert "no tokenizer" in row.metrics["perplexity"].reason


def test_int8_differs_a_little_from_the_reference(finished):
    result, _ = finished
    [int8] = [row for row in result.rows if row.name == "int8"]
    assert 0 < _number(int8.metrics["kl_nats"]) < 0.1


def test_the_layers_of_int8_are_near_the_reference(finished):
    result, _ = finished
    fp32, int8 = sorted(result.quality, key=lambda quality: quality.variant)
    assert fp32.layers == Absent(reason="this is the reference")
    assert [layer.layer for layer in int8.layers] == ["model.layers.0", "model.layers.1"]
    assert all(20 < layer.psnr_db < 100 for layer in int8.layers)


def test_the_null_variant_takes_part_and_stays_out_of_the_rows(finished):
    result, store = finished
    rounds = api.rounds_of(store, result)
    assert {run.variant for run in rounds[0].runs} == {"fp32", "int8", NULL_NAME}
    assert {comparison.variant for comparison in result.null_estimates} == {NULL_NAME}


def test_every_variant_decodes_at_the_same_positions(finished):
    result, store = finished
    for measured in api.rounds_of(store, result):
        counts = {
            run.variant: len(run.samples_of("tpot_s").steady) for run in measured.runs if run.workload.kind == "decode"
        }
        assert len(set(counts.values())) == 1, counts


def test_a_repeated_study_measures_nothing_again(tiny_study, tmp_path):
    first = api.run(tiny_study, tmp_path / "store")
    ids = [run.id for measured in api.rounds_of(tmp_path / "store", first) for run in measured.runs]
    again = api.run(tiny_study, tmp_path / "store")
    assert [run.id for measured in api.rounds_of(tmp_path / "store", again) for run in measured.runs] == ids
    assert again.quality == first.quality


def test_more_rounds_are_added_to_those_that_are_kept(tiny_study, tmp_path):
    api.run(tiny_study, tmp_path / "store")
    tiny_study["measure"]["max_rounds"] = 3
    tiny_study["measure"]["min_rounds"] = 3
    result = api.run(tiny_study, tmp_path / "store")
    assert [measured.index for measured in api.rounds_of(tmp_path / "store", result)] == [0, 1, 2]


def test_an_interrupted_study_keeps_its_rounds_and_its_result(tiny_study, tmp_path, monkeypatch):
    class Impatient(api.Quiet):
        def stage(self, title, total, within_s=None):
            self.title = title

        def advance(self, done):
            if self.title == "measuring" and done == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.run(tiny_study, tmp_path / "store", Impatient())
    partial = api.stored_result(tmp_path / "store", "tiny")
    assert not partial.complete
    assert len(api.rounds_of(tmp_path / "store", partial)) == 1
    result = api.run(tiny_study, tmp_path / "store")
    assert len(api.rounds_of(tmp_path / "store", result)) == 2


def test_the_command_line_prints_what_its_json_holds(tiny_study, tiny_model, tmp_path):
    study = tmp_path / "study.json"
    arguments = ["--store", str(tmp_path / "store"), "bench", str(tiny_model), "--variants", "fp32,bf16", "-p", "16",
                 "-n", "4", "-d", "4", "-r", "2", "--threads", "1", "--quality-tokens", "128", "--quiet",
                 "--report", str(study), "--report", str(tmp_path / "report.md")]  # fmt: skip
    outcome = CliRunner().invoke(main, arguments, standalone_mode=False)
    assert outcome.exit_code == 0, outcome.output
    stored = Result.from_json(study.read_text())
    assert {row.name for row in stored.rows} == {"fp32", "bf16"}
    for row in stored.rows:
        assert row.name in outcome.output
    assert "fp32" in (tmp_path / "report.md").read_text()
    shown = CliRunner().invoke(main, ["--store", str(tmp_path / "store"), "report", "--format", "json"])
    assert json.loads(shown.output)["study"] == stored.study


def test_a_training_step_has_its_phases_and_int8_says_why_not(tiny_study, tmp_path):
    tiny_study["workloads"] = [
        {"kind": "prefill", "prompt_tokens": 16, "new_tokens": 0},
        {"kind": "train_step", "prompt_tokens": 16, "new_tokens": 0, "batch": 2},
    ]
    result = api.run(tiny_study, tmp_path / "store")
    fp32, int8 = result.rows
    phases = [_number(fp32.metrics[name]) for name in ("forward_s", "backward_s", "optimizer_step_s")]
    assert all(phase > 0 for phase in phases)
    assert sum(phases) == pytest.approx(_number(fp32.metrics["train_step_s"]), rel=0.2)  # medians do not add up exactly
    assert _number(fp32.metrics["optimizer_state_bytes"]) > 2 * _number(fp32.metrics["resident_weight_bytes"])
    assert "integers" in int8.metrics["train_tok_per_s"].reason
    assert _number(int8.metrics["prefill_tok_per_s"]) > 0


def test_two_runs_of_one_study_at_once_are_refused(tiny_study, tmp_path):
    from assay.core.errors import StoreError

    result = api.run(tiny_study, tmp_path / "store")
    with open_store(tmp_path / "store").lock(result.study), pytest.raises(StoreError):
        api.run(tiny_study, tmp_path / "store")


def _number(value):
    return value.value if isinstance(value, Estimate) else value
