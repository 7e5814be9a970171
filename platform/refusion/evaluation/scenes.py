"""The files of each scene (two sources, fused images, a true image), found and checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from refusion.config.ranges import Reading
from refusion.errors import UserError
from refusion.evaluation.align import MOST_PIXELS, Size, what_to_crop
from refusion.evaluation.work_items import Scene
from refusion.images.dataset import data_folder, make_available
from refusion.images.pair_check import check_sources, find_and_check
from refusion.images.pairs import Checked, Pair, check_lines, good_pairs, images_by_stem
from refusion.images.store import read_beside

T = TypeVar("T")
R = TypeVar("R")
OnProgress = Callable[[int, int], None]
Tell = Callable[[str], None]
_MOST_LISTED = 20
_MOST_THREADS = 8


@dataclass(frozen=True)
class MinimumSize:
    """The metric that needs the largest images, and their least height and width in pixels."""

    metric: str
    side: int


def pairs_of_split(
    data: str,
    task: str,
    split: str,
    on_progress: OnProgress | None = None,
    *,
    reading: Reading | None = None,
    skip_bad: bool = False,
    tell: Tell | None = None,
) -> list[Pair]:
    """Returns the checked pairs of DATA/TASK/SPLIT, sorted by name; ``data`` may be "builtin".

    Args:
        data, task, split: of the pairs.
        on_progress: called with (done, total).
        reading: ranges and limits; None for the defaults.
        skip_bad: leave bad pairs out instead of raising.
        tell: called with each line that the check has to say.

    Raises:
        UserError: a folder is missing or empty, or pairs are bad (all of them are listed).
    """
    folder = data_folder(data)
    make_available(data, folder)
    return _good(find_and_check(folder, task, split, reading=reading, progress=on_progress), skip_bad, tell)


def pairs_of_folders(
    a: Path,
    b: Path,
    task: str,
    on_progress: OnProgress | None = None,
    *,
    reading: Reading | None = None,
    skip_bad: bool = False,
    tell: Tell | None = None,
) -> list[Pair]:
    """Returns the checked pairs of equal stems of two folders (or the one of two files); arguments as above.

    Raises:
        UserError: as ``check_sources``, or pairs are bad (all of them are listed).
    """
    return _good(check_sources(a, b, task, reading=reading, progress=on_progress), skip_bad, tell)


def _good(checked: Checked, skip_bad: bool, tell: Tell | None) -> list[Pair]:
    pairs = good_pairs(checked, skip_bad=skip_bad)
    if tell is not None:
        for line in check_lines(checked):
            tell(line)
    return pairs


def match_fused(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Returns the fused image of each name; the folder must have exactly those of the sources.

    Raises:
        UserError: there is no such folder, a fused image has no sources, or sources have no fused image.
    """
    found = images_by_stem("--fused", folder.expanduser())
    extra = sorted(found[name].name for name in found.keys() - set(names))
    missing = sorted(set(names) - found.keys())
    problems = []
    if extra:
        problems.append(f"these fused pictures have no sources: {_listed(extra)}")
    if missing:
        problems.append(f"these sources have no fused picture of the same stem: {_listed(missing)}")
    if problems:
        raise UserError(f"--fused {folder}: {'; '.join(problems)}")
    return {name: str(path.absolute()) for name, path in found.items()}


def match_references(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Returns the true image of each name; the folder may have more than those of the sources.

    Raises:
        UserError: there is no such folder, or a scene has no true image.
    """
    found = images_by_stem("--reference", folder.expanduser())
    missing = sorted(set(names) - found.keys())
    if missing:
        raise UserError(f"--reference {folder}: these pictures have no true image of the same stem: {_listed(missing)}")
    return {name: str(found[name].absolute()) for name in names}


def check_sizes(
    scenes: Sequence[Scene], minimum: MinimumSize | None, *, crop: bool, on_progress: OnProgress | None = None
) -> int:
    """Decodes every fused and true image once, so that no fault shows up after an hour of work.

    Args:
        scenes: with sources that have been checked.
        minimum: of the metrics that will be computed; None where those that need more are left out.
        crop: True where sizes may differ as far as ``align`` mends it.
        on_progress: called with (done, total).

    Returns:
        The smallest side in pixels that any scene offers for scoring.

    Raises:
        UserError: a file cannot be read, its size is not that of its sources, or an image is too small.
    """
    return min(_map_in_threads(partial(_check, minimum=minimum, crop=crop), scenes, on_progress))


def _check(scene: Scene, minimum: MinimumSize | None, crop: bool) -> int:
    pair = scene.pair
    sources = (pair.height, pair.width)
    sizes = [sources]
    for file in scene.fused.values():
        size = read_beside(Path(file), pair).shape[:2]
        cropped = what_to_crop(size, sources)
        if cropped is None or (cropped != "nothing" and not crop):
            limit = f"--align crop takes off at most {MOST_PIXELS} pixels, of one of the two"
            advice = f"give pictures of one size ({limit})" if cropped is None else "--align crop scores what both show"
            raise UserError(f"{file} is {_size(size)} but its source {pair.a} is {_size(sources)}: {advice}")
        sizes.append(size)
    if scene.reference is not None:
        size = read_beside(Path(scene.reference), pair).shape[:2]
        if size != sources:
            raise UserError(
                f"--reference: {scene.reference} is {_size(size)} but the source {pair.a} is {_size(sources)}: "
                "true images must be of the sources' size"
            )
    scored = min(min(size) for size in sizes)
    if minimum is not None and scored < minimum.side:
        raise UserError(
            f"{pair.a}: only {scored} pixels of a side are there to score, but {minimum.metric} needs at least "
            f"{minimum.side}: leave out the picture or the metric"
        )
    return scored


def _map_in_threads(work: Callable[[T], R], items: Sequence[T], on_progress: OnProgress | None) -> Iterator[R]:
    """Yields the results in the order of the items, several at a time; the first failure in that order is raised."""
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        try:
            for done, result in enumerate(pool.map(work, items), start=1):
                if on_progress is not None:
                    on_progress(done, len(items))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


def _listed(items: Sequence[str], separator: str = ", ") -> str:
    more = len(items) - _MOST_LISTED
    return separator.join(items[:_MOST_LISTED]) + (f" … and {more} more" if more > 0 else "")


def _size(size: Size) -> str:
    return f"{size[1]}×{size[0]}"
