"""Where a run's pairs come from, and their one check before anything trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from refusion.config import BUILTIN
from refusion.errors import UserError
from refusion.home import refusion_home
from refusion.images.builtin import BUILTIN_VERSION, ensure_builtin
from refusion.images.pairs import Pair, Problem, find_and_check, refuse


@dataclass(frozen=True)
class TaskPairs:
    """The checked pairs of one task; ``skipped`` are the files left out because of ``--skip-bad-pairs``."""

    task: str
    folder: str
    train: list[Pair]
    val: list[Pair]
    skipped: list[Problem]


def data_folder(data: str) -> Path:
    """The folder with TASK/SPLIT/{a,b} that a run's ``data`` setting means, absolute.

    Raises:
        UserError: there is no such folder.
    """
    if data == BUILTIN:
        return refusion_home() / f"builtin-{BUILTIN_VERSION}"
    folder = Path(data).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(
            f"--data {data}: there is no folder {folder}; give one with TASK/{{train,val}}/{{a,b}} in it, or 'builtin' "
            "(a job submitted to a cluster sees the cluster's files: use an absolute path)"
        )
    return folder


def make_available(data: str, folder: Path) -> None:
    """Make the built-in scenes in ``folder`` where they are asked for and not there yet."""
    if data == BUILTIN:
        ensure_builtin(folder)


def check_pairs(
    data: str,
    tasks: Sequence[str],
    *,
    skip_bad: bool,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[TaskPairs]:
    """Find and check the train and val pairs of all tasks.

    Args:
        data: the setting.
        tasks: names of tasks.
        skip_bad: leave bad pairs out instead of refusing.
        progress: called with ("IVIF/train", pairs checked, pairs in all).

    Raises:
        UserError: a folder is missing or empty, pairs are bad (all of them listed), or none is left.
    """
    folder = data_folder(data)
    make_available(data, folder)
    found: list[TaskPairs] = []
    for task in tasks:
        splits: dict[str, list[Pair]] = {}
        problems: list[Problem] = []
        for split in ("train", "val"):
            place = f"{task}/{split}"
            tell = None if progress is None else lambda done, of, place=place: progress(place, done, of)
            pairs, bad = find_and_check(folder, task, split, progress=tell)
            if skip_bad and not pairs:
                raise UserError(f"--data {data}: no good pair is left in {place}; {refuse(bad)}")
            splits[split] = pairs
            problems += bad
        found.append(TaskPairs(task, str(folder), splits["train"], splits["val"], problems))
    bad_ones = [problem for pairs in found for problem in pairs.skipped]
    if bad_ones and not skip_bad:
        raise refuse(bad_ones)
    return found
