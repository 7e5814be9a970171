"""A queue of writes to a store that may be unreachable: tried at once, retried later, never raising."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mlflow.exceptions import MlflowException

from refusion.tracking.failures import reason_of
from refusion.tracking.store import http_retry_limits

T = TypeVar("T")
log = logging.getLogger(__name__)

# Such a write fails at every attempt and would only hold up the others.
_REFUSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "MALFORMED_REQUEST")
_FAILURES_PER_FLUSH = 2
# A server that fails slowly is not asked for ten times as long, so that training hardly waits for it.
_SLOW_SECONDS = 1.0
_PAUSE_FACTOR = 10


@dataclass(frozen=True, eq=False)
class _Write:
    number: int
    what: str
    attempt: Callable[[], object]
    size: int


class RetryQueue:
    """Sends writes; one that fails is kept, and tried again with each later one and at the end.

    One warning is logged per outage. Writes that carry bytes (pictures) are dropped, oldest first, when together they
    exceed ``max_bytes``; any are when more than ``max_writes`` wait.

    Args:
        in_order: a write waits until all before it are done. Otherwise one that keeps failing (a picture too large for
            a proxy) goes to the end of the queue and does not hold up the rest.
        max_bytes, max_writes: limits of the queue.

    Attributes:
        lost: writes that were refused or dropped.
    """

    def __init__(self, *, in_order: bool, max_bytes: int = 64 * 2**20, max_writes: int = 10_000) -> None:
        self.lost = 0
        self._in_order = in_order
        self._max_bytes = max_bytes
        self._max_writes = max_writes
        self._waiting: deque[_Write] = deque()
        self._sent = 0
        self._offline = False
        self._try_again_at = 0.0

    @property
    def waiting(self) -> int:
        """Number of writes that will be tried again."""
        return len(self._waiting)

    @property
    def unsent(self) -> int:
        """Number of writes that wait plus those that are lost."""
        return len(self._waiting) + self.lost

    def send(self, what: str, attempt: Callable[[], T], size: int = 0) -> T | None:
        """Writes now, with all that waits; returns None if that was not possible.

        Args:
            what: description for the log.
            attempt: does it; may be called again later, so it holds all it needs (also the time of a metric).
            size: bytes that it keeps in memory, 0 for a write that must not be dropped for its size.
        """
        result: list[T] = []
        self._sent += 1
        self._waiting.append(_Write(self._sent, what, lambda: result.append(attempt()), size))
        self.flush()
        self._drop_oldest()
        return result[0] if result else None

    def flush(self, *, at_once: bool = False) -> bool:
        """Tries the waiting writes until too many of them fail; returns True when none is left.

        Args:
            at_once: also when the last attempt, which failed slowly, is not long ago.
        """
        if time.monotonic() < self._try_again_at and not at_once:
            return not self._waiting
        failures, seconds_lost = 0, 0.0
        for _ in range(len(self._waiting)):
            write = self._waiting.popleft()
            began = time.monotonic()
            error = _try(write)
            if error is None:
                continue
            if _is_refused(error):
                self.record_loss(write.what, error)
                continue
            self._warn_once(write, error)
            failures += 1
            seconds_lost += time.monotonic() - began
            if self._in_order:
                self._waiting.appendleft(write)
                break
            self._waiting.append(write)
            if failures == _FAILURES_PER_FLUSH:
                break
        self._offline = bool(self._waiting)
        self._try_again_at = time.monotonic() + _PAUSE_FACTOR * seconds_lost if seconds_lost > _SLOW_SECONDS else 0.0
        return not self._waiting

    def record_loss(self, what: str, error: Exception) -> None:
        """Counts and logs a write that will never be done."""
        self.lost += 1
        log.warning("%s cannot be written to MLflow and is left out: %s", what, reason_of(error))

    def _warn_once(self, write: _Write, error: Exception) -> None:
        if not self._offline:
            log.warning(
                "MLflow could not take %s (%s): training goes on, and it is tried again",
                write.what,
                reason_of(error),
            )
        self._offline = True

    def _drop_oldest(self) -> None:
        while sum(write.size for write in self._waiting) > self._max_bytes:
            self._drop([write for write in self._waiting if write.size])
        while len(self._waiting) > self._max_writes:
            self._drop([write for write in self._waiting if write.size] or list(self._waiting))

    def _drop(self, candidates: list[_Write]) -> None:
        self._waiting.remove(min(candidates, key=lambda write: write.number))
        self.lost += 1


def _try(write: _Write) -> Exception | None:
    try:
        with http_retry_limits(retries=1, seconds=15):
            write.attempt()
    # Each artifact store raises the exceptions of its own SDK; none may end hours of training.
    except Exception as error:
        log.debug("%s", write.what, exc_info=True)
        return error
    return None


def _is_refused(error: Exception) -> bool:
    if isinstance(error, MlflowException):
        return error.error_code in _REFUSED
    if isinstance(error, OSError):
        return isinstance(error, FileNotFoundError)
    return isinstance(error, TypeError | ValueError | AttributeError | LookupError)
