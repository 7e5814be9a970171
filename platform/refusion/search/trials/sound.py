"""Checkpoints of trials that are as they were written, and where trials go on whose newest one is not."""

from __future__ import annotations

from collections.abc import Collection

from refusion.runtime.storage import Folder
from refusion.search.trials.records import TrialRecord, start_of, to_go_on
from refusion.training.epochs.sound import fault_of, without_advice

# As Tune calls a trial's checkpoints, with a number that grows.
_CHECKPOINT = "checkpoint_"


def fault_of_trial(checkpoint: Folder, tasks: Collection[str]) -> str | None:
    """Returns what is wrong with a trial's checkpoint of these tasks in one sentence; None where nothing is."""
    faults = (fault_of(checkpoint / task) for task in tasks)
    return next((without_advice(fault) for fault in faults if fault is not None), None)


def forget_damaged(records: dict[int, TrialRecord], interval: int | None, tasks: Collection[str]) -> list[str]:
    """Take checkpoints that are damaged out of the records, as far as trials that have not ended would go on from them.

    Args:
        records: of all trials, by number; changed.
        interval: as that of `to_go_on`.
        tasks: of the sweep.

    Returns:
        A sentence on each, for the user.
    """
    checked: set[str] = set()
    faults: list[tuple[int, str]] = []
    while True:
        going = to_go_on(records, interval)
        starts = {start_of(record, record.epoch, records | going) for record in going.values()} - checked - {""}
        if not starts:
            return [f"trial {number}: {fault}{_goes_on(going.get(number))}" for number, fault in faults]
        checked |= starts
        for record in records.values():
            for epoch, folder in list(record.checkpoints.items()):
                fault = fault_of_trial(Folder(folder), tasks) if folder in starts else None
                if fault is not None:
                    faults.append((record.number, fault))
                    del record.checkpoints[epoch]


def _goes_on(record: TrialRecord | None) -> str:
    return "" if record is None else f"; {where_from(record.epoch)}"


def where_from(epoch: int) -> str:
    """Returns in words where a trial goes on that has so many finished epochs."""
    return f"goes on from its epoch {epoch}" if epoch else "begins anew"


def sound_before(checkpoint: Folder, tasks: Collection[str]) -> Folder | None:
    """Returns the newest checkpoint beside that one which is older and has nothing wrong with it; None without any."""
    folder, _, name = checkpoint.uri.rpartition("/")
    older = [other for other in Folder(folder).names() if other.startswith(_CHECKPOINT) and other < name]
    return next((at for at in (Folder(folder) / one for one in reversed(older)) if not fault_of_trial(at, tasks)), None)
