"""Callback beside the Ray Train controller: after each epoch, writes to MLflow, keeps the best, reports its scores."""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray.train
from ray.train import UserCallback

from refusion.runtime.storage import Folder
from refusion.tracking.recorder import TaskRecorder
from refusion.training.checkpoints import EPOCH, METRICS_FILE, PICTURES, read_metrics
from refusion.training.reports import WITHIN, own_scores

logger = logging.getLogger(__name__)

# Parts of a worker's report that do not go into MLflow.
_FLAGS = ("epoch", "validated", "is_best")
BEST = "best"


@dataclass(frozen=True)
class Recording:
    """Place where one task's run is recorded."""

    task: str
    tracking_uri: str
    run_id: str
    folder: str
    epochs: int
    best_by: str
    dataset_digest: str
    data_kind: Literal["builtin", "folder"]


class RecordingCallback(UserCallback):
    """Ray Train calls this in the controller's process, on the driver's machine; workers never talk to MLflow.

    Args:
        recording: place of the record.
        progress_board: handle of the actor, which shows the last validation.
    """

    def __init__(self, recording: Recording, progress_board: Any) -> None:
        self.recording = recording
        self.progress_board = progress_board
        self._recorder: TaskRecorder | None = None

    @property
    def recorder(self) -> TaskRecorder:
        """Made in the controller's process, at the first use."""
        if self._recorder is None:
            self._recorder = TaskRecorder(self.recording.tracking_uri, self.recording.run_id)
        return self._recorder

    def after_report(
        self,
        run_context: Any,  # noqa: ARG002
        metrics: list[dict[str, Any]],
        checkpoint: ray.train.Checkpoint | None,
    ) -> None:
        """Record an epoch whose checkpoint stands in the run's folder, or the numbers within an epoch."""
        first = metrics[0]
        if WITHIN in first:
            self.recorder.within_epoch(int(first.pop(WITHIN)), first)
            return
        epoch = int(first["epoch"])
        numbers = {name: float(value) for name, value in first.items() if name not in _FLAGS}
        numbers |= _system_of_all(metrics)
        self.recorder.epoch(epoch, numbers)
        scores = own_scores(first)
        if scores:
            self.progress_board.update.remote(self.recording.task, scores=scores)
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                self._pictures(Path(folder), epoch)
                if first["is_best"]:
                    self._keep_best(Path(folder), epoch, scores)
        if epoch + 1 == self.recording.epochs:
            self.recorder.finish("FINISHED")

    def make_up(self, recorded: Collection[int]) -> None:
        """Record the kept epochs that are not among ``recorded``: a killed job had stored, not yet recorded them."""
        task_folder = Folder(self.recording.folder)
        for name in task_folder.names():
            epoch = int(name.removeprefix(EPOCH)) - 1 if name.startswith(EPOCH) else -1
            if epoch < 0 or epoch in recorded:
                continue
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place) / name
                Folder(str(folder)).replace_by(task_folder / name)
                numbers = read_metrics(folder)
                if not numbers:
                    continue  # not whole; Ray Train does not count it either and trains the epoch again
                self.recorder.epoch(epoch, numbers)
                self._pictures(folder, epoch)
                scores = own_scores(numbers)
                if scores and scores[self.recording.best_by] > self._best_score():
                    self._keep_best(folder, epoch, scores)

    def _best_score(self) -> float:
        file = Folder(self.recording.folder) / BEST / METRICS_FILE
        return float(json.loads(file.read_text())[self.recording.best_by]) if file.exists() else -math.inf

    def _pictures(self, folder: Path, epoch: int) -> None:
        pictures = folder / PICTURES
        found = {str(path.relative_to(pictures).with_suffix("")): path for path in pictures.rglob("*.png")}
        self.recorder.pictures(epoch, found)

    def _keep_best(self, folder: Path, epoch: int, scores: dict[str, float]) -> None:
        recording = self.recording
        (Folder(recording.folder) / BEST).replace_by(Folder(str(folder)))
        self.recorder.model(
            folder,
            recording.task,
            epoch,
            recording.best_by,
            scores[recording.best_by],
            recording.dataset_digest,
            "authors",
            recording.data_kind,
        )

    def after_exception(
        self,
        run_context: Any,  # noqa: ARG002
        worker_exceptions: dict[int, Exception],
    ) -> None:
        """Show that workers were lost; Ray Train restarts them from the newest checkpoint while retries are left."""
        for rank, error in worker_exceptions.items():
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            logger.warning("%s: worker %d stopped: %s", self.recording.task, rank, reason)
            self.progress_board.update.remote(self.recording.task, state="restarting", message=reason)


def _system_of_all(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """Measurements of each worker, named by rank where there are several."""
    if len(metrics) == 1:
        return {}
    return {
        name.replace("system/", f"system/worker_{rank}_", 1): float(value)
        for rank, own in enumerate(metrics)
        for name, value in own.items()
        if name.startswith("system/")
    }
