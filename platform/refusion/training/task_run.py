"""Run of one task: a Ray Train trainer with its recording, from the newest checkpoint on, if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray.exceptions
import ray.train
import ray.train.torch

from refusion.config.settings import Settings
from refusion.errors import DamagedCheckpointError, UserError
from refusion.images.dataset import TaskPairs
from refusion.runtime.failures import cause_of, reason_of
from refusion.runtime.progress_board import tell
from refusion.runtime.ray_internals import torch_trainer
from refusion.runtime.storage import Folder
from refusion.runtime.worker_environment import worker_environment
from refusion.training.checkpoints import METRICS_FILE, measured
from refusion.training.display.room import WAITS
from refusion.training.epochs.latest import LATEST
from refusion.training.epochs.sound import listed_checkpoints, newest_sound, set_damaged_aside
from refusion.training.record.recording import BEST, Recording, RecordingCallback
from refusion.training.worker import Assignment, train_worker

FINAL = "final"
# Seconds between two looks at whether a task may have more workers; to give it them costs its steps since a checkpoint.
LOOK_FOR_ROOM = 60.0


@dataclass(frozen=True)
class Outcome:
    """End of a task's run; ``error`` is one sentence, empty where it succeeded."""

    task: str
    error: str
    final: str | None

    @property
    def succeeded(self) -> bool:
        """True where all epochs were trained."""
        return not self.error


def run_task(
    settings: Settings, pairs: TaskPairs, threads: int, recording: Recording, run_folder: Folder, progress_board: Any
) -> Outcome:
    """Train one task to its end, or go on with it; blocks. ``run_folder`` is STORAGE/RUN_NAME.

    One that a resumed job has trained to its end already starts no workers, which would take long to find that out.
    Whatever goes wrong in this task is in the outcome, so that the other tasks go on.
    """
    task = pairs.task
    tell(progress_board, task, state="starting", message=WAITS, epochs=settings.schedule.epochs)
    error = ""
    if not is_trained(run_folder / task, settings.schedule.epochs):
        assignment = Assignment.of(settings, pairs, (run_folder / task).uri, threads, progress_board)
        error = _train(assignment, settings, run_folder, recording)
    final = keep_final(run_folder / task)
    if not error and final is None:
        error = "no epoch was finished"
    tell(progress_board, task, state="failed" if error else "done", message=error)
    return Outcome(task, error, final.uri if final else None)


def _train(assignment: Assignment, settings: Settings, run_folder: Folder, recording: Recording) -> str:
    """Train until the end, past checkpoints that turn out to be damaged; returns the reason of a failure, or ""."""
    task, progress_board = assignment.task, assignment.progress_board
    while True:
        try:
            _trainer(assignment, settings, run_folder, recording).fit()
        except (ray.train.TrainingFailedError, ray.exceptions.RayError) as failure:
            if not isinstance(cause_of(failure), DamagedCheckpointError):
                return reason_of(failure)
            try:
                told = set_damaged_aside(run_folder / task)
            except UserError as none_left:
                return str(none_left)
            if not told:
                return reason_of(failure)
            for note in told:
                progress_board.note.remote(task, note)
            recording = recording.resumed(progress_board)
        else:
            return ""


def _trainer(assignment: Assignment, settings: Settings, run_folder: Folder, recording: Recording) -> Any:
    """Returns a trainer of the task, from its newest checkpoint on."""
    threads, counts = assignment.threads, settings.worker_counts
    return torch_trainer(
        train_worker,
        counts=counts,
        train_loop_config={"assignment": assignment},
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if settings.gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=(counts[0], counts[-1]) if len(counts) > 1 else counts[0],
            elastic_resize_monitor_interval_s=LOOK_FOR_ROOM,
            use_gpu=settings.gpu,
            resources_per_worker={"CPU": threads} | ({"GPU": 1} if settings.gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=assignment.task,
            **run_folder.for_ray(),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=settings.checkpoints.keep),
            failure_config=ray.train.FailureConfig(max_failures=settings.retries),
            callbacks=[RecordingCallback(recording, assignment.progress_board)],
            # Ray's own news of every report would drown ours.
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
            worker_runtime_env={"env_vars": worker_environment(threads)},
        ),
    )


def keep_final(task_folder: Folder) -> Folder | None:
    """Make ``final`` a copy of the newest checkpoint that Ray Train has on record; None where there is none."""
    newest = newest_checkpoint(task_folder)
    if newest is None:
        return None
    final = task_folder / FINAL
    final.replace_by(newest)
    return final


def is_trained(task_folder: Folder, epochs: int) -> bool:
    """Tells whether the newest checkpoint is that of the last epoch, with nothing wrong with it."""
    listed = listed_checkpoints(task_folder)
    if not listed or measured(task_folder / listed[-1]).get("epoch", 0) < epochs:
        return False
    newest = newest_checkpoint(task_folder)
    return newest is not None and newest.uri == (task_folder / listed[-1]).uri


def newest_checkpoint(task_folder: Folder) -> Folder | None:
    """Newest checkpoint that nothing is wrong with, of those that Ray Train has on record; None where there is none."""
    return newest_sound(task_folder)[0]


def usable_checkpoint(task_folder: Folder) -> Folder | None:
    """Returns a task's best checkpoint, or the newest; None where there is none."""
    for name in (BEST, FINAL):
        if (task_folder / name / METRICS_FILE).exists():
            return task_folder / name
    latest = task_folder / LATEST
    return newest_checkpoint(task_folder) or (latest if (latest / METRICS_FILE).exists() else None)
