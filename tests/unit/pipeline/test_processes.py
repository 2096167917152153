"""A worker's death is told with its cause, a refusal leaves it alive, and none is left behind."""

import os
import signal
import time

import pytest

from assay.core.errors import CheckpointError
from assay.pipeline.processes import WorkerFailed, WorkerProcess


@pytest.fixture
def worker():
    with WorkerProcess("test") as process:
        yield process


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_refusal_keeps_its_class_and_words_and_the_worker(worker):
    for _ in range(2):
        with pytest.raises(CheckpointError, match="no such file or directory"):
            worker.ask("inspect", 60, model="no-such-model")


def test_unknown_request_is_a_crash_that_leaves_the_worker_alive(worker):
    with pytest.raises(WorkerFailed) as failed:
        worker.ask("dance", 60)
    assert failed.value.alive
    assert failed.value.outcome.kind == "crashed"
    assert "do_dance" in failed.value.outcome.message


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGILL, signal.SIGKILL])
def test_death_by_signal_names_the_signal(worker, number):
    os.kill(worker.pid, number)
    with pytest.raises(WorkerFailed) as failed:
        worker.ask("facts", 60)
    assert not failed.value.alive
    assert failed.value.outcome.kind == "crashed"
    assert number.name in failed.value.outcome.message


def test_silence_is_a_time_out_and_ends_the_worker(worker):
    os.kill(worker.pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(WorkerFailed) as failed:
        worker.ask("facts", 0.2)
    assert failed.value.outcome.kind == "timed_out"
    assert time.monotonic() - started >= 0.2
    assert _gone(worker.pid)


def test_close_ends_the_process_and_may_be_called_twice():
    process = WorkerProcess("test")
    process.close()
    process.close()
    assert _gone(process.pid)


def test_waiting_costs_no_cpu_time(worker):
    os.kill(worker.pid, signal.SIGSTOP)
    before = time.process_time()
    with pytest.raises(WorkerFailed):
        worker.ask("facts", 0.5)
    assert time.process_time() - before < 0.05, "the parent must block on the pipe, not poll"
