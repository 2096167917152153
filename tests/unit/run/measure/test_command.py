"""A command's times and its failure are its own, and none is left behind."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from assay.core.records import Absent
from assay.run.measure.command import CommandRunner

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no wait4")


@pytest.fixture
def runner() -> Iterator[CommandRunner]:
    with CommandRunner() as opened:
        yield opened


def test_times_of_a_command(runner: CommandRunner) -> None:
    done = runner.execute("sleep 0.05", 30)
    assert (done.status, done.words, done.timed_out) == (0, "", False)
    assert done.seconds >= 0.05
    assert isinstance(done.cpu_s, float)
    assert done.cpu_s < done.seconds


def test_a_failure_keeps_its_status_and_last_words(runner: CommandRunner) -> None:
    done = runner.execute("echo first >&2; echo the reason >&2; exit 7", 30)
    assert (done.status, done.words) == (7, "the reason")
    assert runner.execute("true", 30).words == "", "nothing is left of the words of an earlier command"
    assert runner.execute("no-such-command-of-assay", 30).status == 127
    assert runner.execute("kill -TERM $$", 30).status == -signal.SIGTERM


def test_output_and_input_are_cut_off(runner: CommandRunner, capfd: pytest.CaptureFixture[str]) -> None:
    assert runner.execute("cat; echo loud; yes | head -c 1000000", 30).status == 0
    assert capfd.readouterr().out == ""


def test_a_command_that_never_ends_is_ended_with_its_children(runner: CommandRunner) -> None:
    done = runner.execute("sleep 60 & sleep 60; wait", 0.2)
    assert done.timed_out
    assert done.status == -signal.SIGKILL


def test_ctrl_c_ends_the_command(runner: CommandRunner) -> None:
    interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        runner.execute("sleep 60", 120)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_memory_below_our_own_is_absent_and_above_is_told(runner: CommandRunner) -> None:
    small = runner.execute("true", 30).peak_bytes
    assert isinstance(small, Absent)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    touched = own + 50_000_000
    peak = runner.execute(f'{sys.executable} -S -c "x = bytearray({touched}); x[::4096] = x[::4096]"', 60).peak_bytes
    assert isinstance(peak, float)
    assert touched < peak < touched + 60_000_000
