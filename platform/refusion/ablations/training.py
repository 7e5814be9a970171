"""Training of one cell in this process, from its checkpoint on if there is one; no Ray, no MLflow."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import torch

from refusion.ablations.cell import Cell, Cost, write_results
from refusion.ablations.random_direction import move_at_random
from refusion.images.dataset import make_available
from refusion.images.store import PairStore, cache_beside
from refusion.meta.state import TrainingState
from refusion.runtime.distributed import Shard, use_threads
from refusion.tracking.comparison.scores import TRAINED
from refusion.training.checkpoints import load_checkpoint, read_metrics, save_checkpoint
from refusion.training.loop import TaskTraining
from refusion.training.reports import EpochReport, Progress

# Wall time and work of each epoch's training as the checkpoint's numbers have them.
_SECONDS, _WORK = "ablation/seconds", "ablation/work"


class _Work:
    """Seconds that a training has kept the processors busy, or a GPU waited for, by the end of its last step.

    Args:
        on_gpu: the device is one.
    """

    def __init__(self, on_gpu: bool) -> None:
        self.now = time.perf_counter if on_gpu else time.process_time
        self.begun = self.ended = self.now()

    def watch(self, progress: Progress) -> None:
        """Remembers the time, but for steps of a validation."""
        if progress.phase != "validation":
            self.ended = self.now()

    def of_epoch(self) -> float:
        """Returns the work since the last call, without validation."""
        found = self.ended - self.begun
        self.begun = self.now()
        return found


def train_cell(cell: Cell, threads: int = 1) -> None:
    """Trains a cell to its end and writes its scores; blocks.

    After each epoch the checkpoint is replaced, so that a cell that was stopped goes on from there.

    Args:
        cell: what to train.
        threads: of torch.

    Raises:
        TrainingDivergedError: the parameters are no finite numbers any more.
        UserError: an image can no longer be read, or a checkpoint is damaged.
    """
    use_threads(threads)
    settings, task = cell.settings, cell.pairs.task
    device = torch.device("cuda" if settings.gpu else "cpu")
    make_available(settings.data, Path(cell.pairs.folder))
    state = TrainingState(settings, task, device)
    if cell.variant.random_direction:
        move_at_random(state, settings.seed)
    numbers = _resume(cell.folder, state)
    seconds, worked = ([numbers[key] for key in sorted(numbers) if key.startswith(kind)] for kind in (_SECONDS, _WORK))
    work = _Work(settings.gpu)
    cache = settings.images.cache_mb << 20
    training = TaskTraining(
        settings,
        task,
        PairStore(cell.pairs.train, cache),
        PairStore(cell.pairs.val, cache_beside(cell.pairs.train, cache)),
        Shard(),
        device,
        watch=work.watch,
        note=lambda text: print(f"{cell.name}: {text}", flush=True),
    )
    for report in training.epochs(state):
        seconds.append(report.numbers["time/training_seconds"])
        worked.append(work.of_epoch())
        _save(cell, state, report, seconds, worked)
        work.of_epoch()


def _resume(folder: Path, state: TrainingState) -> dict[str, float]:
    """Goes on from the checkpoint, if there is one; returns the numbers that it was saved with."""
    before = _aside(folder, "before")
    if not folder.exists() and before.exists():
        # It was stopped between the two renames of ``_save``.
        before.rename(folder)
    if not folder.exists():
        return {}
    load_checkpoint(folder, state)
    return read_metrics(folder)


def _save(cell: Cell, state: TrainingState, report: EpochReport, seconds: list[float], worked: list[float]) -> None:
    """Replaces the checkpoint, after the last epoch with the results in it.

    At each moment a whole one stands in its place or beside it.
    """
    folder = cell.folder
    new, before = _aside(folder, "new"), _aside(folder, "before")
    for leftover in (new, before):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    spent = {
        f"{kind}/{epoch:05d}": value
        for kind, values in ((_SECONDS, seconds), (_WORK, worked))
        for epoch, value in enumerate(values)
    }
    save_checkpoint(new, state, cell.settings, cell.pairs.task, report.numbers | spent)
    if state.epoch == cell.settings.schedule.epochs:
        later = worked[1:] or worked
        cost = Cost(sum(seconds), sum(later) / len(later), state.meta_steps, state.fusion_steps)
        write_results(new, report.scores[TRAINED], cost)
    if folder.exists():
        folder.rename(before)
    new.rename(folder)
    shutil.rmtree(before, ignore_errors=True)


def _aside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}-{kind}")
