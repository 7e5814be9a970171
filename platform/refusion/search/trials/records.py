"""Records of the trials, kept in the sweep's folder after each epoch, so that a killed sweep can go on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from refusion.runtime.storage import Folder

# How a trial ended; what follows a colon is the reason.
FINISHED, STOPPED, DIVERGED, FAILED = "finished", "stopped", "diverged", "failed"
_FOLDER = "trials"
Numbers = dict[str, float]


def trial_name(number: int) -> str:
    """Name of a trial's files and folders."""
    return f"trial_{number:05d}"


@dataclass
class TrialRecord:
    """One trial as it stands.

    Attributes:
        number: 0 is the default settings at the sweep's budget.
        values: what the search chose; those of the present moment where they change while it trains.
        ended: finished, stopped, "diverged: …" or "failed: …"; empty while it is to go on.
        history: numbers by finished epochs, from 1 on.
        lineage: values from which epoch on, and of which trial they were learnt; the first entry has epoch 0.
        checkpoints: folders by the epoch they hold, as far as they are kept.
        trained: seconds spent in training and validation.
        spent: seconds from the trial's start to its end, over all its parts.
        restarts: how often it was begun again after an error.
        last: epoch after which it is to end, once that is known; 0 before.
    """

    number: int
    values: dict[str, Any]
    ended: str = ""
    history: dict[int, Numbers] = field(default_factory=dict)
    lineage: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: dict[int, str] = field(default_factory=dict)
    trained: float = 0.0
    spent: float = 0.0
    restarts: int = 0
    last: int = 0

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return max(self.history, default=0)

    def cut_back(self, epoch: int) -> None:
        """Forget what came after ``epoch``, since the trial goes on from there."""
        self.last = 0 if self.last > epoch else self.last
        self.history = {at: numbers for at, numbers in self.history.items() if at <= epoch}
        self.checkpoints = {at: folder for at, folder in self.checkpoints.items() if at <= epoch}
        if self.lineage:
            self.lineage = [entry for entry in self.lineage if entry["epoch"] <= epoch]
            self.values = dict(self.lineage[-1]["values"])

    def plain(self) -> dict[str, Any]:
        """Content for JSON."""
        return asdict(self)

    @staticmethod
    def of(content: dict[str, Any]) -> TrialRecord:
        """Record from what ``plain`` gave, after JSON has made its integer keys texts."""
        record = TrialRecord(**content)
        record.history = {int(epoch): numbers for epoch, numbers in record.history.items()}
        record.checkpoints = {int(epoch): folder for epoch, folder in record.checkpoints.items()}
        return record


@dataclass(frozen=True)
class Journal:
    """The records of a sweep, one file per trial in ``SWEEP/trials``."""

    folder: Folder

    def write(self, record: TrialRecord) -> None:
        """Put a record in the place of an older one."""
        (self.folder / _FOLDER / f"{trial_name(record.number)}.json").write_text(json.dumps(record.plain(), indent=1))

    def read(self) -> dict[int, TrialRecord]:
        """Records by number."""
        trials = self.folder / _FOLDER
        found = (TrialRecord.of(json.loads((trials / name).read_text())) for name in trials.names() if _is_record(name))
        return {record.number: record for record in sorted(found, key=lambda record: record.number)}


def _is_record(name: str) -> bool:
    return name.startswith("trial_") and name.endswith(".json")


def to_go_on(records: dict[int, TrialRecord], interval: int | None) -> dict[int, TrialRecord]:
    """The trials that had not ended, cut back to a checkpoint from which they can go on.

    Args:
        records: left as they are.
        interval: epochs between two exchanges of a population, whose members must all stand at the same exchange;
            None where each trial is on its own, as trial 0 always is.
    """
    going = {number: TrialRecord.of(record.plain()) for number, record in records.items() if not record.ended}
    members = [record for record in going.values() if interval is not None and record.number != 0]
    common = _last_exchange(members, records, interval or 1)
    for record in going.values():
        own = max((epoch for epoch in record.checkpoints if epoch <= record.epoch), default=0)
        record.cut_back(common if record in members else own)
    return going


def take_ended(going: dict[int, TrialRecord], epochs: int) -> list[TrialRecord]:
    """Take out of the trials that go on those with nothing left to train, and end them.

    They were killed between their last epoch's checkpoint and the note that they have ended.

    Args:
        going: as `to_go_on` gives it; changed.
        epochs: of a trial that is not stopped.
    """
    ended = [record for record in going.values() if record.epoch and record.epoch in (record.last, epochs)]
    for record in ended:
        record.ended = FINISHED if record.epoch >= epochs else STOPPED
        del going[record.number]
    return ended


def _last_exchange(members: list[TrialRecord], records: dict[int, TrialRecord], interval: int) -> int:
    """The newest exchange that all have reached and can go on from; 0 is the beginning."""
    reached = min((record.epoch for record in members), default=0)
    exchanges = range(reached // interval * interval, 0, -interval)
    return next((at for at in exchanges if all(start_of(record, at, records) for record in members)), 0)


def start_of(record: TrialRecord, epoch: int, records: dict[int, TrialRecord]) -> str:
    """The checkpoint with which a trial goes on after ``epoch``: its own, or that of the trial it has just copied."""
    entry = next((entry for entry in reversed(record.lineage) if entry["epoch"] == epoch), None)
    donor = entry["from"] if entry is not None and epoch > 0 else None
    holder = records[donor] if donor is not None else record
    return holder.checkpoints.get(epoch, "")


def chain(records: Mapping[int, TrialRecord], number: int, until: float = math.inf) -> list[dict[str, Any]]:
    """Changes of values that a PBT trial went through, before ``until`` epochs.

    Its own changes count from the last trial on that it copied; before that, what that trial went through.
    """
    own = [entry for entry in records[number].lineage if entry["epoch"] < until]
    copied = [index for index, entry in enumerate(own) if entry["from"] is not None]
    if not copied:
        return own
    last = own[copied[-1]]
    return [*chain(records, last["from"], last["epoch"]), *own[copied[-1] :]]
