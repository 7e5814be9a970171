"""Hands tests to pytest-xdist's processes: a file to one, and all files that start Ray to the same, first of all."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

RAY = "files that start Ray"


@cache
def scope_of(file: Path) -> str:
    """The name of the file's group: a file's fixtures are made once, and one Ray runs at a time."""
    return RAY if "pytest.mark.ray" in file.read_text(encoding="utf-8") else str(file)


@cache
def rank_of(file: Path) -> int:
    """Files that take long begin first, so that no process waits at the end for the one that has them."""
    return 0 if scope_of(file) == RAY else 1 if "pytest.mark.slow" in file.read_text(encoding="utf-8") else 2


def scheduler_of(config: Any, log: Any, root: Path) -> Any:
    """A scheduler of pytest-xdist for these groups."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(root / nodeid.split("::")[0])

    # The order in which they are collected, which `rank_of` made.
    config.option.loadscopereorder = False
    return ByGroup(config, log)
