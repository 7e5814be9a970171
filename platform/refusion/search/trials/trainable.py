"""A trial in a process of its own: one step is one epoch, and the process is used again for the next trial."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from refusion.errors import UserError
from refusion.images.dataset import make_available
from refusion.runtime.distributed import use_threads
from refusion.runtime.worker_environment import keep_freed_memory
from refusion.search.trials.training import Shelf, TrialPlan, TrialTraining
from refusion.training.reports import Progress, TrainingDivergedError

# Keys of a trial's configuration and of its results.
NUMBER, VALUES, START, EPOCH, PROBLEM = "number", "values", "start", "epoch", "problem"
# The board is told at most this often, in seconds.
_TELL_EVERY = 1.0


class Teller:
    """Tells the board, if there is one, how far a trial is."""

    def __init__(self, board: Any, number: int) -> None:
        self.board, self.number = board, number
        self._told = 0.0

    def __call__(self, task: str, progress: Progress) -> None:
        """A step of a task is done."""
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            where = f"{task} {progress.phase} {progress.step}/{progress.steps}"
            self.says(where, epoch=progress.epoch + 1, done=progress.done)

    def says(self, phase: str, **more: Any) -> None:
        """What the trial is doing."""
        if self.board is not None:
            self.board.update.remote(str(self.number), phase=phase, **more)


class Trial(tune.Trainable):
    """Trains ``config["values"]`` from the checkpoint ``config["start"]``, or from the beginning.

    What cannot be mended by trying again (lost numbers, a file gone) ends the trial with a result that says so,
    instead of an exception, on which Tune would try again.
    """

    def setup(self, config: dict[str, Any], plan: TrialPlan | None = None, board: Any = None) -> None:
        """Once per process; ``plan`` and ``board`` come by ``tune.with_parameters``."""
        assert plan is not None
        logging.getLogger("ray").setLevel(logging.WARNING)
        use_threads(plan.threads)
        keep_freed_memory()
        make_available(str(plan.base["data"]), Path(plan.data_folder))
        self.plan, self.board = plan, board
        self.shelf = Shelf(plan)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial in the same process; images and baselines stay."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.number = int(config[NUMBER])
        self.problem = ""
        gpu = bool(self.plan.base["gpu"])
        device = torch.device("cuda" if gpu else "cpu")
        try:
            self.training = TrialTraining(
                self.shelf, config[VALUES], device=device, watch=Teller(self.board, self.number)
            )
            if config.get(START):
                with tune.Checkpoint(config[START]).as_directory() as folder:
                    self.training.load(Path(folder))
        except UserError as error:
            self.problem = str(error)

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
        return {
            NUMBER: self.number,
            EPOCH: self.training.epoch,
            **numbers,
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
        """Go on from a checkpoint of this trial, or of the one whose place it takes in the population."""
        self.training.load(Path(checkpoint))


def rows_of(board: Any) -> dict[int, Any]:
    """What the trials last told the board, by number."""
    return {int(row.task): row for row in ray.get(board.snapshot.remote())}
