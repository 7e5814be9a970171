"""The data set of a run: its folder, its train and val pairs, and their one check before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from refusion.buckets.filesystem import is_in_s3
from refusion.buckets.staging import staged
from refusion.config.arrangement import arrangement_of
from refusion.config.ranges import Reading, parse_ranges
from refusion.config.settings import BUILTIN, Settings
from refusion.errors import UserError
from refusion.home import refusion_home
from refusion.images.builtin import BUILTIN_VERSION, ensure_builtin
from refusion.images.layouts import known_layouts, tasks_recognised
from refusion.images.pair_check import find_and_check
from refusion.images.pairs import Pair, Problem, bad_pairs_error, dataset_digest
from refusion.metrics import CATALOGUE, METRICS
from refusion.tasks import TASKS


@dataclass(frozen=True)
class TaskPairs:
    """The checked pairs of one task.

    Attributes:
        task: its name.
        folder: the data set's folder, with TASK/SPLIT/{a,b} in it.
        train, val: sorted by name.
        skipped: the files left out because of ``--skip-bad-pairs``.
        notes: what the check has to say of pairs that are not bad.
    """

    task: str
    folder: str
    train: list[Pair]
    val: list[Pair]
    skipped: list[Problem]
    notes: list[Problem] = field(default_factory=list)


def _too_small(pairs: Sequence[Pair], folder: Path) -> list[Problem]:
    """Returns the val pairs on which a metric is not defined, so that they are refused before the first epoch."""
    least = max(CATALOGUE[name].definitions["authors"].smallest_side for name in METRICS)
    return [
        Problem(
            _file(pair, folder),
            f"is {pair.width}×{pair.height}: validation needs at least {least} pixels a side",
            "too small",
        )
        for pair in pairs
        if min(pair.height, pair.width) < least
    ]


def _file(pair: Pair, folder: Path) -> str:
    return Path(pair.a).relative_to(folder).as_posix()


def data_folder(data: str) -> Path:
    """Returns the folder with TASK/SPLIT/{a,b} that a run's ``data`` setting means, absolute; stages it from a store.

    Raises:
        UserError: there is no such folder.
        StoreAwayError: it is in an object store that does not answer.
    """
    if data == BUILTIN:
        return refusion_home() / f"builtin-{BUILTIN_VERSION}"
    if is_in_s3(data):
        return staged(data, "--data")
    folder = Path(data).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(
            f"--data {data}: there is no folder {folder}; give one with TASK/{{train,val}}/{{a,b}} in it, or 'builtin' "
            "(a job submitted to a cluster sees the cluster's files: use an absolute path)"
        )
    return folder


def tasks_of(data: str) -> list[str]:
    """Returns the tasks that a run's ``data`` is for, in their usual order; all of them for the builtin scenes.

    A folder of a task says so, else the names of the pictures do (`refusion.images.layouts`).

    Raises:
        UserError: there is no such folder, or nothing in it tells a task.
    """
    folder = data_folder(data)
    found = [task for task in TASKS if data == BUILTIN or (folder / task).is_dir()]
    found = found or tasks_recognised(folder)
    if not found:
        raise UserError(
            f"--data {data}: there is no folder of a task in {folder}; it must hold TASK/{{train,val}}/{{a,b}}, where "
            f"TASK is one of {', '.join(TASKS)}, or a data set that is recognised by its names ({known_layouts()}); "
            "else name the task by --tasks, and the sources' folders or parts of names by --map a=…,b=…"
        )
    return found


def make_available(data: str, folder: Path) -> None:
    """Creates the builtin scenes in ``folder``, or stages what lies in an object store, where that is not there yet.

    Raises:
        UserError: objects have changed since another machine of the job staged them.
        StoreAwayError: the store does not answer.
    """
    if data == BUILTIN:
        ensure_builtin(folder)
    elif is_in_s3(data):
        staged(data, "--data", expected=folder)


def check_pairs(
    data: str,
    tasks: Sequence[str],
    *,
    skip_bad: bool,
    reading: Reading | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[TaskPairs]:
    """Finds and checks the train and val pairs of all tasks.

    Args:
        data: the setting, a folder or "builtin".
        tasks: names of tasks.
        skip_bad: leave bad pairs out instead of raising.
        reading: ranges and limits; None for the defaults.
        progress: called with ("IVIF/train", pairs checked, pairs in all).

    Returns:
        One entry per task, in their order.

    Raises:
        UserError: a folder is missing or empty, pairs are bad (all of them listed), or none is left.
    """
    folder = data_folder(data)
    make_available(data, folder)
    found: list[TaskPairs] = []
    for task in tasks:
        splits: dict[str, list[Pair]] = {}
        problems: list[Problem] = []
        notes: list[Problem] = []
        for split in ("train", "val"):
            place = f"{task}/{split}"
            tell = None if progress is None else lambda done, of, place=place: progress(place, done, of)
            pairs, bad, said, _ = find_and_check(folder, task, split, reading=reading, progress=tell)
            notes += said
            if split == "val":
                bad += _too_small(pairs, folder)
                small = {problem.file for problem in bad}
                pairs = [pair for pair in pairs if _file(pair, folder) not in small]
            if skip_bad and not pairs:
                raise UserError(f"--data {data}: no good pair is left in {place}; {bad_pairs_error(bad)}")
            splits[split] = pairs
            problems += bad
        found.append(TaskPairs(task, str(folder), splits["train"], splits["val"], problems, notes))
    bad_ones = [problem for pairs in found for problem in pairs.skipped]
    if bad_ones and not skip_bad:
        raise bad_pairs_error(bad_ones)
    return found


def digests(pairs: TaskPairs) -> dict[str, str]:
    """Returns the digest of each split's pairs, by split."""
    return {"train": dataset_digest(pairs.train), "val": dataset_digest(pairs.val)}


def pair_digests(pairs: TaskPairs) -> dict[str, dict[str, str]]:
    """Returns the digest of each pair, by split and name."""
    return {split: {pair.name: dataset_digest([pair]) for pair in getattr(pairs, split)} for split in ("train", "val")}


def validated_digest(pairs: Sequence[Pair], measured: int) -> str:
    """Returns the digest of those val pairs that a validation of that many measures."""
    return dataset_digest([pairs[index] for index in evenly_spaced(len(pairs), measured)])


def evenly_spaced(count: int, wanted: int | None) -> list[int]:
    """Returns ``wanted`` of ``count`` indices, evenly spaced; all where ``wanted`` is None or larger.

    Example:
        >>> evenly_spaced(10, 3)
        [1, 5, 8]
    """
    if wanted is None or wanted >= count:
        return list(range(count))
    return [int((position + 0.5) * count / wanted) for position in range(wanted)]


def reading_of(settings: Settings) -> Reading:
    """Returns the settings of reading among a job's."""
    arrangement = arrangement_of(settings.map, settings.split)
    return Reading(parse_ranges(settings.range), settings.max_megapixels, arrangement)
