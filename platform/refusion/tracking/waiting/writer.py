"""Writer of what waits: tries entries in their order, and never raises because of MLflow."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from refusion.errors import UserError
from refusion.tracking.failures import reason_of
from refusion.tracking.store import http_retry_limits
from refusion.tracking.waiting.operations import RunNotBegunError, Store, is_refused, perform
from refusion.tracking.waiting.spool import LANES, Entry, Lane, Spool

log = logging.getLogger(__name__)

# Of a store that is asked, rather than written to.
STORE_ERRORS = (MlflowException, OSError, SQLAlchemyError, UserError)

_FAILURES_PER_LANE = 2
# A server that fails slowly is not asked for ten times as long, so that who writes himself hardly waits for it.
_SLOW_SECONDS = 1.0
_PAUSE_FACTOR = 10


class Writer:
    """Writes the entries of a spool; only one does so at a time.

    Records and models are written in their order: one that fails holds up those behind it. A picture that keeps failing
    (too large for a proxy) goes behind the others. One warning is given per outage.

    Args:
        uri: the result of ``resolve_tracking_uri``.
        spool: what waits.
        say: takes the warning.

    Attributes:
        written: number of entries that were written.
        trouble: why the last attempt failed; empty where it did not.
    """

    def __init__(self, uri: str, spool: Spool, say: Callable[[str], None] = log.warning) -> None:
        self.store = Store(uri, spool)
        self.spool = spool
        self.written = 0
        self.trouble = ""
        self._warned = False
        self._say = say
        self._failures: Counter[str] = Counter()
        self._try_again_at = 0.0
        self._results: dict[Path, object] = {}

    def flush(self, *, at_once: bool = False, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Tries what waits until too much of it fails; returns True when none is left.

        Args:
            at_once: also when the last attempt, which failed slowly, is not long ago.
            go_on: asked before each entry; False ends it.
        """
        if time.monotonic() < self._try_again_at and not at_once:
            return not self.spool.waiting
        self._results.clear()
        trouble, lost = "", 0.0
        for lane in LANES:
            failed, seconds = self._write(lane, go_on)
            lost += seconds
            trouble = trouble or failed
            if failed and lane == "records":
                break
        self.trouble, self._warned = trouble, bool(trouble)
        self._try_again_at = time.monotonic() + _PAUSE_FACTOR * lost if lost > _SLOW_SECONDS else 0.0
        return not self.spool.waiting

    def result(self, folder: Path) -> object:
        """Returns what the last ``flush`` got for an entry; None where it is not written."""
        return self._results.get(folder)

    def _write(self, lane: Lane, go_on: Callable[[], bool]) -> tuple[str, float]:
        """Returns the first failure in words, and the seconds lost by failures."""
        trouble, failures, lost = "", 0, 0.0
        folders = self.spool.folders(lane)
        if lane == "pictures":
            folders.sort(key=lambda folder: self._failures[folder.name])
        for folder in folders:
            entry = self.spool.read(folder)
            if entry is None:
                continue
            if not go_on():
                break
            began = time.monotonic()
            error = self._try(entry)
            if error is None:
                continue
            lost += time.monotonic() - began
            self._warn_once(entry, error)
            trouble = trouble or _in_words(error)
            failures += 1
            if lane != "pictures" or failures == _FAILURES_PER_LANE:
                break
        return trouble, lost

    def _try(self, entry: Entry) -> Exception | None:
        """Writes an entry and removes it, also where it is refused for ever; returns why that could not be done now."""
        try:
            attempted = entry.attempted
            entry.mark()
            with http_retry_limits(retries=1, seconds=15):
                self._results[entry.folder] = perform(self.store, entry, attempted=attempted)
        except RunNotBegunError:
            # Added with its run since this pass has gone through the records: the next one writes it.
            return None
        # Each artifact store raises the exceptions of its own SDK; none may end hours of training.
        except Exception as error:
            log.debug("%s", entry.what, exc_info=True)
            self.store.forget()
            # One that another process has dropped meanwhile is no failure.
            if not entry.folder.exists():
                return None
            if not is_refused(error):
                self._failures[entry.folder.name] += 1
                return error
            reason = reason_of(error)
            self.spool.leave_out(entry.folder, entry.what, reason)
            self._say(f"{entry.what} cannot be written to MLflow and is left out: {reason}")
            return None
        self.spool.remove(entry.folder)
        self.written += 1
        self.trouble = ""
        return None

    def _warn_once(self, entry: Entry, error: Exception) -> None:
        if not self._warned:
            self._say(
                f"MLflow could not take {entry.what} ({_in_words(error)}): training goes on, and it is tried again"
            )
        self._warned, self.trouble = True, _in_words(error)


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else reason_of(error)
