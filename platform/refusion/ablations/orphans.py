"""End of a child process with its parent, however that one ended."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Ends this process as soon as its parent is gone, also where the parent could say nothing (SIGKILL).

    For the ``initializer`` of a pool of processes: what such a process computes is of no use to anybody else.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_end, args=(parent,), daemon=True, name="end with parent").start()


def _wait_and_end(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    # Nothing to tidy up: checkpoints are written beside their place and renamed.
    os._exit(1)
