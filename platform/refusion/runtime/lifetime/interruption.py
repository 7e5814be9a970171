"""Signals that end a job from outside."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# What `ray job stop` and schedulers send, and what a terminal that goes away sends.
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """Raised where a signal ends the job.

    Attributes:
        status: with which the process is to leave.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextmanager
def terminated_is_interrupted() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into Ctrl-C, so that MLflow's runs are closed; SIGHUP stays ignored under nohup.

    Raises:
        Interrupted: such a signal came.
    """
    came: list[int] = []

    def interrupt(number: int, _frame: Any) -> None:
        came.append(number)
        raise Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {ending: signal.getsignal(ending) for ending in _ENDINGS}
    taken = {ending: handler for ending, handler in before.items() if handler != signal.SIG_IGN}
    for ending in taken:
        signal.signal(ending, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        # Where Ray waits, it raises a KeyboardInterrupt of its own in place of whatever a handler raised.
        if came and not isinstance(error, Interrupted):
            raise Interrupted(came[0]) from error
        raise
    finally:
        for ending, handler in taken.items():
            signal.signal(ending, handler)


@contextmanager
def handlers_kept(*signals: signal.Signals) -> Iterator[None]:
    """Puts handlers of these signals back in place, whatever is set meanwhile; the system's default is none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            if callable(handler):
                signal.signal(each, handler)
