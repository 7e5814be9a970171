"""Training function of one Ray Train worker."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from refusion.config.settings import Settings
from refusion.images.dataset import TaskPairs, make_available
from refusion.images.pairs import Pair
from refusion.images.store import PairStore, cache_beside
from refusion.images.writing import write_image
from refusion.meta.state import TrainingState
from refusion.metrics.lookup import DEFAULT_CONVENTION
from refusion.runtime.distributed import Shard, use_threads
from refusion.runtime.storage import Folder
from refusion.tracking.comparison.scores import scores_text
from refusion.tracking.system import of_worker, system_metrics
from refusion.training.checkpoints import EPOCH, PICTURES, SCORES_FILE, save_checkpoint
from refusion.training.epochs.latest import LatestCheckpoint
from refusion.training.epochs.start import group_note, load_newest
from refusion.training.loop import TaskTraining
from refusion.training.reports import WITHIN, EpochReport, Progress

# Least seconds between two reports to the progress board; nobody reads faster.
_REPORT_EVERY = 0.5


@dataclass(frozen=True)
class Assignment:
    """Instructions for one worker; plain values only, since they travel to other machines.

    Attributes:
        folder: of the task's pairs.
        task_folder: of the task in the run.
    """

    settings: dict[str, Any]
    task: str
    folder: str
    task_folder: str
    threads: int
    train: list[dict[str, Any]]
    val: list[dict[str, Any]]
    progress_board: Any

    @staticmethod
    def of(settings: Settings, pairs: TaskPairs, task_folder: str, threads: int, progress_board: Any) -> Assignment:
        """Builds the instructions from checked settings and pairs."""
        train, val = ([asdict(pair) for pair in split] for split in (pairs.train, pairs.val))
        return Assignment(
            settings.model_dump(mode="json"),
            pairs.task,
            pairs.folder,
            task_folder,
            threads,
            train,
            val,
            progress_board,
        )


def train_worker(config: dict[str, Any]) -> None:
    """Train ``config["assignment"]`` from the newest checkpoint of this run, if any; report after each epoch.

    Whatever a worker raises ends the others too: Ray Train's controller, beside which `RecordingCallback` decides
    if a restart is worth it.
    """
    assignment: Assignment = config["assignment"]
    # Ray Train prints every report in full, through a logger that only this level reaches.
    logging.getLogger().setLevel(logging.WARNING)
    settings = Settings.model_validate(assignment.settings)
    use_threads(assignment.threads)
    context = ray.train.get_context()
    shard = Shard(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device() if settings.gpu else torch.device("cpu")
    make_available(settings.data, Path(assignment.folder))
    state = TrainingState(settings, assignment.task, device)
    load_newest(ray.train.get_checkpoint(), state, settings)
    reporter = _ProgressReporter(assignment, speaks=shard.rank == 0)
    latest = LatestCheckpoint(
        Folder(assignment.task_folder), settings, assignment.task, shard, reporter.note, _record_within
    )
    state = latest.newer_than(state) or state
    if note := group_note(state, settings, shard.world):
        reporter.note(note)
    train, cache = [Pair(**pair) for pair in assignment.train], settings.images.cache_mb << 20
    training = TaskTraining(
        settings,
        assignment.task,
        PairStore(train, cache),
        PairStore([Pair(**pair) for pair in assignment.val], cache_beside(train, cache)),
        shard,
        device,
        watch=reporter,
        starting=reporter.starting,
        note=reporter.note,
        latest=latest,
    )
    before = training.begin(state)
    if before is not None:
        ray.train.report(_metrics(before))
    for report in training.epochs(state):
        with tempfile.TemporaryDirectory() as folder:
            system = system_metrics()
            if shard.rank == 0:
                # With it, since a job that is killed now is recorded from there.
                measured = report.numbers | system | (of_worker(system, 0) if shard.world > 1 else {})
                _fill(Path(folder), state, settings, assignment.task, replace(report, numbers=measured))
            ray.train.report(
                _metrics(report) | system,
                ray.train.Checkpoint.from_directory(folder) if shard.rank == 0 else None,
                checkpoint_dir_name=f"{EPOCH}{report.epoch:05d}",
            )
        latest.epoch_ended(is_last=state.epoch == settings.schedule.epochs)


def _metrics(report: EpochReport) -> dict[str, Any]:
    return {**report.numbers, "epoch": report.epoch, "validated": report.validated, "is_best": report.is_best}


def _record_within(state: TrainingState, numbers: Mapping[str, float]) -> None:
    ray.train.report({**numbers, WITHIN: state.steps})


def _fill(folder: Path, state: TrainingState, settings: Settings, task: str, report: EpochReport) -> None:
    for name, picture in report.pictures.items():
        path = folder / PICTURES / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, picture)
    if report.validated:
        (folder / SCORES_FILE).write_text(scores_text(report.scores, DEFAULT_CONVENTION), encoding="utf-8")
    save_checkpoint(folder, state, settings, task, report.numbers)


class _ProgressReporter:
    """Reports progress to the progress board without waiting, and not too often; silent unless it ``speaks``."""

    def __init__(self, assignment: Assignment, speaks: bool) -> None:
        self.speaks = speaks
        self.progress_board = assignment.progress_board
        self.task = assignment.task
        # Each time, for a board that has been started anew.
        self.epochs = int(assignment.settings["schedule"]["epochs"])
        self.last = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if not self.speaks:
            return
        if now - self.last < _REPORT_EVERY and progress.step != progress.steps:
            return
        self.last = now
        changes: dict[str, Any] = {
            "state": "training",
            "message": "",
            "epoch": progress.epoch + 1,
            "epochs": self.epochs,
            "phase": progress.phase,
            "step": progress.step,
            "steps": progress.steps,
            "done": progress.done,
            "seconds_left": progress.seconds_left,
        }
        if progress.numbers:
            changes["numbers"] = progress.numbers
        self.progress_board.update.remote(self.task, **changes)

    def starting(self, text: str) -> None:
        if self.speaks:
            self.progress_board.update.remote(self.task, state="starting", message=text)

    def note(self, text: str) -> None:
        if self.speaks:
            self.progress_board.note.remote(self.task, text)
