"""Actor with the progress of every task, so that the driver can show it while workers go on."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import ray


@dataclass
class Row:
    """Progress of one task: its state (waiting, starting, training, done, failed) and the last known numbers.

    Attributes:
        scored: epoch that ``scores`` are of; 0 is before the first step.
        best: epoch and score of the best validation so far.
        best_by: the metric of that score.
        message: its result, or the reason of its failure.
        notes: lines that its user should know besides.
    """

    task: str
    state: str = "waiting"
    epoch: int = 0
    epochs: int = 0
    phase: str = ""
    step: int = 0
    steps: int = 0
    done: float = 0.0
    seconds_left: float | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    scored: int = 0
    best: tuple[int, float] | None = None
    best_by: str = ""
    message: str = ""
    notes: list[str] = field(default_factory=list)


class ProgressBoard:
    """State of the actor; a plain class, so that it is tested without Ray."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._begun: dict[str, tuple[float, float]] = {}

    def update(self, task: str, **changes: Any) -> None:
        """Set fields of a task's row; ``done`` (0 to 1) renews the estimate of the time left unless that is given."""
        row = self.rows.setdefault(task, Row(task))
        for name, value in changes.items():
            setattr(row, name, value)
        if "done" in changes and changes.get("seconds_left") is None:
            row.seconds_left = self._seconds_left(task, row.done)

    def note(self, task: str, text: str) -> None:
        """Add a note to a task's row; a worker that is restarted says it again, which adds nothing."""
        row = self.rows.setdefault(task, Row(task))
        if text not in row.notes:
            row.notes.append(text)

    def _seconds_left(self, task: str, done: float) -> float | None:
        now = time.monotonic()
        since, first = self._begun.setdefault(task, (now, done))
        if done < first:
            # A restart from a checkpoint: measure anew from where it goes on.
            self._begun[task] = (now, done)
            return None
        if done <= first:
            return None
        return (now - since) / (done - first) * (1 - done)

    def snapshot(self) -> list[Row]:
        """Returns all rows, in the order in which the tasks appeared."""
        return list(self.rows.values())


def start_progress_board() -> Any:
    """Handle of a new actor on this node, which takes no CPU from the workers and lives as long as the job.

    One whose process is lost is started again, without its rows, which the next reports fill.
    """
    # Here, since the actor's process has no use for settings.
    from refusion.runtime.cluster import beside_driver

    return _actor_class().options(scheduling_strategy=beside_driver()).remote()


@cache
def _actor_class() -> Any:
    """Returns the class of the actor, made once: Ray keeps each one's signatures until it is shut down."""
    return ray.remote(num_cpus=0, max_concurrency=4, max_restarts=-1, max_task_retries=-1)(ProgressBoard)


def tell(progress_board: Any, task: str, **changes: Any) -> None:
    """Set fields of a task's row, and wait until it has them; a board, or a Ray, that is gone stops nothing."""
    with suppress(ray.exceptions.RayActorError, ray.exceptions.RaySystemError):
        ray.get(progress_board.update.remote(task, **changes))


class LastRows:
    """Reads the rows; those that were read last once the board is gone."""

    def __init__(self, progress_board: Any) -> None:
        self.progress_board = progress_board
        self.rows: list[Row] = []

    def __call__(self) -> list[Row]:
        with suppress(ray.exceptions.RayActorError):
            self.rows = ray.get(self.progress_board.snapshot.remote())
        return self.rows
