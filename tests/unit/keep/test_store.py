import contextlib
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import event

from assay.core.errors import StoreError
from assay.core.records import Quality, Result, Round
from assay.keep import migrations
from assay.keep.store import Store, open_store

STUDY = "5a" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / ".assay")


def test_a_round_comes_back_equal(store: Store, rounds: tuple[Round, ...]) -> None:
    for measured in reversed(rounds):
        assert store.add_round(measured)
    assert open_store(store.directory).rounds(STUDY) == rounds
    assert store.rounds("another study") == ()


def test_a_round_without_runs_comes_back(store: Store, rounds: tuple[Round, ...]) -> None:
    empty = rounds[0].model_copy(update={"runs": ()})
    store.add_round(empty)
    assert store.rounds(STUDY) == (empty,)


def test_a_second_round_of_the_same_index_is_ignored_and_the_first_kept(
    store: Store, rounds: tuple[Round, ...]
) -> None:
    store.add_round(rounds[0])
    other = rounds[0].model_copy(update={"runs": rounds[0].runs[:1], "order": ("int8",)})
    assert not store.add_round(other)
    assert not store.add_round(rounds[0])
    assert store.rounds(STUDY) == rounds[:1]


def test_a_run_id_taken_twice_is_refused_and_nothing_of_the_round_is_stored(
    store: Store, rounds: tuple[Round, ...]
) -> None:
    store.add_round(rounds[0])
    thief = rounds[1].runs[1].model_copy(update={"id": rounds[0].runs[0].id})
    with pytest.raises(StoreError, match="has the id of a run"):
        store.add_round(rounds[1].model_copy(update={"runs": (rounds[1].runs[0], thief)}))
    assert store.rounds(STUDY) == rounds[:1]


def test_a_run_of_another_round_is_refused(store: Store, rounds: tuple[Round, ...]) -> None:
    with pytest.raises(StoreError, match="belongs to another"):
        store.add_round(rounds[0].model_copy(update={"runs": rounds[1].runs}))


def test_a_run_is_found_by_its_id(store: Store, rounds: tuple[Round, ...]) -> None:
    store.add_round(rounds[0])
    wanted = rounds[0].runs[3]
    assert store.run(wanted.id) == wanted
    assert store.run("nobody") is None


def test_quality_returns_the_newest_of_each_variant(store: Store, result: Result) -> None:
    for record in result.quality:
        assert store.add_quality(record)
    again = result.quality[1].model_copy(update={"tokens": 8192})
    store.add_quality(again)
    kept = {record.variant: record for record in store.quality(STUDY)}
    assert len(kept) == len(result.quality)
    assert kept[again.variant] == again


def test_results_come_back_in_order_and_the_latest_is_the_last(store: Store, result: Result) -> None:
    later = result.model_copy(update={"created_utc": "2027-01-01T00:00:00+00:00"})
    other = result.model_copy(update={"study": "77" * 32})
    for each in (result, later, other):
        assert store.add_result(each)
    assert not store.add_result(other)
    assert store.results() == (result, later, other)
    assert store.latest_result() == other
    assert store.latest_result(STUDY) == later
    assert store.latest_result("nothing") is None


def test_any_record_is_kept_by_kind_and_key(store: Store, result: Result) -> None:
    first, second = result.quality[:2]
    assert store.get("ceilings", "machine", Quality) is None
    store.put("ceilings", "machine", first)
    store.put("ceilings", "machine", second)
    store.put("ceilings", "other machine", first)
    assert store.get("ceilings", "machine", Quality) == second
    store.put("ceilings", "machine", first)
    assert store.get("ceilings", "machine", Quality) == first


def test_a_study_is_stored_once(store: Store) -> None:
    assert store.add_study(STUDY, "demo", "{}")
    assert not store.add_study(STUDY, "demo", "{}")
    assert [(study.digest, study.name, study.json_text) for study in store.studies()] == [(STUDY, "demo", "{}")]


def test_it_is_in_wal_mode_and_records_its_migrations(store: Store) -> None:
    with sqlite3.connect(store.database) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        names = [name for (name,) in connection.execute("SELECT name FROM migrations")]
    assert names == [migration.__name__ for migration in migrations.MIGRATIONS]


# ------------------------------------------------------------------------------------------------- bad stores


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is a shopping list, not a database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"no SQLite database.*store\.db"):
        open_store(tmp_path)
    assert path.read_bytes() == before


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"opening the store .*file"):
        open_store(tmp_path / "file")
    with pytest.raises(StoreError, match="Not a directory"):
        open_store(tmp_path / "file" / ".assay")


def test_a_newer_schema_is_refused(store: Store) -> None:
    with sqlite3.connect(store.database) as connection:
        connection.execute("INSERT INTO migrations VALUES ('m999_from_the_future', 'later')")
    with pytest.raises(StoreError, match=r"m999_from_the_future.*newer Assay"):
        open_store(store.directory)


def test_a_record_of_a_newer_format_is_refused(store: Store, rounds: tuple[Round, ...]) -> None:
    store.add_round(rounds[0])
    with sqlite3.connect(store.database) as connection:
        connection.execute("""UPDATE rounds SET json = replace(json, '"format_version":1', '"format_version":9')""")
    with pytest.raises(StoreError, match="format version 9"):
        store.rounds(STUDY)


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5, 6])
def test_a_corrupted_database_gives_a_store_error_or_the_truth(
    store: Store, rounds: tuple[Round, ...], page: int
) -> None:
    for measured in rounds:
        store.add_round(measured)
    with sqlite3.connect(store.database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(store.database.read_bytes())
    content[4096 * (page - 1) : 4096 * page] = b"\xa5" * 4096
    store.database.write_bytes(content)
    found: tuple[Round, ...] | None = None
    with contextlib.suppress(StoreError):
        found = open_store(store.directory).rounds(STUDY)
    assert found in (None, rounds)


def test_a_full_disk_is_told_and_keeps_what_was_stored(store: Store, rounds: tuple[Round, ...]) -> None:
    store.add_round(rounds[0])

    def no_more_pages(connection: sqlite3.Connection, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(store._engine, "connect", no_more_pages)
    with pytest.raises(StoreError, match=r"storing round 1 of study .*disk is full"):
        store.add_round(rounds[1])
    event.remove(store._engine, "connect", no_more_pages)
    assert store.rounds(STUDY) == rounds[:1]
    assert store.add_round(rounds[1])


def _open_as_nobody(directory: str, answers: "multiprocessing.Queue[str]") -> None:
    os.setuid(65534)
    try:
        open_store(directory)
    except StoreError as error:
        answers.put(str(error))
    else:
        answers.put("opened")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs to become another user")
def test_an_unwritable_directory_is_refused(tmp_path: Path) -> None:
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):
        if parent.owner() == "root" and str(parent) != "/tmp":
            parent.chmod(0o755)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=_open_as_nobody, args=(str(tmp_path / "x"), answers))
    process.start()
    said = answers.get(timeout=20)
    process.join()
    assert "no permission" in said
    assert "Make the directory writable" in said


# ------------------------------------------------------------------------------------------------- several processes


def _add_rounds(directory: str, study: str, indexes: range, bare: str) -> None:
    store = open_store(directory)
    measured = Round.from_json(bare)
    for index in indexes:
        run = measured.runs[0].model_copy(update={"study": study, "round": index, "id": f"{study}{index}"})
        store.add_round(measured.model_copy(update={"study": study, "index": index, "runs": (run,)}))


def test_many_processes_open_a_new_store_and_write_at_once(tmp_path: Path, rounds: tuple[Round, ...]) -> None:
    context = multiprocessing.get_context("fork" if sys.platform != "win32" else "spawn")
    bare = rounds[0].model_copy(update={"runs": rounds[0].runs[:1]}).to_json()
    processes = [
        context.Process(target=_add_rounds, args=(str(tmp_path), f"study {number // 2}", range(6), bare))
        for number in range(6)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    store = open_store(tmp_path)
    for number in range(3):
        assert [measured.index for measured in store.rounds(f"study {number}")] == list(range(6))


HOLD = """
import sys, time
from assay.keep.store import open_store
with open_store(sys.argv[1]).lock(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


def _holder(store: Store, study: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.directory), study], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_of_one_study_is_refused_by_pid_and_a_killed_one_frees_it(store: Store) -> None:
    with _holder(store, STUDY) as process:
        with pytest.raises(StoreError, match=f"process {process.pid} is running it"), store.lock(STUDY):
            pytest.fail("held twice")
        with store.lock("66" * 32):
            pass
        process.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        process.wait()
        with store.lock(STUDY):
            pass


def test_one_process_cannot_hold_a_study_twice(store: Store) -> None:
    with store.lock(STUDY):
        with pytest.raises(StoreError, match=f"process {os.getpid()}"), open_store(store.directory).lock(STUDY):
            pytest.fail("held twice")
        # The refused attempt must not have dropped the first lock, as closing a descriptor does.
        code = "import sys; from assay.keep.store import open_store\nwith open_store(sys.argv[1]).lock(sys.argv[2]): 0"
        refused = subprocess.run(
            [sys.executable, "-c", code, str(store.directory), STUDY], capture_output=True, text=True, check=False
        )
        assert f"process {os.getpid()}" in refused.stderr
    with store.lock(STUDY):
        pass


ORPHAN = """
import multiprocessing, os, sys, time
from assay.keep.store import open_store
def sleep(): time.sleep(60)
if __name__ == "__main__":
    with open_store(sys.argv[1]).lock(sys.argv[2]):
        child = multiprocessing.get_context("fork").Process(target=sleep)
        child.start()
        print(child.pid, flush=True)
        time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_an_orphaned_worker_does_not_keep_the_study_locked(store: Store) -> None:
    command = [sys.executable, "-c", ORPHAN, str(store.directory), STUDY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            os.kill(child, 0)
            with store.lock(STUDY):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


KILLED = """
import sys
from assay.core.records import Round
from assay.keep.store import open_store
store = open_store(sys.argv[1])
bare = Round.from_json(sys.stdin.read())
print("ready", flush=True)
for index in range(10_000):
    runs = tuple(run.model_copy(update={"round": index, "id": f"{run.id}-{index}"}) for run in bare.runs)
    store.add_round(bare.model_copy(update={"index": index, "runs": runs}))
    print(index, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_writer_loses_no_round_that_it_reported(tmp_path: Path, rounds: tuple[Round, ...]) -> None:
    for attempt in range(4):
        directory = tmp_path / str(attempt)
        command = [sys.executable, "-c", KILLED, str(directory)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(rounds[0].to_json())
            process.stdin.close()
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.05 + 0.037 * attempt)
            process.kill()
            reported = [int(line) for line in process.stdout.read().splitlines() if line.strip().isdigit()]
        kept = open_store(directory).rounds(STUDY)
        assert [measured.index for measured in kept][: len(reported)] == reported
        assert len(kept) <= len(reported) + 1
        assert all(len(measured.runs) == len(rounds[0].runs) for measured in kept)
