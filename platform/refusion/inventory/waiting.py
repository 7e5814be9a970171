"""Writing to MLflow of what waits since its store was away while a job ran."""

from __future__ import annotations

import time
from collections.abc import Callable

from refusion.inventory.entries import Entry
from refusion.runtime.lifetime.claims import claimed
from refusion.runtime.lifetime.waiting import waiting_folder
from refusion.tracking.store import redacted
from refusion.tracking.waiting.spool import Spool
from refusion.tracking.waiting.writer import Writer

# Seconds between two attempts after a failure, and between two lines on the progress.
_PAUSE = 2.0
_PROGRESS = 5.0
# Attempts in a row that may fail.
_ATTEMPTS = 3


def write_waiting(entry: Entry, uri: str | None, say: Callable[[str], None]) -> int:
    """Writes what waits of a run, closes it where its job is gone, and returns the number of writes that still wait.

    Args:
        entry: the run, under whose claim this is done.
        uri: another address of the store; None for the run's own.
        say: takes lines on the progress.

    Raises:
        UserError: a job is at work on the run.
    """
    store = uri or entry.tracking_uri
    with claimed(entry.folder, f"--write-waiting: {entry.kind} {entry.name}", say):
        spool = Spool(waiting_folder(entry.folder))
        spool.tidy()
        if entry.state == "abandoned":
            for run in spool.runs():
                closing = {"status": "KILLED", "end": int(entry.at * 1000), "if_running": True}
                spool.add("records", run, "status KILLED", "end", closing)
        writer = Writer(store, spool, say)
        said = time.monotonic()

        def go_on() -> bool:
            nonlocal said
            if time.monotonic() - said > _PROGRESS:
                said = time.monotonic()
                say(f"{entry.kind} {entry.name}: {writer.written} written, {spool.waiting} to go")
            return True

        failed = 0
        while not writer.flush(at_once=True, go_on=go_on) and failed < _ATTEMPTS:
            failed += 1
            time.sleep(_PAUSE)
        left = spool.waiting
    reason = f"; {left} still wait ({writer.trouble})" if left else ""
    lost = len(spool.left_out)
    dropped = f"; {lost} are left out, see {spool.folder / 'left_out.txt'}" if lost else ""
    say(f"{entry.kind} {entry.name}: {writer.written} writes are in {redacted(store)} now{reason}{dropped}")
    return left
