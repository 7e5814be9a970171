"""Hands tests to pytest-xdist's processes: a file to one, but files that start Ray in two groups, first of all."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

# Those of jobs take some twice as long as all the others; at most two Rays run at a time.
RAY = "files that start Ray"
JOBS = "files of jobs that start Ray"


@cache
def scope_of(file: Path) -> str:
    """The name of the file's group: a file's fixtures are made once, and a group has one Ray at a time."""
    # Each file of faults has a Ray of its own.
    if "pytest.mark.ray" not in file.read_text(encoding="utf-8") or file.parent.name == "faults":
        return str(file)
    return JOBS if file.parent.name == "jobs" else RAY


@cache
def rank_of(file: Path) -> int:
    """Files that take long begin first, so that no process waits at the end for the one that has them."""
    if scope_of(file) in (JOBS, RAY):
        return 0 if scope_of(file) == JOBS else 1
    return 2 if "pytest.mark.slow" in file.read_text(encoding="utf-8") else 3


def scheduler_of(config: Any, log: Any, root: Path) -> Any:
    """A scheduler of pytest-xdist for these groups."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(root / nodeid.split("::")[0])

    # The order in which they are collected, which `rank_of` made.
    config.option.loadscopereorder = False
    return ByGroup(config, log)
