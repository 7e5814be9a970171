"""The console of a job, and durations as it prints them."""

from __future__ import annotations

import os
from datetime import timedelta

from rich.console import Console

_LOG_WIDTH = 120


def console() -> Console:
    """The console of a job: as wide as the terminal, else as COLUMNS says or wide enough for the tables."""
    found = Console()
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(width=_LOG_WIDTH)


def clock(seconds: float | None) -> str:
    """Seconds as h:mm:ss; a dash where they are not known."""
    return "–" if seconds is None else str(timedelta(seconds=round(seconds)))
