"""Progress of the stages: bars on a terminal, plain lines without one."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flows.logs import about

if TYPE_CHECKING:
    from xvcore.runs.run import Progress as Report  # which needs torch: commands that read tables start without

logger = logging.getLogger("flows.progress")


class Display(Protocol):
    """Shows how far a stage is."""

    def watch(self, title: str) -> "AbstractContextManager[Report]":
        """Return a context that gives a function to be called with items done and their total."""
        ...


class PlainLines:
    """At most one line every ``seconds`` for each stage: through logging, or to standard error with one at the end."""

    def __init__(self, seconds: float = 15.0, *, to_stderr: bool = False) -> None:
        self._seconds = seconds
        self._to_stderr = to_stderr

    @contextmanager
    def watch(self, title: str) -> "Iterator[Report]":
        """Write a line now and then; the log has one of its own when the stage ends."""
        started = last = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= self._seconds or (self._to_stderr and done >= total):
                last = now
                self._write(f"{title}: {done}/{total} after {now - started:.0f} s")

        yield report

    def _write(self, line: str) -> None:
        if self._to_stderr:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        else:
            logger.info(line)


class Bars:
    """One bar per stage, drawn with rich; finished bars of a stage give way to the next."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def watch(self, title: str) -> "Iterator[Report]":
        """Draw a bar while the stage runs."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as bars:
            bar = bars.add_task(title, total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)


_display: Display = PlainLines()


def show_on(display: Display) -> None:
    """Choose where this process shows progress; workers keep the plain lines of the log."""
    global _display  # noqa: PLW0603  one terminal per process
    _display = display


@contextmanager
def watch(title: str) -> "Iterator[Report]":
    """Give the function a stage reports its progress to; meanwhile the log says what is at work."""
    with about(title), _display.watch(title) as report:
        yield report


def for_this_terminal() -> Display:
    """Return bars where standard error is a terminal, else plain lines."""
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else PlainLines(to_stderr=True)
