"""The project's progress bar: items done, rate and time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

# Seconds between two lines in a log.
_SIGN_OF_LIFE = 30.0


class _Rate(ProgressColumn):
    """Items per second, or seconds per item where that is more than one."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("–")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


@dataclass
class _Lines:
    console: Console
    said: float = field(default_factory=lambda: time.monotonic())

    def show(self, label: str, done: int, of: int | None) -> None:
        now = time.monotonic()
        if done and now - self.said >= _SIGN_OF_LIFE:
            self.said = now
            self.console.print(f"{label}: {done}" + (f" of {of}" if of else ""), markup=False, highlight=False)


@contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[str, int, int | None], None]]:
    """Yields ``show(label, done, of)``, which draws a bar for each label.

    Where ``console`` is no terminal it prints a line every 30 seconds: what takes less time says nothing.
    """
    if not console.is_terminal:
        yield _Lines(console).show
        return
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def show(label: str, done: int, of: int | None) -> None:
            if label not in bars:
                bars[label] = progress.add_task(label, total=of)
            progress.update(bars[label], completed=done, total=of)

        yield show


@contextmanager
def progress_bar(label: str, console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """Yields ``show(done, of)`` for one bar, which is there from the beginning."""
    with progress_bars(console) as show:
        show(label, 0, None)
        yield partial(show, label)
