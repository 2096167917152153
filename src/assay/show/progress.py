"""What runs, what is left and until when, on standard error. It refuses to write while something is timed.

Nothing here runs by itself: no thread refreshes the bar, it is drawn when a stage is told to advance. Where standard
error is no terminal, plain lines are written instead, few enough for a log.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn
from rich.progress import ProgressColumn as RichColumn
from rich.text import Text

from assay.show import format as shown

PLAIN_LINE_EVERY_S = 5.0
"""A log gets a line this often at most, and one at the end of each stage."""


class StageProgress(Protocol):
    """What a long command tells whoever watches."""

    def stage(self, title: str, total: float, within_s: float | None = None) -> None:
        """A stage of `total` steps begins, of so many seconds at most; the one before it has ended."""

    def advance(self, done: float) -> None:
        """So many steps of the stage are done."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Nothing is written in the block: a timed region."""


@contextlib.contextmanager
def open_progress(
    *, quiet: bool = False, console: Console | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[StageProgress]:
    """Progress for one command: a bar on a terminal, lines elsewhere, nothing where `quiet`.

    Args:
        quiet: write nothing.
        console: where to write; standard error by default.
        clock: seconds of a clock that never steps back.
    """
    if quiet:
        yield SilentProgress()
        return
    console = console or Console(file=sys.stderr, stderr=True)
    progress: BarProgress | LineProgress
    progress = BarProgress(console, clock) if console.is_terminal else LineProgress(console, clock)
    try:
        yield progress
    finally:
        progress.close()


class SilentProgress:
    """Progress that tells nobody."""

    def stage(self, title: str, total: float, within_s: float | None = None) -> None:
        """Nothing."""

    def advance(self, done: float) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Nothing."""
        return contextlib.nullcontext()


class LineProgress:
    """Plain lines, for a log or a pipe."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._pace = _Pace(clock)
        self._clock = clock
        self._last_line_s = float("-inf")
        self._paused = False
        self._held: list[str] = []

    def stage(self, title: str, total: float, within_s: float | None = None) -> None:
        """As the protocol says."""
        self._pace.begin(title, total, within_s)
        self._last_line_s = self._clock()
        self._write(f"{title}: 0 of {shown.amount(total)}")

    def advance(self, done: float) -> None:
        """As the protocol says."""
        self._pace.advance(done)
        now_s = self._clock()
        if self._paused or (not self._pace.finished and now_s - self._last_line_s < PLAIN_LINE_EVERY_S):
            return
        self._last_line_s = now_s
        left = self._pace.left_words()
        self._write(f"{self._pace.title}: {self._pace.count_words()}{f', {left}' if left else ''}")

    def say(self, text: str) -> None:
        """As the protocol says."""
        self._write(text)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """As the protocol says; lines said meanwhile are written after it."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False
            for text in self._held:
                self._write(text)
            self._held.clear()

    def close(self) -> None:
        """Nothing is held back."""

    def _write(self, text: str) -> None:
        if self._paused:
            self._held.append(text)
            return
        self._console.print(Text(shown.visible(text)), soft_wrap=True)


class BarProgress:
    """A bar that is drawn only when it is told to."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._pace = _Pace(clock)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _PaceColumn(self._pace),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID | None = None
        self._paused = False
        self._held: list[str] = []
        self._bar.start()

    def stage(self, title: str, total: float, within_s: float | None = None) -> None:
        """As the protocol says."""
        self._pace.begin(title, total, within_s)
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(shown.one_line(title), total=total or None)
        self._draw()

    def advance(self, done: float) -> None:
        """As the protocol says."""
        self._pace.advance(done)
        if self._task is not None:
            self._bar.update(self._task, completed=done)
        self._draw()

    def say(self, text: str) -> None:
        """As the protocol says."""
        if self._paused:
            self._held.append(text)
        else:
            self._bar.console.print(Text(shown.visible(text)), soft_wrap=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """As the protocol says; what was told meanwhile is drawn after it."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False
            for text in self._held:
                self.say(text)
            self._held.clear()
            self._draw()

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.stop()

    def _draw(self) -> None:
        if not self._paused:
            self._bar.refresh()


class _Pace:
    """Counts the steps of a stage and says how long the rest takes at the pace so far."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.title = ""
        self._total = 0.0
        self._done = 0.0
        self._done_before = 0.0
        self._began_s = 0.0
        self._within_s: float | None = None

    @property
    def finished(self) -> bool:
        return self._done >= self._total

    def begin(self, title: str, total: float, within_s: float | None) -> None:
        self.title = title
        self._total = total
        self._done = self._done_before = 0.0
        self._began_s = self._clock()
        self._within_s = within_s

    def advance(self, done: float) -> None:
        # Steps that a resumed study had finished before say nothing about the pace.
        if self._done == 0 and self._clock() - self._began_s < 1.0:
            self._done_before = done
        self._done = done

    def count_words(self) -> str:
        return f"{self._done:.0f} of {shown.amount(self._total)}"

    def left_words(self) -> str:
        taken_s = self._clock() - self._began_s
        steps = self._done - self._done_before
        if self.finished:
            return f"{shown.duration(taken_s)} in all"
        if steps <= 0:
            return f"{shown.duration(taken_s)} so far" if taken_s >= 1 else ""
        left_s = taken_s / steps * (self._total - self._done)
        if self._within_s is not None and self._within_s - taken_s < left_s:
            return f"at most {shown.duration(max(self._within_s - taken_s, 0.0))} left"
        return f"about {shown.duration(left_s)} left"


class _PaceColumn(RichColumn):
    def __init__(self, pace: _Pace) -> None:
        super().__init__()
        self._pace = pace

    def render(self, task: Task) -> Text:
        left = self._pace.left_words()
        return Text(f"{self._pace.count_words()}{f', {left}' if left else ''}", "dim")
