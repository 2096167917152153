"""`kill -9` at random moments of a study: no finished round is lost, none is measured twice, the store always opens."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from assay import api
from assay.keep.store import open_store


def _finished_rounds(store):
    if not store.is_dir():
        return {}
    kept = open_store(store)
    try:
        return {
            measured.index: tuple(run.id for run in measured.runs)
            for study in kept.studies()
            for measured in kept.rounds(study.digest)
        }
    finally:
        kept.close()


def _survive(study, folder, kills, seed, longest_s):
    """Kill the study `kills` times, then let it finish; return its rounds. Asserts what must hold after every kill."""
    path = folder / "study.json"
    path.write_text(json.dumps(study))
    script = (
        "import json, pathlib, sys; from assay import api; "
        "api.run(json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(path), str(folder / "store")]
    moments = random.Random(seed)
    kept = {}
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            process.wait(timeout=moments.uniform(0.05, longest_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        found = _finished_rounds(folder / "store")
        assert kept.items() <= found.items(), "a finished round was lost or measured again"
        assert sorted(found) == list(range(len(found))), "a round is missing in the middle"
        kept = found
    subprocess.run(command, check=True, capture_output=True)
    final = _finished_rounds(folder / "store")
    assert kept.items() <= final.items()
    ids = [run for runs in final.values() for run in runs]
    assert len(ids) == len(set(ids))
    return final


def _orphans():
    listing = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if "assay.worker" in line and line.split()[0] == "1"]


@pytest.mark.slow
def test_three_kills(tiny_study, tmp_path):
    final = _survive(tiny_study, tmp_path, kills=3, seed=1, longest_s=9.0)
    assert len(final) == tiny_study["measure"]["max_rounds"]


@pytest.mark.slow
def test_a_hundred_kills(tiny_study, tmp_path):
    tiny_study["measure"] |= {"max_rounds": 40, "min_rounds": 40, "budget_s": 3600}
    final = _survive(tiny_study, tmp_path, kills=100, seed=2, longest_s=14.0)
    assert len(final) == 40
    with sqlite3.connect(tmp_path / "store" / "store.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent at once")
def test_workers_end_with_their_parent(tiny_study, tmp_path):
    _survive(tiny_study, tmp_path, kills=1, seed=3, longest_s=7.0)
    deadline = time.monotonic() + 10
    while _orphans() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _orphans()


@pytest.mark.slow
def test_a_store_written_by_a_killed_process_reports(tiny_study, tmp_path):
    _survive(tiny_study, tmp_path, kills=1, seed=4, longest_s=8.0)
    reported = api.stored_result(tmp_path / "store")
    assert len(api.rounds_of(tmp_path / "store", reported)) == tiny_study["measure"]["max_rounds"]
