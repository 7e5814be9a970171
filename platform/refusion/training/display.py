"""Display of a job: a live table on a terminal, plain lines in a log, and one table of results at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from refusion.config.settings import Settings
from refusion.images.dataset import TaskPairs, check_pairs, reading_of
from refusion.images.pairs import note_lines
from refusion.metrics import CATALOGUE, METRICS
from refusion.runtime.console import clock
from refusion.runtime.progress_bar import progress_bars
from refusion.runtime.progress_board import Row
from refusion.training.reports import own_scores

# A log gets a line at every change of state and epoch, and a sign of life this often (seconds).
_SIGN_OF_LIFE = 30.0
_WIDTH = 120
# Said once where a training is shown; docs/method.md has the formulas.
LEGEND = (
    "meta: P learns the loss; fusion: F learns by it. L_f: the learned loss of F; it may rise as β, the weight of its",
    "gradient term, does. L_r: error of R in rebuilding both sources from the fused image. K: inner steps of F.",
)
_BEST, _LAST, _AVERAGE = "trained, best epoch", "trained, last epoch", "(a + b) / 2"
# A score below this share of the best is not the noise of a validation.
_NOISE = 0.99


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
            reading=reading_of(settings),
            progress=lambda place, done, of: show(f"checking {place}", done, of),
        )
    for pairs in found:
        skipped = f", {len(pairs.skipped)} files skipped" if pairs.skipped else ""
        for line in (f"{len(pairs.train)} train and {len(pairs.val)} val pairs{skipped}", *note_lines(pairs.notes)):
            console.print(f"{pairs.task}: {line}", markup=False, soft_wrap=True)
    return found


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


def _validation(row: Row) -> str:
    return ", ".join(text for text in (_scores(row), _best(row)) if text)


def _number(row: Row, name: str, form: str, unit: str = "") -> str:
    return format(row.numbers[name], form) + unit if name in row.numbers else ""


def live_table(rows: Sequence[Row], width: int = _WIDTH) -> Table:
    """Table with a line per task; where the terminal is narrow, what matters least is left out."""
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
    below = [*LEGEND, *_notes(rows), *(f"{row.task}: {row.message}" for row in rows if row.message)]
    table.caption = Text("\n".join(below), justify="left")
    return table


def _table_width(columns: Sequence[tuple[int, str, Sequence[str]]]) -> int:
    return sum(max(map(len, (title, *cells))) + 3 for _, title, cells in columns)


def _notes(rows: Sequence[Row]) -> list[str]:
    return [f"{row.task}: {note}" for row in rows for note in row.notes]


def plain_line(row: Row, width: int = _WIDTH) -> str:
    """Formats a task's row as one line for a log, no wider than that: what matters least is left out first."""
    if row.state != "training":
        parts = [(0, f"{row.task}: {row.state}"), (0, row.message or _validation(row))]
    else:
        steps = _number(row, "inner_steps", ".0f")
        parts = [
            (0, f"{row.task}: epoch {row.epoch}/{row.epochs}"),
            (0, f"{row.phase} {row.step}/{row.steps}"),
            (1, " ".join(_losses(row))),
            (3, f"β {row.numbers['beta']:.2f}" if "beta" in row.numbers else ""),
            (4, f"K {steps}" if steps else ""),
            (5, f"rate {_number(row, 'rate', '.1e')}" if "rate" in row.numbers else ""),
            (2, _number(row, "images_per_second", ".1f", " images/s")),
            (0, f"{clock(row.seconds_left)} left" if row.seconds_left is not None else ""),
            (0, _validation(row)),
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
    _explained: bool = False

    def show(self, rows: Sequence[Row]) -> None:
        for note in _notes(rows):
            if note not in self._notes:
                self._notes.add(note)
                self.say(note)
        for row in rows:
            if row.state == "training" and not self._explained:
                self._explained = True
                for line in LEGEND:
                    self.say(line)
            # Once there are scores, each epoch ends with new ones.
            epoch = 0 if row.scores else row.epoch
            mark = (row.state, epoch, row.scored, tuple(row.scores.values()), row.message)
            silent = self.now() - self._said.get(row.task, -_SIGN_OF_LIFE)
            if mark != self._known.get(row.task) or (row.state == "training" and silent >= _SIGN_OF_LIFE):
                self._known[row.task] = mark
                self._said[row.task] = self.now()
                line = plain_line(row, self.width)
                if line != self._lines.get(row.task):
                    self._lines[row.task] = line
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


@dataclass(frozen=True)
class Result:
    """End of one task's training.

    Attributes:
        error: why it failed; empty where it did not.
        epochs: that it was to have.
        best_by: the metric that chooses the best epoch.
        best, last: numbers of the best epoch and of the newest, as in a checkpoint's ``metrics.json``; empty where
            there is none.
    """

    task: str
    error: str
    epochs: int
    best_by: str
    best: Mapping[str, float]
    last: Mapping[str, float]


def summary(result: Result) -> dict[str, float]:
    """Returns a task's metrics in the job's run: the best epoch's scores and number, and under ``last/`` the last's."""
    found: dict[str, float] = {}
    for prefix, numbers in (("", result.best), ("last/", result.last)):
        scores = own_scores(numbers)
        if scores:
            found |= {f"{prefix}{name}": value for name, value in scores.items()}
            found[f"{prefix}epoch"] = numbers["epoch"]
    return found


def result_rows(results: Sequence[Result]) -> list[dict[str, str | float]]:
    """Builds three rows per task: the best epoch, the last, the average of the sources; one column per metric."""
    rows: list[dict[str, str | float]] = []
    for result in results:
        state = result.error or "done"
        for method, numbers, prefix in (
            (_BEST, result.best, ""),
            (_LAST, result.last, ""),
            (_AVERAGE, result.best, "baseline/"),
        ):
            own = method != _AVERAGE
            row: dict[str, str | float] = {"task": result.task, "method": method, "state": state if own else ""}
            row["epoch"] = int(numbers["epoch"]) if own and "epoch" in numbers else ""
            rows.append(row | {name: numbers.get(prefix + name, float("nan")) for name in METRICS})
    return rows


def result_table(results: Sequence[Result]) -> Table:
    """Builds the final table. Its head names the convention: a score means nothing without it."""
    better = [name for name in METRICS if not CATALOGUE[name].noise_sensitive]
    noisy = [name for name in METRICS if name not in better]
    table = Table(title="Validation means (convention 'authors')", title_justify="left")
    for title in ("task", "", *(f"{name} ↑" for name in better), *noisy):
        table.add_column(title, justify="left" if title in ("task", "") else "right")
    for row in result_rows(results):
        result = next(result for result in results if result.task == row["task"])
        one = result.best.get("epoch") == result.last.get("epoch")
        if row["method"] == _LAST and one:
            continue
        label = str(row["method"])
        if label != _AVERAGE:
            which = "best and last" if one else "best" if label == _BEST else "last"
            label = f"{which}: epoch {row['epoch']} of {result.epochs}" if row["epoch"] != "" else "no epoch"
        values = [row[name] for name in (*better, *noisy)]
        cells = [f"{value:.4f}" if isinstance(value, float) and value == value else "–" for value in values]
        table.add_row(result.task, label, *cells, end_section=label == _AVERAGE)
    table.caption = Text(
        f"↑: higher is better. Noise raises {', '.join(noisy)} too: they choose nothing.", justify="left"
    )
    return table


def ending(result: Result) -> str:
    """Says in lines how a task ended, which epoch is the best, and where training has made it worse."""
    lines = [f"{result.task}: FAILED: {result.error}"] if result.error else []
    name, best, last = result.best_by, result.best, result.last
    if name not in best:
        return "\n".join(lines or [f"{result.task}: done, but nothing was measured"])
    epoch, score = int(best["epoch"]), best[name]
    average = best.get(f"baseline/{name}", float("nan"))
    than = " is less than" if score < average else ", against"
    lines.append(
        f"{result.task}: the best is {epoch_name(epoch)} of {result.epochs}: "
        f"{name} {score:.4f}{than} the average's {average:.4f}"
    )
    if name in last and last["epoch"] != best["epoch"]:
        worse = "training has made it worse since" if last[name] < _NOISE * score else "the last is no better"
        lines.append(
            f"{result.task}: {worse}: {last[name]:.4f} at epoch {int(last['epoch'])}; "
            f"what is kept as best is {epoch_name(epoch)}"
        )
    return "\n".join(lines)
