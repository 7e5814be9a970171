"""The project's progress bar: items done, rate and time left on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class _Rate(ProgressColumn):
    """Items per second, or seconds per item where that is more than one."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("–")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


@contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[str, int, int | None], None]]:
    """Yields ``show(label, done, of)``, which draws a bar for each label; quiet where ``console`` is no terminal."""
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}"), *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
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
