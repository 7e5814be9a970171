"""State of a running sweep on the driver: every trial's record, in its folder, in MLflow and for the display."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refusion.config.layers import check
from refusion.runtime.storage import Folder
from refusion.search.manifest import SweepManifest
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.options import PBT_KINDS
from refusion.search.space.space import Space
from refusion.search.trials.records import FINISHED, STOPPED, TrialRecord, chain, start_of
from refusion.tracking.epochs import BASELINE
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import recorded_epochs
from refusion.tracking.settings import flatten
from refusion.tracking.sweeps import recorded_endings, trial_tags, try_start_trial_run
from refusion.training.checkpoints import PICTURES

# Number of checkpoints kept of a trial outside PBT: the newest, and the one before it in case the newest is not whole.
_KEPT = 2
# A number that each epoch has.
_EVERY_EPOCH = "rate"


@dataclass
class SweepState:
    """Takes every event of the sweep, from the driver's one thread that runs Tune; the display reads beside it.

    Attributes:
        manifest: of the sweep.
        parent: id of its run in MLflow.
        experiment_id: MLflow's.
        records: of every trial that was begun, by number.
        running: numbers of the trials that train at this moment.
        overheads: seconds that a trial took beyond its training, when it last stopped.
        fresh: when each trial was suggested that waited for a process of its own to start.
    """

    manifest: SweepManifest
    scoreboard: Scoreboard
    parent: str
    experiment_id: str
    records: dict[int, TrialRecord] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    overheads: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.space: Space = self.manifest.space
        self.recorders: dict[int, TaskRecorder] = {}
        self._owed: dict[int, set[int]] = {}
        # Epochs of each trial that MLflow has: one that is trained again after a loss is not written twice.
        self._written: dict[int, set[int]] = {}
        self.fresh: dict[int, float] = {}
        self._begun: dict[int, tuple[float, float]] = {}
        self._lock = threading.Lock()

    @property
    def epochs(self) -> int:
        """Epochs of a trial that is not stopped."""
        return self.manifest.base.schedule.epochs

    def snapshot(self) -> tuple[list[TrialRecord], set[int]]:
        """The records and the numbers of the running trials, for the display."""
        with self._lock:
            return list(self.records.values()), set(self.running)

    def begin(self, number: int, values: Mapping[str, Any]) -> TrialRecord:
        """Put a trial that is suggested, or one that goes on, on record."""
        with self._lock:
            record = self.records.get(number)
            if record is None:
                first = [{"epoch": 0, "from": None, "values": dict(values)}]
                record = TrialRecord(number, dict(values), lineage=first)
                self.records[number] = record
            if not self.overheads:
                # Until the first trial ends, who begins waits for a process of its own to start.
                self.fresh[number] = time.monotonic()
        self.manifest.journal.write(record)
        return record

    def started(self, number: int) -> None:
        """Take note that a process begins to work on a trial."""
        with self._lock:
            self.running.add(number)
        again = number in self.overheads
        since = time.monotonic() if again else self.fresh.get(number, time.monotonic())
        self._begun[number] = (since, self.records[number].trained)
        self.recorder(number)

    def recorder(self, number: int) -> TaskRecorder | None:
        """Writes to the trial's run in MLflow, which it begins or reopens at the first use; None while that fails."""
        if number not in self.recorders:
            record, manifest = self.records[number], self.manifest
            first = record.lineage[0]["values"] if record.lineage else record.values
            settings = check([self.space.settings(first)], manifest.base).model_dump(mode="json")
            tags = trial_tags(record.values, record.ended or None, chain(self.records, number))
            run_id = try_start_trial_run(
                manifest.tracking_uri,
                self.experiment_id,
                self.parent,
                manifest.name,
                manifest.task,
                number,
                settings,
                tags,
                self.varied(settings),
            )
            if run_id is None:
                return None
            self.recorders[number] = TaskRecorder(manifest.tracking_uri, run_id)
        return self.recorders[number]

    def varied(self, settings: Mapping[str, Any]) -> list[str]:
        """Returns the names of the settings that the space varies, as MLflow's params have them.

        A rate is several of them: its number comes first, and its others after those of all parameters.
        """
        flat = flatten(settings)
        parts = [
            sorted((one for one in flat if f"{one}.".startswith(f"{parameter.name}.")), key=_is_no_number)
            for parameter in self.space.parameters
        ]
        return [one for part in parts for one in part[:1]] + [one for part in parts for one in part[1:]]

    def to_end(self, number: int, epoch: int) -> None:
        """Take note, before that epoch's report, that it is a trial's last one; put on record with it."""
        with self._lock:
            self.records[number].last = epoch

    def reported(self, number: int, epoch: int, numbers: Mapping[str, float], seconds: float) -> None:
        """Take note of one more epoch that is trained and measured."""
        record = self.records[number]
        self.scoreboard.add(number, epoch, numbers)
        with self._lock:
            record.history[epoch] = dict(numbers)
            record.trained += seconds
            if record.last != epoch:
                # It went on all the same, tried again after a loss.
                record.last = 0
        self.manifest.journal.write(record)
        self._write(number, {epoch})

    def _write(self, number: int, epochs: Collection[int]) -> None:
        """Write epochs to MLflow, with those that could not be written before."""
        owed = {*epochs, *self._owed.pop(number, ())}
        recorder = self.recorder(number)
        if recorder is None:
            self._owed[number] = owed
            return
        history, written = self.records[number].history, self._written.setdefault(number, set())
        for epoch in sorted((owed & history.keys()) - written):
            recorder.epoch(epoch, self._told(number, epoch, history[epoch]))
            written.add(epoch)

    def _told(self, number: int, epoch: int, numbers: Mapping[str, float]) -> dict[str, float]:
        """Numbers of an epoch for MLflow; the score is that of the moment, among the trials that have come as far."""
        # They are those of every trial.
        own = {name: value for name, value in numbers.items() if BASELINE not in name}
        if not any(goal.key in numbers for goal in self.scoreboard.objective.goals):
            return own
        score = self.scoreboard.score(number, epoch)
        return {**own, "score": score if math.isfinite(score) else math.nan}

    def saved(self, number: int, epoch: int, checkpoint: str) -> None:
        """Take note of a checkpoint of that epoch in the folder ``checkpoint``."""
        record = self.records[number]
        with self._lock:
            record.checkpoints[epoch] = checkpoint
            if self.manifest.options.scheduler not in PBT_KINDS:
                newest = sorted(record.checkpoints)[-_KEPT:]
                record.checkpoints = {at: record.checkpoints[at] for at in newest}
        self.manifest.journal.write(record)

    def exploited(self, number: int, donor: int, epoch: int, values: Mapping[str, Any]) -> None:
        """Take note that PBT lets a trial go on from another's checkpoint, with other values."""
        record = self.records[number]
        with self._lock:
            record.cut_back(epoch)
            record.values = dict(values)
            record.lineage = [*record.lineage, {"epoch": epoch, "from": donor, "values": dict(values)}]
        self.manifest.journal.write(record)

    def restarted(self, number: int) -> None:
        """Count that a trial failed and is tried again from its newest checkpoint."""
        with self._lock:
            self.records[number].restarts += 1

    def paused(self, number: int) -> None:
        """Take note that a trial waits for others; its process works on another trial."""
        with self._lock:
            self.running.discard(number)
        self._count_time(number)

    def ended(self, number: int, why: str = "") -> None:
        """Take note that a trial will not go on; ``why`` unless it was trained to its end or stopped."""
        record = self.records[number]
        self.paused(number)
        with self._lock:
            record.ended = why or (FINISHED if record.epoch >= self.epochs else STOPPED)
        self.manifest.journal.write(record)
        self._finish(number)

    def _finish(self, number: int) -> None:
        self._write(number, ())
        record, recorder = self.records[number], self.recorder(number)
        if recorder is None:
            return
        self._pictures(record, recorder)
        failed = not record.ended.startswith((FINISHED, STOPPED))
        tags = trial_tags(record.values, record.ended, chain(self.records, number))
        recorder.finish("FAILED" if failed else "FINISHED", tags)

    def make_up(self) -> None:
        """Write to MLflow what a killed sweep had put on record and not yet written there."""
        manifest = self.manifest
        endings = recorded_endings(manifest.tracking_uri, self.experiment_id, self.parent)
        tasks = manifest.options.task
        every_epoch = _EVERY_EPOCH if len(tasks) == 1 else f"{tasks[0]}/{_EVERY_EPOCH}"
        for number, record in self.records.items():
            if record.ended and (not record.history or endings.get(number) == record.ended):
                continue
            recorder = self.recorder(number)
            if recorder is None:
                continue
            self._written[number] = recorded_epochs(manifest.tracking_uri, recorder.run_id, every_epoch)
            self._write(number, record.history.keys())
            if record.ended:
                self._finish(number)

    def close(self, why: str) -> None:
        """The sweep was interrupted: say so of every trial that had not ended; their records stay open for a resume."""
        for number in sorted(self.running):
            self.paused(number)
            self.manifest.journal.write(self.records[number])
        for number in list(self._owed):
            if self.records[number].ended:
                self._finish(number)
            else:
                self._write(number, ())
        for number, recorder in self.recorders.items():
            if not self.records[number].ended:
                recorder.finish("KILLED", trial_tags(ended=why))

    def checkpoint_of(self, number: int) -> str:
        """The newest checkpoint of a trial; empty where there is none."""
        record = self.records[number]
        own = record.checkpoints.get(record.epoch, "")
        return own or start_of(record, record.epoch, self.records)

    def _count_time(self, number: int) -> None:
        begun = self._begun.pop(number, None)
        if begun is None:
            return
        record = self.records[number]
        spent = time.monotonic() - begun[0]
        with self._lock:
            record.spent += spent
            self.overheads[number] = spent - (record.trained - begun[1])

    def _pictures(self, record: TrialRecord, recorder: TaskRecorder) -> None:
        checkpoint = record.checkpoints.get(record.epoch)
        if checkpoint is None:
            return
        single = len(self.manifest.options.task) == 1
        with tempfile.TemporaryDirectory() as place:
            for task in self.manifest.options.task:
                pictures = Folder(checkpoint) / task / PICTURES
                if not pictures.exists():
                    continue
                local = Path(place) / task
                Folder(str(local)).replace_by(pictures)
                prefix = "" if single else f"{task}/"
                found = {prefix + str(path.relative_to(local).with_suffix("")): path for path in local.rglob("*.png")}
                recorder.pictures(record.epoch, found)


def _is_no_number(name: str) -> bool:
    """Tells if a setting of a rate is something other than its number."""
    return not name.endswith((".value", ".ratio"))
