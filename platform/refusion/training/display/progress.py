"""Display of trainings that go on: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from refusion.runtime.console import clock, wrapped
from refusion.runtime.progress_board import Row

# A log gets a line at every change of state and epoch, and a sign of life this often (seconds).
_SIGN_OF_LIFE = 30.0
_WIDTH = 120
# Said once where a training is shown; docs/method.md has the formulas.
LEGEND = (
    "meta: P learns the loss; fusion: F learns by it. L_f: the learned loss of F; it may rise as β, the weight of its "
    "gradient term, does. L_r: error of R in rebuilding both sources from the fused image. K: inner steps of F. "
    "All words: --help-terms"
)


def _losses(row: Row) -> list[str]:
    """Returns L_f and L_r of the phase at hand."""
    names = ("inner", "outer") if row.phase == "meta" else ("fusion", "reconstruction")
    numbers = {label: row.numbers.get(f"loss/{name}") for label, name in zip(("L_f", "L_r"), names, strict=True)}
    return [f"{label} {number:.4f}" for label, number in numbers.items() if number is not None]


def epoch_name(epoch: int) -> str:
    """Returns the name of an epoch in a line."""
    return f"epoch {epoch}" if epoch else "epoch 0 (untrained)"


def _scores(row: Row) -> str:
    """Returns the last validation's score with its epoch."""
    if row.best_by not in row.scores:
        return ""
    return f"{epoch_name(row.scored)}: {row.best_by} {row.scores[row.best_by]:.3f}"


def _best(row: Row) -> str:
    """Returns the best validation's score where it is not the last one's."""
    return f"best {row.best[1]:.3f} (epoch {row.best[0]})" if row.best and row.best[0] != row.scored else ""


def _number(row: Row, name: str, form: str, unit: str = "") -> str:
    return format(row.numbers[name], form) + unit if name in row.numbers else ""


def live_table(rows: Sequence[Row], width: int = _WIDTH) -> Group:
    """Table with a line per task, the words below it; where the terminal is narrow, what matters least is left out."""
    columns: list[tuple[int, str, list[str]]] = [
        (0, "task", [row.task for row in rows]),
        (0, "epoch", [f"{row.epoch}/{row.epochs}" for row in rows]),
        (0, "phase", [f"{row.phase} {row.step}/{row.steps}" if row.state == "training" else row.state for row in rows]),
        (3, "losses", ["  ".join(_losses(row)) for row in rows]),
        (5, "rate", [_number(row, "rate", ".1e") for row in rows]),
        (4, "images/s", [_number(row, "images_per_second", ".1f") for row in rows]),
        (0, "left", [clock(row.seconds_left) for row in rows]),
        (0, "validation", [_scores(row) for row in rows]),
        (1, "", [_best(row) for row in rows]),
    ]
    while any(rank for rank, _, _ in columns) and _table_width(columns) > width:
        columns.remove(max(columns, key=lambda column: column[0]))
    table = Table(expand=False, box=box.SIMPLE_HEAD, pad_edge=False)
    for _, title, _ in columns:
        table.add_column(title, justify="left", overflow="fold")
    for cells in zip(*(cells for _, _, cells in columns), strict=True):
        table.add_row(*cells)
    below = [LEGEND, *_notes(rows), *(f"{row.task}: {row.message}" for row in rows if row.message)]
    return Group(table, Text("\n".join(line for text in below for line in wrapped(text, width)), style="dim"))


def _table_width(columns: Sequence[tuple[int, str, Sequence[str]]]) -> int:
    return sum(max(map(len, (title, *cells))) + 3 for _, title, cells in columns)


def _notes(rows: Sequence[Row]) -> list[str]:
    return [f"{row.task}: {note}" for row in rows for note in row.notes]


def plain_line(row: Row, width: int = _WIDTH, *, moved: bool = True) -> str:
    """Formats a task's row as one line for a log, no wider than that: what matters least is left out first.

    Args:
        row: of the task.
        width: columns.
        moved: the training has done steps since its last line; where not, only its scores are new.
    """
    validation = [(0, _scores(row)), (1, _best(row))]
    left = (0, f"{clock(row.seconds_left)} left" if row.seconds_left is not None else "")
    if row.state != "training":
        parts = [(0, f"{row.task}: {row.state}"), *([(0, row.message)] if row.message else validation)]
    elif not moved:
        (rank, scores), best = validation
        parts = [(rank, f"{row.task}: {scores}"), best, left]
    else:
        steps = _number(row, "inner_steps", ".0f")
        parts = [
            (0, f"{row.task}: epoch {row.epoch}/{row.epochs}"),
            (0, f"{row.phase} {row.step}/{row.steps}"),
            (2, " ".join(_losses(row))),
            (4, f"β {row.numbers['beta']:.2f}" if "beta" in row.numbers else ""),
            (5, f"K {steps}" if steps else ""),
            (6, f"rate {_number(row, 'rate', '.1e')}" if "rate" in row.numbers else ""),
            (3, _number(row, "images_per_second", ".1f", " images/s")),
            left,
            *validation,
        ]
    parts = [(rank, text) for rank, text in parts if text]
    line = " | ".join(text for _, text in parts)
    while len(line) > width and any(rank for rank, _ in parts):
        parts.remove(max(parts, key=lambda part: part[0]))
        line = " | ".join(text for _, text in parts)
    return line if len(line) <= width else f"{line[: width - 1]}…"


@dataclass
class PlainLines:
    """Prints a task's line when its state, epoch or scores change, and now and then otherwise."""

    say: Callable[[str], None]
    now: Callable[[], float] = time.monotonic
    width: int = _WIDTH
    _known: dict[str, tuple[object, ...]] = field(default_factory=dict)
    _said: dict[str, float] = field(default_factory=dict)
    _notes: set[str] = field(default_factory=set)
    _lines: dict[str, str] = field(default_factory=dict)
    _steps: dict[str, tuple[object, ...]] = field(default_factory=dict)
    _explained: bool = False

    def show(self, rows: Sequence[Row]) -> None:
        for note in _notes(rows):
            if note not in self._notes:
                self._notes.add(note)
                self._tell(note)
        for row in rows:
            if row.state == "training" and not self._explained:
                self._explained = True
                self._tell(LEGEND)
            # Once there are scores, each epoch ends with new ones.
            epoch = 0 if row.scores else row.epoch
            mark = (row.state, epoch, row.scored, tuple(row.scores.values()), row.message)
            silent = self.now() - self._said.get(row.task, -_SIGN_OF_LIFE)
            if mark != self._known.get(row.task) or (row.state == "training" and silent >= _SIGN_OF_LIFE):
                self._known[row.task] = mark
                self._said[row.task] = self.now()
                steps = (row.state, row.epoch, row.phase, row.step)
                line = plain_line(row, self.width, moved=not row.scores or steps != self._steps.get(row.task))
                self._steps[row.task] = steps
                if line != self._lines.get(row.task):
                    self._lines[row.task] = line
                    self.say(line)

    def _tell(self, text: str) -> None:
        for line in wrapped(text, self.width):
            self.say(line)


def watch(
    console: Console, rows: Callable[[], Sequence[Row]], going_on: Callable[[], bool], every: float = 0.5
) -> None:
    """Show ``rows()`` until ``going_on()`` is false, and once more then."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                last = not going_on()
                live.update(live_table(rows(), console.width), refresh=True)
                if last:
                    return
                time.sleep(every)
    width = min(console.width, _WIDTH)
    lines = PlainLines(lambda text: console.print(text, highlight=False, markup=False), width=width)
    while True:
        last = not going_on()
        lines.show(rows())
        if last:
            return
        time.sleep(every)
