"""Whatever is wrong, a user reads what was asked, what was found and what to do; no traceback, and nothing is lost."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from assay import api
from assay.cli import main
from assay.core.errors import StoreError
from assay.keep.store import open_store

STUDY = """
model = "{model}"
baseline = "a"
reference = "a"
[[variants]]
name = "a"
"""


def assay(*arguments, store):
    """Run the command line in this process; its output and exit status."""
    outcome = CliRunner().invoke(main, ["--store", str(store), *arguments])
    assert "Traceback" not in outcome.output
    return outcome


def refused(outcome, status, *words):
    assert outcome.exit_code == status, outcome.output
    for word in words:
        assert word in outcome.output, outcome.output


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = ", ["not TOML"]),
        ("", ["model", "Field required"]),
        ("colour = 3" + STUDY, ["colour: unknown key", "Allowed: adapter, baseline"]),
        (STUDY + "[measure]\nbudgt_s = 3", ["measure.budgt_s", "did you mean 'budget_s'"]),
        (STUDY + "[measure]\nbudget_s = -3", ["measure.budget_s", "greater than 0", "found -3"]),
        (STUDY + "[measure]\nbudget_s = nan", ["no number"]),
        (STUDY + "[gate]\nmax_kl_nats = 'little'", ["gate.max_kl_nats", "'little'"]),
        (STUDY + "[[variants]]\nname = 'a'", ["two variants are named 'a'"]),
        (STUDY.replace('baseline = "a"', 'baseline = "b"'), ["baseline = 'b' is no variant"]),
        (STUDY + "[[variants.transforms]]\nkind = 'caste'", ["Did you mean 'cast'?"]),
        (STUDY + "runtimes = ['torhc']", ["Did you mean 'torch'?"]),
        ("\ufeff\x00", ["not TOML"]),
    ],
)
def test_a_wrong_study_names_the_file_and_the_key(tmp_path, store, text, words):
    path = tmp_path / "study.toml"
    path.write_text(text.format(model="smollm2-135m") if "{model}" in text else text)
    outcome = assay("run", str(path), store=store)
    refused(outcome, 2, *words)
    assert not list(store.glob("artifacts/*"))


def test_a_study_that_is_missing_binary_or_a_directory(tmp_path, store):
    refused(assay("run", str(tmp_path / "none.toml"), store=store), 2, "no such file")
    refused(assay("run", str(tmp_path), store=store), 2, "cannot be read")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    refused(assay("run", str(tmp_path / "binary.toml"), store=store), 2, "not UTF-8")


def test_an_unknown_architecture_names_the_known_ones(tmp_path, store):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "rwkv9"}))
    refused(assay("bench", str(tmp_path), store=store), 2, "rwkv9", "gpt2", "llama")


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty"), (b"GGUF" + b"\xff" * 60, "GGUF"), (b"junk" * 9, "GGUF")]
)
def test_a_damaged_model_is_refused(tmp_path, store, content, words):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    refused(assay("bench", str(path), store=store), 2, words)


def test_wrong_options_are_refused_before_anything_is_built(tmp_path, tiny_model, store):
    model = str(tiny_model)
    refused(assay("bench", model, "--report", "x.pdf", store=store), 2, ".pdf", ".md")
    refused(assay("bench", model, "--variants", "fp32,foo", store=store), 2, "'foo'", "Known: cast")
    refused(assay("bench", model, "--budget", "soon", store=store), 2, "'soon' is no duration")
    refused(assay("bench", "smollm2-135", store=store), 2, "Did you mean 'smollm2-135m'?")
    refused(assay("build", model, "--output", str(tmp_path), store=store), 2, "exists already")
    refused(assay("report", store=tmp_path / "none"), 2, "no such store")
    refused(assay("report", store=store), 2, "the store has results of: none")


def test_a_store_that_cannot_be_written(tmp_path, tiny_model):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    refused(assay("bench", str(tiny_model), store=blocked / "store"), 4, "directory")


def test_a_full_disk_loses_no_finished_round(tiny_study, store, monkeypatch):
    done = api.run(tiny_study, store)
    kept = [run.id for measured in api.rounds_of(store, done) for run in measured.runs]
    tiny_study["measure"]["max_rounds"] = 3
    tiny_study["measure"]["min_rounds"] = 3

    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("assay.keep.store._insert_round", full)
    with pytest.raises(StoreError, match="full"):
        api.run(tiny_study, store)
    monkeypatch.undo()
    after = [run.id for measured in api.rounds_of(store, done) for run in measured.runs]
    assert after == kept


def test_a_runtime_that_is_not_installed_names_its_command(tiny_model, store, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest)
    )
    refused(assay("bench", str(tiny_model), store=store), 3, "torch", "pip install 'assay[torch]'")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_ctrl_c_shows_what_there_is_and_how_to_go_on(tiny_study, tmp_path, store):
    study = tmp_path / "study.json"
    tiny_study["measure"] |= {"max_rounds": 40, "min_rounds": 40}
    study.write_text(json.dumps(tiny_study))
    toml = tmp_path / "study.toml"
    toml.write_text(_toml(tiny_study))
    process = subprocess.Popen(
        [sys.executable, "-m", "assay", "--store", str(store), "run", str(toml)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not _rounds(store):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "same command goes on" in errors
    assert "Traceback" not in errors
    assert "int8" in output
    assert _rounds(store) >= 1
    assert not api.stored_result(store).complete


def _rounds(store):
    if not (store / "store.db").exists():
        return 0
    kept = open_store(store)
    try:
        return sum(len(kept.rounds(study.digest)) for study in kept.studies())
    finally:
        kept.close()


def _toml(study):
    lines = [f"{key} = {json.dumps(value)}" for key, value in study.items() if not isinstance(value, (dict, list))]
    for key in ("quality", "measure"):
        lines += [f"[{key}]", *(f"{name} = {json.dumps(value)}" for name, value in study[key].items())]
    for key in ("variants", "workloads"):
        for entry in study[key]:
            lines.append(f"[[{key}]]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in entry.items() if name != "transforms"]
            for transform in entry.get("transforms", ()):
                lines.append(f"[[{key}.transforms]]")
                lines += [f"{name} = {json.dumps(value)}" for name, value in transform.items()]
    return "\n".join(lines)
