"""Newest state of a training within its epoch: a checkpoint folder that is replaced every few minutes."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard, said_by_first
from refusion.runtime.storage import Folder
from refusion.training.checkpoints import METRICS_FILE, load_checkpoint, save_checkpoint, saved_best_by
from refusion.training.epochs.sound import on_this_machine

LATEST = "latest"


@dataclass
class LatestCheckpoint:
    """Checkpoint within an epoch, in a task's folder as ``latest``.

    Args:
        folder: of the task in the run.
        settings, task: of the training.
        shard: this worker's; the first writes, and says to all when.
        note: called with a line where nothing can be written.
        record: called by every worker with the state that was written and its numbers.
    """

    folder: Folder
    settings: Settings
    task: str
    shard: Shard
    note: Callable[[str], None]
    record: Callable[[TrainingState, Mapping[str, float]], None]
    _last: float = field(default_factory=time.monotonic)

    def is_due(self) -> bool:
        """Tells, to all workers alike, if the time for a checkpoint has come."""
        every = 60 * self.settings.checkpoints.every_minutes
        return bool(every) and said_by_first(time.monotonic() - self._last >= every)

    def is_due_after(self, steps: int) -> bool:
        """Tells if the setting asks for a checkpoint after so many steps."""
        every = self.settings.checkpoints.every_steps
        return bool(every) and steps % every == 0

    def write(self, state: TrainingState, numbers: Mapping[str, float]) -> None:
        """Replace it by the state's; a storage that is away for a moment does not end the training."""
        if self.shard.rank == 0:
            try:
                with tempfile.TemporaryDirectory() as place:
                    save_checkpoint(Path(place), state, self.settings, self.task, dict(numbers))
                    (self.folder / LATEST).replace_by(Folder(place))
            except OSError as error:
                self.note(f"no checkpoint within the epoch could be written ({error})")
        self.record(state, numbers)
        self._last = time.monotonic()

    def epoch_ended(self, is_last: bool) -> None:
        """Wait anew, since the epoch has a checkpoint of its own; remove the one within an epoch after the last."""
        if is_last and self.shard.rank == 0:
            (self.folder / LATEST).remove()
        self._last = time.monotonic()

    def newer_than(self, state: TrainingState) -> TrainingState | None:
        """Returns the state that it holds where that goes on from ``state``, within the same epoch; else None.

        One that is damaged, or was cut off while it was written, counts as none.
        """
        latest = self.folder / LATEST
        if METRICS_FILE not in latest.names():
            return None
        found = TrainingState(self.settings, self.task, next(state.fusion.parameters()).device)
        try:
            with on_this_machine(latest) as place:
                json.loads((place / METRICS_FILE).read_text(encoding="utf-8"))
                load_checkpoint(place, found)
                if saved_best_by(place) != self.settings.validation.best_by:
                    found.best_score = None
        except (UserError, OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            self.note(f"the checkpoint within an epoch is left out, the epoch begins anew: {error}")
            return None
        return found if found.epoch == state.epoch and found.steps > state.steps else None
