"""The console of a job, and durations as it prints them."""

from __future__ import annotations

import os
import sys
import textwrap
from datetime import timedelta

from rich.console import Console

_LOG_WIDTH = 120


class JobConsole(Console):
    """Console whose reader may go away, as behind `| head`: that interrupts the job, as Ctrl-C does."""

    def on_broken_pipe(self) -> None:
        """Says nothing more, and raises KeyboardInterrupt."""
        silence_stdout()
        raise KeyboardInterrupt


def silence_stdout() -> None:
    """Sends what is still printed nowhere, also what Python has yet to write when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def console() -> Console:
    """The console of a job: as wide as the terminal, else as COLUMNS says or wide enough for the tables."""
    found = JobConsole()
    return found if found.is_terminal or "COLUMNS" in os.environ else JobConsole(width=_LOG_WIDTH)


def wrapped(text: str, width: int) -> list[str]:
    """Returns the lines of a sentence that fits into so many columns; those that continue it are indented.

    >>> wrapped("MIF: a note that goes on", 12)
    ['MIF: a note', '  that goes', '  on']
    """
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def clock(seconds: float | None) -> str:
    """Seconds as h:mm:ss; a dash where they are not known."""
    return "–" if seconds is None else str(timedelta(seconds=round(seconds)))
