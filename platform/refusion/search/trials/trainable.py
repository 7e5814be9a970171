"""A trial in a process of its own: one step is one epoch, and the process is used again for the next trial."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ray
import torch
from ray import tune

from refusion.errors import TrainingDivergedError, UserError
from refusion.images.dataset import make_available
from refusion.runtime.distributed import use_threads
from refusion.runtime.storage import Folder
from refusion.runtime.worker_environment import keep_freed_memory
from refusion.search.trials.sound import sound_before, where_from
from refusion.search.trials.training import TrialCache, TrialPlan, TrialTraining
from refusion.training.epochs.sound import on_this_machine, without_advice
from refusion.training.reports import Progress

# Keys of a trial's configuration and of its results.
NUMBER, VALUES, START, EPOCH, PROBLEM, NOTE = "number", "values", "start", "epoch", "problem", "note"
# Least seconds between two reports to the progress board.
_TELL_EVERY = 1.0


class ProgressReporter:
    """Reports a trial's progress to the progress board, if there is one."""

    def __init__(self, progress_board: Any, number: int) -> None:
        self.progress_board, self.number = progress_board, number
        self._told = 0.0

    def __call__(self, task: str, progress: Progress) -> None:
        """A step of a task is done."""
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            where = f"{task} {progress.phase} {progress.step}/{progress.steps}"
            self.says(where, epoch=progress.epoch + 1, done=progress.done)

    def says(self, phase: str, **more: Any) -> None:
        """Report what the trial is doing."""
        if self.progress_board is not None:
            self.progress_board.update.remote(str(self.number), phase=phase, **more)


class Training(Protocol):
    """A trial's training as `TrialTraining` is one, in this process or in another."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""

    @property
    def done(self) -> bool:
        """True once all epochs are trained."""

    def train_epoch(self) -> dict[str, float]:
        """Train for one epoch; its numbers."""

    def save(self, folder: Path) -> None:
        """Write a whole checkpoint."""

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint."""


class Trial(tune.Trainable):
    """Trains ``config["values"]`` from the checkpoint ``config["start"]``, or from the beginning.

    What cannot be mended by trying again (lost numbers, a file gone) ends the trial with a result that says so,
    instead of an exception, on which Tune would try again.
    """

    def setup(
        self, config: dict[str, Any], plan: TrialPlan | None = None, progress_board: Any = None, folder: str = ""
    ) -> None:
        """Once per process; what follows the configuration comes by ``tune.with_parameters``.

        Args:
            config: of the first trial.
            plan: of all trials.
            progress_board: shows what trials do.
            folder: in which Tune keeps the trials' folders, with their checkpoints.
        """
        assert plan is not None
        logging.getLogger("ray").setLevel(logging.WARNING)
        use_threads(plan.threads)
        keep_freed_memory()
        make_available(str(plan.base["data"]), Path(plan.data_folder))
        self.plan, self.progress_board, self.folder = plan, progress_board, folder
        self.cache = TrialCache(plan)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial in the same process; images and baselines stay."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.number = int(config[NUMBER])
        self.problem = self.note = ""
        try:
            self.training = self.make_training(config[VALUES])
            if config.get(START):
                with tune.Checkpoint(**Folder(config[START]).as_checkpoint()).as_directory() as folder:
                    self.training.load(Path(folder))
        except UserError as error:
            self.problem = str(error)

    def make_training(self, values: Mapping[str, Any]) -> Training:
        """The training of the trial's values, not begun yet.

        Raises:
            UserError: the values do not go together.
        """
        device = torch.device("cuda" if self.plan.base["gpu"] else "cpu")
        watch = ProgressReporter(self.progress_board, self.number)
        return TrialTraining(self.cache, values, device=device, watch=watch)

    def step(self) -> dict[str, Any]:
        """One epoch."""
        if self.problem:
            return self._ended("failed: " + self.problem)
        started = time.monotonic()
        try:
            numbers = self.training.train_epoch()
        except TrainingDivergedError as error:
            return self._ended(f"diverged: {error}")
        except UserError as error:
            return self._ended(f"failed: {error}")
        noted, self.note = {NOTE: self.note} if self.note else {}, ""
        return {
            NUMBER: self.number,
            EPOCH: self.training.epoch,
            **numbers,
            **noted,
            "seconds": time.monotonic() - started,
            "done": self.training.done,
        }

    def _ended(self, problem: str) -> dict[str, Any]:
        epoch = 0 if self.problem else self.training.epoch
        return {NUMBER: self.number, EPOCH: epoch, PROBLEM: problem, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Our own exact checkpoint; nothing is pickled."""
        if not self.problem:
            self.training.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from a checkpoint of this trial, or of the one from which PBT lets it go on."""
        self.training.load(Path(checkpoint))

    def restore(self, checkpoint_path: Any) -> None:
        """Go on from the checkpoint of Tune's choice, or from the newest sound one before it where it is damaged."""
        try:
            super().restore(checkpoint_path)
        except (UserError, OSError) as error:
            self._restore_before(Path(checkpoint_path.checkpoint.path), without_advice(str(error)))

    def _restore_before(self, damaged: Path, fault: str) -> None:
        self._begin(self.config)
        earlier = sound_before(Folder(self.folder) / damaged.parent.name / damaged.name, self.plan.pairs.keys())
        if earlier is not None and not self.problem:
            with on_this_machine(earlier) as folder:
                self.training.load(folder)
        self.note = f"{fault}; {where_from(0 if self.problem else self.training.epoch)}"


def rows_of(progress_board: Any) -> dict[int, Any]:
    """Last report of each trial to the progress board, by number."""
    return {int(row.task): row for row in ray.get(progress_board.snapshot.remote())}
