"""Record of a job in MLflow: each write waits on the disk, a thread of the driver writes it, so that nothing waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import pandas as pd

from refusion.config.settings import BUILTIN, Settings
from refusion.errors import StoreAwayError
from refusion.images.dataset import TaskPairs, digests
from refusion.metrics import METRICS
from refusion.metrics.listing import metric_tags
from refusion.runtime.ending import same_form
from refusion.runtime.lifetime.claims import abandoned
from refusion.runtime.lifetime.waiting import waiting_folder
from refusion.runtime.storage import Folder
from refusion.tracking import runs
from refusion.tracking.epochs import run_counts_from_zero
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.registry import registered_as
from refusion.tracking.store import http_retry_limits, open_store
from refusion.tracking.views.write import NOTE_TAG, pages
from refusion.tracking.waiting.background import BackgroundWriter
from refusion.tracking.waiting.opening import description
from refusion.tracking.waiting.spool import Spool, waiting_epochs
from refusion.tracking.waiting.writer import STORE_ERRORS, Writer
from refusion.training.epochs.sound import set_damaged_aside
from refusion.training.manifest import RunManifest
from refusion.training.record.recording import Recording, RecordingCallback

T = TypeVar("T")
JOB = "job"
# A number that each epoch has.
_EVERY_EPOCH = "rate"
# Seconds that a job which was interrupted takes to say so in MLflow.
_INTERRUPTED_SECONDS = 10.0


@dataclass
class JobRecord:
    """Record of a job, from before its trainings to after them.

    Attributes:
        manifest: of the run.
        say: takes lines for the user.
        online: the store answered when the job began.
        recordings: of the tasks, by name.
    """

    manifest: RunManifest
    say: Callable[[str], None]
    online: bool = field(default=False, init=False)
    recordings: dict[str, Recording] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._folder = waiting_folder(self.manifest.folder)
        self._spool = Spool(self._folder)
        self._writer = BackgroundWriter(Writer(self.manifest.tracking_uri, self._spool, self.say))
        self._experiment_id = ""

    def connect(self) -> None:
        """Opens the store, and closes runs whose job is gone; a store that is away is said, and no reason to stop.

        Raises:
            UserError: the store is there and cannot be used.
        """
        uri = self.manifest.tracking_uri
        try:
            self._experiment_id = open_store(uri, self.manifest.experiment)
        except StoreAwayError as error:
            self.say(
                f"warning: {error}; the training begins without it: what belongs there waits in {self._folder} and is "
                "written once it is back"
            )
            return
        self.online = True
        gone = partial(runs.close_abandoned, uri, self._experiment_id, lambda folder: bool(abandoned(Folder(folder))))
        for name in self._asked(gone, list[str]()):
            self.say(f"run {name}: its job is gone; it is closed as killed in MLflow")

    def begin(self, settings: Settings) -> None:
        """Begins the job's run, and the thread that writes; of a resumed job first what it had left."""
        left = self._spool.waiting
        if left:
            self.say(f"{left} writes to MLflow wait since the run's last part; they go first")
        recorder = self.recorder(JOB)
        recorder.views(self.manifest.experiment, metric_tags(METRICS))
        tags = {"kind": "train", "convention": "authors", runs.STORAGE_TAG: self.manifest.folder.uri}
        recorder.begin(self._description(self.manifest.name, settings, tags))
        self._writer.start()

    def recorder(self, run: str, *, check: bool = False) -> TaskRecorder:
        """Returns the writer to the job's own run, or to a task's by its name."""
        return TaskRecorder(self.manifest.tracking_uri, run, self._folder, once=True, check=check)

    def run_id(self, run: str) -> str:
        """Returns the id of a run; empty while it is not begun."""
        return self._spool.ids.get(run, "")

    @property
    def waiting(self) -> int:
        """Number of writes that MLflow does not have."""
        return self._spool.waiting

    def begin_task(self, pairs: TaskPairs, settings: Settings, progress_board: Any) -> Recording:
        """Begins a task's run, and makes up for what a killed job has not recorded; ``settings`` are the task's."""
        task, place = pairs.task, self.manifest.folder / pairs.task
        damaged = set_damaged_aside(place) if self.manifest.resumed else []
        recorder = self.recorder(task)
        tags = {"kind": "task", "convention": "authors"}
        recorder.begin(self._description(f"{task} · {self.manifest.name}", settings, tags, JOB, task))
        found = digests(pairs)
        recorder.dataset(task, found["train"], pairs.folder, len(pairs.train), "training")
        recorder.dataset(task, found["val"], pairs.folder, len(pairs.val), "validation")
        for listed, file in ((pairs.skipped, "skipped_pairs.txt"), (pairs.notes, "notes_on_pairs.txt")):
            if listed:
                recorder.text("".join(f"{one.file}: {one.what}\n" for one in listed), file)
        known = self._recorded(task, settings.validation.best_by) if self.manifest.resumed else (frozenset(), True)
        recording = Recording(
            task=task,
            tracking_uri=self.manifest.tracking_uri,
            run=task,
            waiting=str(self._folder),
            folder=place.uri,
            epochs=settings.schedule.epochs,
            best_by=settings.validation.best_by,
            val=pairs.val,
            data_kind="builtin" if settings.data == BUILTIN else "folder",
            recorded=known[0],
            check=not known[1],
        )
        if self.manifest.resumed:
            recording = RecordingCallback(recording, progress_board).made_up()
            for note in damaged:
                progress_board.note.remote(task, note)
            if self.run_id(task) and self._asked(
                partial(run_counts_from_zero, self.manifest.tracking_uri, self.run_id(task)), False
            ):
                note = "MLflow goes on to count this run's epochs from 0, as an earlier version began it"
                progress_board.note.remote(task, note)
        self.recordings[task] = recording
        return recording

    def _description(
        self, name: str, settings: Settings, tags: Mapping[str, str], parent: str = "", task: str = ""
    ) -> dict[str, Any]:
        return description(
            self.manifest.experiment,
            name,
            settings.model_dump(mode="json"),
            tags,
            time.time_ns() // 1_000_000,
            resumed=self.manifest.resumed,
            parent=parent,
            task=task,
        )

    def _recorded(self, task: str, best_by: str) -> tuple[frozenset[int], bool]:
        """Returns the epochs that MLflow has or will have, and whether that is for sure."""
        waiting = waiting_epochs(self._spool, task)
        if not self.online or not self._writer.settle(self.say):
            return frozenset(waiting), False
        uri, run_id = self.manifest.tracking_uri, self.run_id(task)
        found = [
            self._asked(partial(runs.recorded_epochs, uri, run_id, name), None) for name in (_EVERY_EPOCH, best_by)
        ]
        known = [epochs for epochs in found if epochs is not None]
        return frozenset(waiting.union(*known)), len(known) == len(found)

    def _asked(self, question: Callable[[], T], otherwise: T) -> T:
        """Returns the store's answer within bounded time, or ``otherwise``."""
        try:
            with http_retry_limits(retries=1, seconds=15):
                return question()
        except STORE_ERRORS:
            return otherwise

    def settled(self) -> bool:
        """Waits, for a bounded time, until MLflow has all; tells if it does."""
        return self._writer.settle(self.say)

    def registered(self, task: str) -> str:
        """Returns in words as which version a task's best epoch is registered; empty where it is not yet."""
        if self.waiting or not self.run_id(task):
            return ""
        return registered_as(self.manifest.tracking_uri, task, self.run_id(task))

    def results(self, summary: Mapping[str, Mapping[str, float]], rows: Sequence[Mapping[str, Any]]) -> None:
        """Records the results of all tasks, so that the runs table compares whole jobs, and the views that show them.

        Args:
            summary: by task, metrics by name.
            rows: of the table ``results.csv``.
        """
        job = self.recorder(JOB)
        job.summary({f"{task}/{name}": value for task, row in summary.items() for name, value in row.items()})
        job.text(pd.DataFrame(list(rows)).to_csv(index=False), "results.csv")
        job.views(self.manifest.experiment, {}, list(self.recordings))

    def describe(self, text: str) -> None:
        """Records the job's description, in Markdown."""
        self.recorder(JOB).tags({NOTE_TAG: text})

    def finish(self, status: runs.Status, cut_short: Sequence[str]) -> None:
        """Closes the job's run, and those of tasks that were cut short."""
        for run in (*cut_short, JOB):
            self.recorder(run).finish(status)

    def pages(self) -> str | None:
        """Returns how to look at the run in MLflow; None where that does not have it."""
        if not self.run_id(JOB):
            return None
        uri = self.manifest.tracking_uri
        experiment_id = self._experiment_id or self._asked(partial(open_store, uri, self.manifest.experiment), "")
        return pages(uri, experiment_id, ("tasks", "pictures"), self.run_id(JOB)) if experiment_id else None

    def close(self, *, interrupted: bool = False) -> None:
        """Waits, for a bounded time, until MLflow has all, says what it does not have, and ends the thread."""
        self._writer.settle(self.say, _INTERRUPTED_SECONDS if interrupted else None)
        # Where nobody listens any more, as after SIGHUP.
        with suppress(OSError):
            for line in self._ending():
                self.say(line)
        self._writer.stop()

    def _ending(self) -> list[str]:
        lines = []
        if self.waiting:
            reason = f" ({self._writer.trouble})" if self._writer.trouble else ""
            lines = [
                f"MLflow does not have {self.waiting} writes of this run yet{reason}: they wait in {self._folder}; "
                "once it is back, write them:",
                f"  {' '.join(write_command(self.manifest))}",
            ]
        if self._spool.left_out:
            lines.append(f"{len(self._spool.left_out)} writes to MLflow are left out: {self._folder / 'left_out.txt'}")
        return lines


def write_command(manifest: RunManifest) -> list[str]:
    """Returns the words that write to MLflow what waits of this run and others of its storage."""
    storage = manifest.resume_arguments()[2:]
    return [*same_form("jobs/runs.py", "runs"), "--write-waiting", *storage]
