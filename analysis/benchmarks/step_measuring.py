"""Tools of the training step's benchmark: times in turn, numbers that may be missing, targets."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from measuring import timed
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")

Say = Callable[[str], None]
"""Told what is measured next."""


class Size(NamedTuple):
    """Size of one meta-gradient; images are square, ``crop`` pixels a side."""

    inner_steps: int
    batch: int
    crop: int
    width: int
    device: str = "cpu"

    def __str__(self) -> str:
        return f"K = {self.inner_steps}, {self.without_steps()}"

    def without_steps(self) -> str:
        """All but K, in words."""
        return f"batch {self.batch}, {self.crop}×{self.crop}, width {self.width}"


def medians_in_turn(
    calls: Mapping[Key, Callable[[], Result]], repeats: int, device: str, say: Say
) -> tuple[dict[Key, float], dict[Key, Result]]:
    """Median seconds of each call, and what its first call returned; the first turn warms up and does not count."""
    seconds: dict[Key, list[float]] = {key: [] for key in calls}
    first: dict[Key, Result] = {}
    for turn in range(repeats + 1):
        for key, call in calls.items():
            say(f"turn {turn} of {repeats}: {key}")
            result, spent = timed(call, device)
            if turn:
                seconds[key].append(spent)
            else:
                first[key] = result
    return {key: statistics.median(of_one) for key, of_one in seconds.items()}, first


def ratio(value: float, of: float) -> float:
    """NaN where either is missing or there is nothing to compare with."""
    return value / of if of > 0 else math.nan


def shown(value: float, form: str) -> str:
    """The number, or a dash where it is missing."""
    return "–" if math.isnan(value) else format(value, form)


def outcome(measured: float, target: float, *, at_most: bool = False) -> str:
    """Says how a measured number stands against its target."""
    missing = measured - target if at_most else target - measured
    judged = "met" if missing <= 0 else "not measured" if math.isnan(missing) else f"missed by {missing:.2g}"
    return f"target {'at most' if at_most else 'at least'} {target:.3g}: {judged}"


def table_of(title: str, *columns: str) -> Table:
    """An empty table; the first column is left-aligned and has no title."""
    table = Table(title=f"\n{title}", title_justify="left", min_width=len(title))
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def stdout() -> Console:
    """Console as wide as the terminal; in a file wide enough for every table."""
    return Console(width=None if sys.stdout.isatty() else 140)


@contextmanager
def showing_progress() -> Iterator[Say]:
    """Shows what is measured now, on stderr where that is a terminal."""
    console = Console(stderr=True)
    # Drawn only between measurements: a thread that redraws would take time from them.
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, auto_refresh=False, transient=True, disable=not console.is_terminal
    ) as progress:
        line = progress.add_task("")
        yield lambda what: progress.update(line, description=what, refresh=True)
