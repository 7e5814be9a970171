"""Callback beside the Ray Train controller: after each epoch, writes to MLflow, keeps the best, reports its scores."""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import ray.train
from ray.train import UserCallback

from refusion.checksums import check_checksums
from refusion.errors import UserError
from refusion.images.dataset import validated_digest
from refusion.images.pairs import Pair
from refusion.images.store import read_pair
from refusion.runtime.failures import lasting_failure, reason_of
from refusion.runtime.ray_internals import shorten_warnings
from refusion.runtime.storage import Folder
from refusion.tracking.comparison.files import means_file, scores_file, source_file
from refusion.tracking.comparison.scores import with_facts
from refusion.tracking.epochs import without_baselines
from refusion.tracking.models.version import Version
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.system import of_worker
from refusion.training.checkpoints import EPOCH, METRICS_FILE, PICTURES, SCORES_FILE, read_metrics
from refusion.training.display.results import Result, result_rows
from refusion.training.epochs.sound import fault_of
from refusion.training.reports import PAIRS, WITHIN, own_scores

logger = logging.getLogger(__name__)

# Parts of a worker's report that do not go into MLflow.
_FLAGS = ("epoch", "validated", "is_best")
BEST = "best"


@dataclass(frozen=True)
class Recording:
    """Place where one task's run is recorded.

    Attributes:
        run: key of the task's run, among the writes that wait.
        waiting: folder of those on this machine.
        val: the pairs that a validation measures all or some of.
        recorded: epochs that MLflow has already; one of them that must be trained again is not written twice.
        check: MLflow may have others too, since it could not be asked.
    """

    task: str
    tracking_uri: str
    run: str
    waiting: str
    folder: str
    epochs: int
    best_by: str
    val: Sequence[Pair]
    data_kind: Literal["builtin", "folder"]
    recorded: frozenset[int] = frozenset()
    check: bool = False

    def resumed(self, progress_board: Any) -> Recording:
        """Returns the record of a run that goes on: what MLflow has of it is not written twice, what it lacks now."""
        return RecordingCallback(replace(self, check=True), progress_board).made_up()


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
        self._sources_of: set[str] = set()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrives in the controller's process."""
        self.__dict__.update(state)
        shorten_warnings()

    @property
    def recorder(self) -> TaskRecorder:
        """Made in the controller's process, at the first use."""
        if self._recorder is None:
            recording = self.recording
            place = Path(recording.waiting)
            self._recorder = TaskRecorder(
                recording.tracking_uri, recording.run, place, once=True, check=recording.check
            )
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
        scores = own_scores(first)
        if epoch not in self.recording.recorded:
            self.recorder.epoch(epoch, _curves(epoch, numbers, scores, is_best=first["is_best"]))
        if scores:
            self._show(epoch, scores, is_best=first["is_best"])
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                self._rest(Path(folder), epoch, numbers, is_best=first["is_best"])
        if epoch == self.recording.epochs:
            self.recorder.finish("FINISHED")

    def _show(self, epoch: int, scores: dict[str, float], *, is_best: bool) -> None:
        best_by = self.recording.best_by
        changes: dict[str, Any] = {"scores": scores, "scored": epoch, "best_by": best_by}
        if is_best:
            changes["best"] = (epoch, scores[best_by])
        self.progress_board.update.remote(self.recording.task, **changes)

    def made_up(self) -> Recording:
        """Record the kept epochs that MLflow does not have: a killed job had stored, not yet recorded them.

        Of the newest it may have the numbers alone, since they go first: the rest of it is recorded again.

        Returns:
            The recording with all that it has then.
        """
        recorded = set(self.recording.recorded)
        task_folder = Folder(self.recording.folder)
        kept = {int(name.removeprefix(EPOCH)): name for name in task_folder.names() if name.startswith(EPOCH)}
        for epoch, name in sorted(kept.items()):
            if epoch in recorded and epoch != max(kept):
                continue
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place) / name
                Folder(str(folder)).replace_by(task_folder / name)
                if fault_of(Folder(str(folder))) is not None:
                    continue  # Ray Train does not count it either, and trains the epoch again.
                numbers = read_metrics(folder)
                numbers.pop("epoch", None)
                scores = own_scores(numbers)
                is_best = bool(scores) and self._is_best(epoch, numbers)
                if epoch not in recorded:
                    recorded.add(epoch)
                    self.recorder.epoch(epoch, _curves(epoch, numbers, scores, is_best=is_best))
                self._rest(folder, epoch, numbers, is_best=is_best)
        return replace(self.recording, recorded=frozenset(recorded))

    def _rest(self, folder: Path, epoch: int, numbers: Mapping[str, float], *, is_best: bool) -> None:
        """Record what an epoch's checkpoint holds besides its numbers."""
        self._pictures(folder, epoch)
        self._scores(folder, epoch, numbers, is_best=is_best)
        if is_best:
            self._keep_best(folder, epoch, numbers)
        if own_scores(numbers):
            self._means({**numbers, "epoch": epoch})

    def _is_best(self, epoch: int, numbers: Mapping[str, float]) -> bool:
        """Returns true of the kept best itself, and where none is kept that is of the same pairs and better."""
        best, metric = self._best(), self.recording.best_by
        if best.get("epoch") == epoch or numbers.get(PAIRS) != best.get(PAIRS):
            return True
        return numbers[metric] > best.get(metric, -math.inf)

    def _best(self) -> dict[str, float]:
        """Returns the numbers of the kept best epoch; empty where there is none."""
        file = Folder(self.recording.folder) / BEST / METRICS_FILE
        best: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
        return best

    def _means(self, last: Mapping[str, float]) -> None:
        """Record one table of means: the best epoch, the newest, the average of the sources."""
        recording = self.recording
        ended = Result(recording.task, "", recording.epochs, recording.best_by, self._best() or last, last)
        rows = [{name: row[name] for name in row if name not in ("task", "state")} for row in result_rows([ended])]
        self.recorder.text(pd.DataFrame(rows).to_csv(index=False), means_file(recording.task))

    def _pictures(self, folder: Path, epoch: int) -> None:
        pictures = folder / PICTURES
        found = {str(path.relative_to(pictures).with_suffix("")): path for path in pictures.rglob("*.png")}
        # An epoch that is trained again after a kill has the same ones.
        self.recorder.pictures(epoch, found, again=epoch in self.recording.recorded)
        self._sources([pair for pair in self.recording.val if f"fused/{pair.name}" in found])

    def _sources(self, pairs: Sequence[Pair]) -> None:
        """Record the sources of fused pictures, once, so that a report shows them from the store alone."""
        for pair in pairs:
            if pair.name in self._sources_of:
                continue
            self._sources_of.add(pair.name)
            try:
                sources = read_pair(pair)
            except (UserError, OSError) as error:
                # They may lie on the workers' machines alone.
                logger.warning("%s: the sources of %s are not recorded: %s", self.recording.task, pair.name, error)
                continue
            for side, source in zip("ab", sources, strict=True):
                self.recorder.image(np.rint(source).clip(0, 255).astype(np.uint8), source_file(pair.name, side))

    def _scores(self, folder: Path, epoch: int, numbers: Mapping[str, float], *, is_best: bool) -> None:
        """Record the scores per picture, of the newest validated epoch and of the best."""
        file = folder / SCORES_FILE
        # An earlier version kept none.
        if file.is_file():
            text = with_facts(file.read_text(encoding="utf-8"), epoch, self._validated(numbers)[1])
            for which in ("last", "best") if is_best else ("last",):
                self.recorder.text(text, scores_file(self.recording.task, which))

    def _validated(self, numbers: Mapping[str, float]) -> tuple[int, str]:
        """Returns the number of the pairs that were measured, and their digest."""
        val = self.recording.val
        # An older checkpoint does not say how many pairs it was measured on.
        pairs = int(numbers.get(PAIRS, len(val)))
        return pairs, validated_digest(val, pairs)

    def _keep_best(self, folder: Path, epoch: int, numbers: Mapping[str, float]) -> None:
        recording = self.recording
        pairs, digest = self._validated(numbers)
        version = Version(
            recording.task,
            recording.run,
            epoch,
            recording.best_by,
            own_scores(numbers),
            "authors",
            digest,
            pairs,
            recording.data_kind,
        )
        try:
            check_checksums(folder, whole=True)
        except UserError as error:
            # Read back from the storage it is not what was written: what was the best stays.
            logger.warning("%s: epoch %d is not kept as the best: %s", recording.task, epoch, error)
            return
        (Folder(recording.folder) / BEST).replace_by(Folder(str(folder)))
        self.recorder.model(folder, version, again=epoch in recording.recorded)

    def after_exception(
        self,
        run_context: Any,  # noqa: ARG002
        worker_exceptions: dict[int, Exception],
    ) -> None:
        """Show that workers were lost; Ray Train restarts them from the newest checkpoint while retries are left.

        Raises:
            ray.train.ControllerError: a restart cannot mend it, so that the task ends, on all workers.
        """
        lasting = lasting_failure(worker_exceptions)
        if lasting is not None:
            raise ray.train.ControllerError(lasting)
        for rank, error in worker_exceptions.items():
            reason = reason_of(error)
            logger.warning("%s: worker %d stopped: %s", self.recording.task, rank, reason)
            self.progress_board.update.remote(self.recording.task, state="restarting", message=reason)


def _curves(
    epoch: int, numbers: Mapping[str, float], scores: Mapping[str, float], *, is_best: bool
) -> dict[str, float]:
    """Returns an epoch's metrics for MLflow; the best epoch's stay there, so that the table of runs shows them."""
    best = {"epoch": float(epoch), **scores} if is_best else {}
    return without_baselines(numbers) | {f"best/{name}": value for name, value in best.items()}


def _system_of_all(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """Measurements of each worker, named by rank where there are several."""
    if len(metrics) == 1:
        return {}
    return {name: value for rank, own in enumerate(metrics) for name, value in of_worker(own, rank).items()}
