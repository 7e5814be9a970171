"""Run of one task: a Ray Train trainer with its recording, from the newest checkpoint on, if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray.exceptions
import ray.train
import ray.train.torch

from refusion.config.settings import Settings
from refusion.images.dataset import TaskPairs
from refusion.runtime.failures import reason_of
from refusion.runtime.progress_board import tell
from refusion.runtime.ray_internals import torch_trainer
from refusion.runtime.storage import Folder
from refusion.runtime.worker_environment import worker_environment
from refusion.training.checkpoints import METRICS_FILE
from refusion.training.epochs.latest import LATEST
from refusion.training.epochs.sound import newest_sound
from refusion.training.record.recording import BEST, Recording, RecordingCallback
from refusion.training.worker import Assignment, train_worker

FINAL = "final"
# Its processes load PyTorch, which takes some ten seconds; on a cluster that grows, a machine may have to come first.
WAITS = "Ray starts its worker processes"


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

    Whatever goes wrong in this task is in the outcome, so that the other tasks go on.
    """
    task = pairs.task
    tell(progress_board, task, state="starting", message=WAITS, epochs=settings.schedule.epochs)
    assignment = Assignment.of(settings, pairs, (run_folder / task).uri, threads, progress_board)
    trainer = torch_trainer(
        train_worker,
        train_loop_config={"assignment": assignment},
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if settings.gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.workers,
            use_gpu=settings.gpu,
            resources_per_worker={"CPU": threads} | ({"GPU": 1} if settings.gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=task,
            **run_folder.for_ray(),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=settings.checkpoints.keep),
            failure_config=ray.train.FailureConfig(max_failures=settings.retries),
            callbacks=[RecordingCallback(recording, progress_board)],
            # Ray's own news of every report would drown ours.
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
            worker_runtime_env={"env_vars": worker_environment(threads)},
        ),
    )
    error = ""
    try:
        trainer.fit()
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as failure:
        error = reason_of(failure)
    final = keep_final(run_folder / task)
    if not error and final is None:
        error = "no epoch was finished"
    tell(progress_board, task, state="failed" if error else "done", message=error)
    return Outcome(task, error, final.uri if final else None)


def keep_final(task_folder: Folder) -> Folder | None:
    """Make ``final`` a copy of the newest checkpoint that Ray Train has on record; None where there is none."""
    newest = newest_checkpoint(task_folder)
    if newest is None:
        return None
    final = task_folder / FINAL
    final.replace_by(newest)
    return final


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
