"""Display of a job: a live table on a terminal, plain lines in a log, and one table of results at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table

from refusion.config.settings import Settings
from refusion.images.dataset import TaskPairs, check_pairs
from refusion.metrics import METRICS
from refusion.runtime.console import clock
from refusion.runtime.progress_bar import progress_bars
from refusion.runtime.progress_board import Row

# A log gets a line at every change of state and epoch, and a sign of life this often (seconds).
_SIGN_OF_LIFE = 30.0
_SHOWN_SCORES = ("EN", "SSIM", "Qabf")
_LOSSES = {"inner": "L_f inner", "outer": "L_r outer", "fusion": "L_f", "reconstruction": "L_r"}


def lacking_line(lacking: Sequence[str], settings: Settings) -> str:
    """Returns the line on tasks that the data does not have."""
    return f"training {', '.join(settings.tasks)}: {settings.data} has no folder of {', '.join(lacking)}"


def check_and_tell(settings: Settings, console: Console) -> list[TaskPairs]:
    """``check_pairs`` with bars on a terminal and one line per task, wherever it runs.

    Raises:
        UserError: as ``check_pairs``.
    """
    with progress_bars(console) as show:
        found = check_pairs(
            settings.data,
            settings.tasks,
            skip_bad=settings.skip_bad_pairs,
            progress=lambda place, done, of: show(f"checking {place}", done, of),
        )
    for pairs in found:
        skipped = f", {len(pairs.skipped)} files skipped" if pairs.skipped else ""
        console.print(f"{pairs.task}: {len(pairs.train)} train and {len(pairs.val)} val pairs{skipped}")
    return found


def _losses(row: Row) -> str:
    parts = [
        f"{label} {row.numbers[f'loss/{name}']:.4f}" for name, label in _LOSSES.items() if f"loss/{name}" in row.numbers
    ]
    return ", ".join(parts)


def _scores(row: Row) -> str:
    return "  ".join(f"{name} {row.scores[name]:.3f}" for name in _SHOWN_SCORES if name in row.scores)


def _number(row: Row, name: str, form: str) -> str:
    return format(row.numbers[name], form) if name in row.numbers else ""


def live_table(rows: Sequence[Row]) -> Table:
    """Table with, per task, its state, epoch, phase, losses, rate, K, images per second, time left, last validation."""
    table = Table(expand=False)
    for title in ("task", "epoch", "phase", "losses", "rate", "K", "images/s", "left", "validation"):
        table.add_column(title, justify="left", overflow="fold")
    for row in rows:
        phase = f"{row.phase} {row.step}/{row.steps}" if row.state == "training" else row.state
        table.add_row(
            row.task,
            f"{row.epoch}/{row.epochs}",
            phase,
            row.message or _losses(row).replace(", ", "\n"),
            _number(row, "rate", ".1e"),
            _number(row, "inner_steps", ".0f"),
            _number(row, "images_per_second", ".1f"),
            clock(row.seconds_left),
            _scores(row).replace("  ", "\n"),
        )
    table.caption = "\n".join(_notes(rows)) or None
    return table


def _notes(rows: Sequence[Row]) -> list[str]:
    return [f"{row.task}: {note}" for row in rows for note in row.notes]


def plain_line(row: Row) -> str:
    """Formats a task's row as one line for a log."""
    parts = [f"{row.task}: {row.state}"]
    if row.state == "training":
        parts = [f"{row.task}: epoch {row.epoch}/{row.epochs}", f"{row.phase} {row.step}/{row.steps}"]
        rate, steps = _number(row, "rate", ".1e"), _number(row, "inner_steps", ".0f")
        speed = _number(row, "images_per_second", ".1f")
        parts += [text for text in (_losses(row), rate and f"rate {rate}", steps and f"K {steps}") if text]
        parts += [f"{speed} images/s"] if speed else []
        parts += [f"{clock(row.seconds_left)} left"] if row.seconds_left is not None else []
    if row.scores:
        parts.append(_scores(row))
    if row.message:
        parts.append(row.message)
    return " | ".join(parts)


@dataclass
class PlainLines:
    """Prints a task's line when its state, epoch or scores change, and now and then otherwise."""

    say: Callable[[str], None]
    now: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[object, ...]] = field(default_factory=dict)
    _said: dict[str, float] = field(default_factory=dict)
    _notes: set[str] = field(default_factory=set)

    def show(self, rows: Sequence[Row]) -> None:
        for note in _notes(rows):
            if note not in self._notes:
                self._notes.add(note)
                self.say(note)
        for row in rows:
            mark = (row.state, row.epoch, tuple(row.scores.values()), row.message)
            silent = self.now() - self._said.get(row.task, -_SIGN_OF_LIFE)
            if mark != self._known.get(row.task) or (row.state == "training" and silent >= _SIGN_OF_LIFE):
                self._known[row.task] = mark
                self._said[row.task] = self.now()
                self.say(plain_line(row))


def watch(
    console: Console, rows: Callable[[], Sequence[Row]], going_on: Callable[[], bool], every: float = 0.5
) -> None:
    """Show ``rows()`` until ``going_on()`` is false, and once more then."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                last = not going_on()
                live.update(live_table(rows()), refresh=True)
                if last:
                    return
                time.sleep(every)
    lines = PlainLines(lambda text: console.print(text, soft_wrap=True, highlight=False, markup=False))
    while True:
        last = not going_on()
        lines.show(rows())
        if last:
            return
        time.sleep(every)


@dataclass(frozen=True)
class Result:
    """Row of one task in the final table; ``numbers`` as in a checkpoint's ``metrics.json``."""

    task: str
    error: str
    epochs: int
    numbers: Mapping[str, float]


def result_rows(results: Sequence[Result]) -> list[dict[str, str | float]]:
    """Builds two rows per task, ours and the average of the sources, with one column per metric."""
    rows: list[dict[str, str | float]] = []
    for result in results:
        ours: dict[str, str | float] = {"task": result.task, "method": "trained", "state": result.error or "done"}
        base: dict[str, str | float] = {"task": result.task, "method": "(a + b) / 2", "state": ""}
        for name in METRICS:
            ours[name] = result.numbers.get(name, float("nan"))
            base[name] = result.numbers.get(f"baseline/{name}", float("nan"))
        rows += [ours, base]
    return rows


def result_table(results: Sequence[Result]) -> Table:
    """Builds the final table. Its head names the convention: a score means nothing without it."""
    title = "Validation means (convention 'authors', higher is better)"
    table = Table(title=title, title_justify="left")
    for title in ("task", "method", *METRICS):
        table.add_column(title, justify="left" if title in ("task", "method") else "right")
    for row in result_rows(results):
        values = [row[name] for name in METRICS]
        cells = [f"{value:.4f}" if isinstance(value, float) and value == value else "–" for value in values]
        table.add_row(str(row["task"]), str(row["method"]), *cells, end_section=row["method"] != "trained")
    return table
