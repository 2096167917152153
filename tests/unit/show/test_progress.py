import io
import threading

import pytest
from rich.console import Console

from assay.show.progress import BarProgress, LineProgress, SilentProgress, open_progress


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=100, color_system=None, force_interactive=terminal), file


def test_quiet_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with open_progress(quiet=True) as progress:
        assert isinstance(progress, SilentProgress)
        progress.stage("building", 3)
        progress.advance(1)
        progress.say("done")
        with progress.paused():
            progress.say("more")
    assert capsys.readouterr() == ("", "")


def test_it_writes_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with open_progress() as progress:
        progress.say("building bf16")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "building bf16\n")


def test_lines_are_few_and_say_what_is_left() -> None:
    console, file = _console(terminal=False)
    clock = Clock()
    with open_progress(console=console, clock=clock) as progress:
        assert isinstance(progress, LineProgress)
        progress.stage("measuring", 10)
        for done in range(1, 11):
            clock.now_s = 2.0 * done
            progress.advance(done)
    lines = file.getvalue().splitlines()
    assert lines[0] == "measuring: 0 of 10"
    assert lines[1] == "measuring: 3 of 10, about 14 s left"
    assert lines[-1] == "measuring: 10 of 10, 20 s in all"
    assert len(lines) == 5


def test_a_budget_bounds_what_is_left() -> None:
    console, file = _console(terminal=False)
    clock = Clock()
    with open_progress(console=console, clock=clock) as progress:
        progress.stage("measuring", 40, 60.0)
        for now_s, done in ((20.0, 1), (50.0, 20)):
            clock.now_s = now_s
            progress.advance(done)
    assert file.getvalue().splitlines()[1:] == [
        "measuring: 1 of 40, at most 40 s left",
        "measuring: 20 of 40, at most 10 s left",
    ]


def test_steps_finished_before_do_not_count_for_the_pace() -> None:
    console, file = _console(terminal=False)
    clock = Clock()
    with open_progress(console=console, clock=clock) as progress:
        progress.stage("measuring", 10)
        progress.advance(8)
        clock.now_s = 6.0
        progress.advance(9)
    assert file.getvalue().splitlines()[-1] == "measuring: 9 of 10, about 6 s left"


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_written_while_paused(terminal: bool) -> None:
    console, file = _console(terminal=terminal)
    clock = Clock()
    with open_progress(console=console, clock=clock) as progress:
        progress.stage("measuring", 4)
        before = file.getvalue()
        with progress.paused():
            clock.now_s = 100.0
            progress.advance(2)
            progress.say("a worker ended")
            assert file.getvalue() == before
        assert "a worker ended" in file.getvalue()
        if terminal:
            assert "2 of 4" in file.getvalue()


def test_a_bar_has_no_thread_of_its_own() -> None:
    console, file = _console(terminal=True)
    before = threading.active_count()
    with open_progress(console=console) as progress:
        assert isinstance(progress, BarProgress)
        progress.stage("building", 3)
        progress.advance(1)
        assert threading.active_count() == before
        progress.stage("measuring", 40)
        progress.advance(2.5)
    assert "building" in file.getvalue()
    assert "2 of 40" in file.getvalue()


def test_an_interrupt_takes_the_bar_away() -> None:
    console, file = _console(terminal=True)

    def interrupted() -> None:
        with open_progress(console=console) as progress:
            progress.stage("measuring", 3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in file.getvalue()
