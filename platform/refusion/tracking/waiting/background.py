"""Thread that writes to MLflow beside a job, so that no training waits for it, and the bounded wait at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from refusion.tracking.database import is_database
from refusion.tracking.waiting.writer import Writer

# Seconds between two looks for new entries, and the longest pause after a failure.
_LOOK = 0.2
_LONGEST_PAUSE = 30.0
# Seconds after which a job ends though a server has not taken all; a database of this machine takes it all.
SERVER_SECONDS, DATABASE_SECONDS = 60.0, 600.0
# Seconds that a server that does not answer at all has to come back in, and between two lines on the progress.
_GONE_SECONDS = 6.0
_PROGRESS = 5.0


class BackgroundWriter:
    """Writes what waits, from a thread of its own.

    Args:
        writer: which nobody else uses meanwhile.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="mlflow-writer")
        self._gone = False
        self._waited = 0.0

    @property
    def waiting(self) -> int:
        """Number of entries that are not written."""
        return self._writer.spool.waiting

    @property
    def trouble(self) -> str:
        """Why the last attempt has failed; empty where it has not."""
        return self._writer.trouble

    def start(self) -> None:
        """Begins to write; before anyone else adds entries, since what a killed job has left half done goes first."""
        self._writer.spool.tidy()
        self._thread.start()

    def stop(self) -> None:
        """Ends after the entry that is being written; what is left stays on the disk."""
        self._stop.set()
        self._hurry.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1)

    def settle(self, say: Callable[[str], None], seconds: float | None = None) -> bool:
        """Waits until nothing is left, which it says every 5 s, or until that cannot be waited for.

        Args:
            say: takes the lines.
            seconds: to wait at most; by default all calls together wait a minute for a server.

        Returns:
            True when nothing is left.
        """
        began = time.monotonic()
        if seconds is not None:
            return self._settle(say, seconds, began)
        all_calls = DATABASE_SECONDS if is_database(self._writer.store.uri) else SERVER_SECONDS
        try:
            return self._settle(say, max(1.0, all_calls - self._waited), began)
        finally:
            self._waited += time.monotonic() - began

    def _settle(self, say: Callable[[str], None], seconds: float, began: float) -> bool:
        said, failing_since = began, None
        # One that an earlier call has found gone gets less time, unless it is back.
        patience = 1.0 if self._gone and self.trouble else _GONE_SECONDS
        while self.waiting:
            if self.trouble:
                self._hurry.set()
            now = time.monotonic()
            failing_since = (failing_since or now) if self.trouble else None
            self._gone = failing_since is not None and now - failing_since > patience
            if now - began > seconds or self._gone or not self._thread.is_alive():
                return False
            if now - said > _PROGRESS:
                said = now
                left = began + seconds - now
                say(f"MLflow: {self.waiting} writes still wait; the job ends in {left:.0f} s at the latest")
            time.sleep(0.05)
        return True

    def _run(self) -> None:
        writer = self._writer
        while not self._stop.is_set():
            began = time.monotonic()
            if writer.spool.waiting:
                writer.flush(at_once=True, go_on=lambda: not self._stop.is_set())
            if not writer.trouble:
                self._stop.wait(_LOOK)
            elif self._hurry.wait(min(_LONGEST_PAUSE, max(1.0, 2 * (time.monotonic() - began)))):
                self._hurry.clear()
                # Also who waits for it leaves a server a moment.
                self._stop.wait(0.5)
