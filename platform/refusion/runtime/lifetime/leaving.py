"""End of a process whose other threads still wait in Ray."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn


def uses_ray() -> bool:
    """Tells whether this process started Ray or joined a cluster; imports nothing."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def leave_at_once(status: int) -> NoReturn:
    """End the process without Ray's own end, which an interrupted job cannot outlive.

    A thread that waits in Ray wakes up when Ray ends, and the first object that it lets go of then ends the process
    with status 1 ("The core worker has already been shutdown"). What Ray started here ends with this process, since
    the system ends it (``PR_SET_PDEATHSIG``); a cluster that was joined sees it go.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)
