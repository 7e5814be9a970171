"""Display of a sweep: a live table on a terminal, plain lines in a log, and the table of results at the end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from refusion.runtime.console import clock
from refusion.runtime.progress_board import Row
from refusion.search.objective.objective import Objective, average_ranks, standings
from refusion.search.trials.records import TrialRecord

# A log gets a line at every epoch and end of a trial, and a sign of life this often (seconds).
_SIGN_OF_LIFE = 60.0
_REFRESH = 0.5
# Metrics in a line.
_MOST_METRICS = 4
# Trials in the live table: all that run, and the best of the others.
_MOST_ROWS = 20


@dataclass(frozen=True)
class Standing:
    """Snapshot of a whole sweep."""

    records: Sequence[TrialRecord]
    running: frozenset[int]
    rows: Mapping[int, Row]
    epochs: int
    trials: int
    seconds: float

    @property
    def trained(self) -> int:
        """Number of finished epochs of all trials."""
        return sum(record.epoch for record in self.records)

    @property
    def ended(self) -> int:
        """Number of trials that will not go on."""
        return sum(1 for record in self.records if record.ended)

    def seconds_left(self, before: int) -> float | None:
        """An estimate: what is left of the running trials, and as much for each coming one as ended ones took.

        Args:
            before: epochs that were trained before this part of the sweep began.
        """
        fresh = self.trained - before
        if not self.ended or fresh <= 0:
            return None
        usual = sum(record.epoch for record in self.records if record.ended) / self.ended
        open_ones = [record for record in self.records if not record.ended]
        coming = max(self.trials - len(self.records), 0) * usual
        left = coming + sum(max(usual - record.epoch, 1.0) for record in open_ones)
        return left * self.seconds / fresh

    def line(self, before: int) -> str:
        """Trials, epochs, rate and time left."""
        rate = 60 * (self.trained - before) / max(self.seconds, 1e-9)
        left = self.seconds_left(before)
        parts = [f"{self.ended}/{self.trials} trials ended, {len(self.running)} running", f"{self.trained} epochs"]
        parts += [f"{rate:.1f} epochs/min", f"{clock(self.seconds)} gone"]
        parts += [f"about {clock(left)} left"] if left is not None else []
        return " | ".join(parts)


def shown_values(values: Mapping[str, Any]) -> str:
    """A trial's values in one line, each under its name without the section."""
    if not values:
        return "the base settings"
    return ", ".join(f"{_short(name)} {_text(value)}" for name, value in values.items() if not name.startswith("_"))


def _short(name: str) -> str:
    parts = [part for part in name.split(".") if part not in ("schedule", "objective", "images", "network")]
    return ".".join(parts)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _columns(objective: Objective) -> dict[str, list[str]]:
    """The objective's metrics and their keys: one each, or one per task, of which the mean is shown."""
    columns: dict[str, list[str]] = {}
    for goal in objective.goals:
        columns.setdefault(goal.key.rpartition("/")[2], []).append(goal.key)
    return columns


def _mean(numbers: Mapping[str, float], keys: Sequence[str]) -> float | None:
    return statistics.fmean(numbers[key] for key in keys) if all(key in numbers for key in keys) else None


def _scores(objective: Objective, record: TrialRecord) -> str:
    numbers = record.history.get(record.epoch, {})
    means = {name: _mean(numbers, keys) for name, keys in list(_columns(objective).items())[:_MOST_METRICS]}
    return "  ".join(f"{name} {mean:.3f}" for name, mean in means.items() if mean is not None)


def legend(objective: Objective) -> str:
    """Returns the line on what the live score is."""
    names = ", ".join(_columns(objective))
    return (
        f"score: share of the comparisons in {names} that a trial wins against the others, each two at the last epoch "
        "that both have measured; 1 is best"
    )


def live_table(standing: Standing, objective: Objective, before: int) -> Group:
    """Table of the running and the best trials, with the time left."""
    place = standings(objective, {record.number: record.history for record in standing.records if record.history})
    table = Table(expand=False)
    for title in ("trial", "epoch", "state", "score", "metrics", "values"):
        table.add_column(title, overflow="fold")
    ordered = sorted(
        standing.records,
        key=lambda record: (record.number not in standing.running, -place.get(record.number, -1.0), record.number),
    )
    for record in ordered[:_MOST_ROWS]:
        row = standing.rows.get(record.number)
        running = record.number in standing.running
        state = (row.phase if running and row is not None else "running" if running else record.ended) or "waiting"
        score = f"{place[record.number]:.2f}" if record.number in place else ""
        # As they are: a reason or a value may look like markup.
        cells = (Text(state), score, _scores(objective, record), Text(shown_values(record.values)))
        head = (str(record.number), f"{record.epoch}/{standing.epochs}")
        table.add_row(*head, *cells, style="bold" if running else None)
    return Group(table, Text(legend(objective), style="dim"), Text(standing.line(before)))


@dataclass
class View:
    """Shows a sweep while it runs; ``refresh`` may be called as often as one likes.

    Args:
        console: of the job.
        look: how the sweep stands.
        objective: which metrics are shown.
    """

    console: Console
    look: Callable[[], Standing]
    objective: Objective
    _live: Live | None = None
    _known: dict[int, tuple[int, str]] = field(default_factory=dict)
    _renewed: float = 0.0
    _said: float = 0.0
    _before: int = 0

    def __enter__(self) -> View:
        standing = self.look()
        self._before = standing.trained
        self._known = {record.number: (record.epoch, record.ended) for record in standing.records}
        self._said = time.monotonic()
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._show(self.look())
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def say(self, text: str) -> None:
        """One line, above the live table where there is one."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def refresh(self) -> None:
        """Renew the table, or print what is new."""
        now = time.monotonic()
        if now - self._renewed < _REFRESH:
            return
        self._renewed = now
        standing = self.look()
        self._show(standing)
        if self._live is None and now - self._said >= _SIGN_OF_LIFE:
            self._said = now
            self.say(standing.line(self._before))

    def _show(self, standing: Standing) -> None:
        if self._live is not None:
            self._live.update(live_table(standing, self.objective, self._before), refresh=True)
            return
        for record in standing.records:
            self._news(record, standing)

    def _news(self, record: TrialRecord, standing: Standing) -> None:
        epoch, ended = self._known.get(record.number, (-1, ""))
        if epoch < 0:
            self.say(f"trial {record.number}: {shown_values(record.values)}")
        if record.epoch > max(epoch, 0):
            parts = (f"epoch {record.epoch}/{standing.epochs}", _scores(self.objective, record))
            self.say(f"trial {record.number}: {' | '.join(part for part in parts if part)}")
        if record.ended and not ended:
            self.say(f"trial {record.number}: {record.ended} after {record.epoch} epochs")
        self._known[record.number] = (record.epoch, record.ended)


def result_table(records: Sequence[TrialRecord], objective: Objective, best: int, top: int = 10) -> Table:
    """The best trials and trial 0. Ranks are among the trials that reached the same epoch."""
    histories = {record.number: record.history for record in records if record.history}
    place = standings(objective, histories)
    ranks = {epoch: average_ranks(objective, histories, epoch) for epoch in {record.epoch for record in records}}
    columns = _columns(objective)
    tasks = max(map(len, columns.values()))
    means = f"; means of {tasks} tasks" if tasks > 1 else ""
    title = f"Trials (convention 'authors'; on the val pairs that the search saw{means})"
    table = Table(title=title, title_justify="left")
    for title in ("trial", "ended", "epochs", "average rank", *columns, "values"):
        table.add_column(title, justify="left" if title in ("ended", "values") else "right", overflow="fold")
    ordered = sorted(
        (record for record in records if record.history),
        # Without a place is who ended before its first validation.
        key=lambda record: (-record.epoch, -place.get(record.number, -1.0), record.number),
    )
    shown = ordered[:top] + [record for record in ordered[top:] if record.number == 0]
    for record in shown:
        rank = ranks[record.epoch].get(record.number)
        numbers = record.history[record.epoch]
        cells = ["–" if (mean := _mean(numbers, keys)) is None else f"{mean:.4f}" for keys in columns.values()]
        head = (str(record.number), record.ended.partition(":")[0] or "open", str(record.epoch))
        style = "bold" if record.number == best else None
        table.add_row(*head, f"{rank:.2f}" if rank else "–", *cells, Text(shown_values(record.values)), style=style)
    return table
