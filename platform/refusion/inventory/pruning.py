"""Deletion of runs and sweeps, each under its claim, and the closing of those whose job is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from refusion.inventory.entries import Entry
from refusion.runtime.lifetime.claims import CLAIM_FILE, abandoned, claimed
from refusion.runtime.storage import Folder
from refusion.tracking.database import sqlite_file
from refusion.tracking.retention.needed import needed_folders
from refusion.tracking.runs import close_abandoned
from refusion.tracking.store import open_store


def folders_needed(found: Iterable[Entry]) -> set[str]:
    """Returns the addresses of the folders whose modules MLflow's registry needs, over all stores of the entries.

    Raises:
        UserError: a store cannot be read, so that nobody knows.
    """
    return {uri for store in sorted({entry.tracking_uri for entry in found} - {""}) for uri in needed_folders(store)}


def delete(entry: Entry, say: Callable[[str], None]) -> int:
    """Deletes the folder of a run or sweep, and returns the bytes that it had; MLflow keeps what was recorded.

    Raises:
        UserError: a job is at work on it.
    """
    with claimed(entry.folder, f"--prune: {entry.kind} {entry.name}", say):
        size = entry.folder.usage()[0]
        entry.folder.remove()
    return size


def close(gone: Iterable[Entry], say: Callable[[str], None]) -> None:
    """Closes runs and sweeps whose job is gone: as killed in MLflow, and without the claim of that job.

    Raises:
        UserError: MLflow's store cannot be used.
    """
    entries = list(gone)
    for uri, experiment in sorted({(entry.tracking_uri, entry.experiment) for entry in entries if entry.tracking_uri}):
        # A store that is not there would be made.
        if (file := sqlite_file(uri)) is not None and not file.is_file():
            continue
        close_abandoned(uri, open_store(uri, experiment), lambda folder: abandoned(Folder(folder)) is not None)
    for entry in entries:
        # A job may have taken it over at this moment.
        if abandoned(entry.folder) is not None:
            (entry.folder / CLAIM_FILE).remove_file()
            say(f"{entry.kind} {entry.name}: closed; {entry.owner} is gone")
