"""Which files belong together: the two sources, the fused pictures of each method, a true image; found and checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from refusion.errors import UserError
from refusion.evaluation.align import MOST_PIXELS, Size, what_to_crop
from refusion.evaluation.work_items import Picture
from refusion.images.dataset import data_folder, make_available
from refusion.images.pairs import Pair, find_and_check, match, pictures_in
from refusion.images.reading import decode, read_bytes, read_image

T = TypeVar("T")
R = TypeVar("R")
Tell = Callable[[int, int], None]
_MOST_LISTED = 20
_MOST_THREADS = 8


@dataclass(frozen=True)
class Need:
    """The metric that needs the largest images, and their least height and width."""

    metric: str
    side: int


def pairs_of_split(data: str, task: str, split: str, tell: Tell | None = None) -> list[Pair]:
    """The checked pairs of DATA/TASK/SPLIT, sorted by name; ``data`` may be "builtin".

    Raises:
        UserError: a folder is missing or empty, or pairs are bad (the first of them are listed).
    """
    folder = data_folder(data)
    make_available(data, folder)
    pairs, problems = find_and_check(folder, task, split, progress=tell)
    if problems:
        listed = _listed([f"{problem.file} {problem.what}" for problem in problems], "; ")
        raise UserError(f"--data {data}: mend or remove these files: {listed}")
    return pairs


def pairs_of_folders(a: Path, b: Path, tell: Tell | None = None) -> list[Pair]:
    """The pairs of equal stems of two folders (or the one of two files), decoded and checked, sorted by name.

    Raises:
        UserError: as for ``fuse_command.match``, or a file cannot be read, or the sizes of a pair differ.
    """
    matched = match(a.expanduser().absolute(), b.expanduser().absolute())
    return sorted(_each(_pair, matched, tell), key=lambda pair: pair.name)


def _pair(files: tuple[str, Path, Path]) -> Pair:
    name, a, b = files
    data_a, data_b = read_bytes(a), read_bytes(b)
    size_a, size_b = decode(data_a, a).image.shape[:2], decode(data_b, b).image.shape[:2]
    if size_a != size_b:
        raise UserError(f"{a} is {_shown(size_a)} but {b} is {_shown(size_b)}: sources must be of one size")
    return Pair(name, str(a), str(b), size_a[0], size_a[1], hashlib.sha256(data_a + data_b).hexdigest())


def match_fused(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Name → fused picture; the folder has just those of the sources.

    Raises:
        UserError: there is no such folder, a fused picture has no sources, or sources have no fused picture.
    """
    found = pictures_in("--fused", folder.expanduser())
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
    """Name → true image; the folder may have more than those of the sources.

    Raises:
        UserError: there is no such folder, or a picture has no true image.
    """
    found = pictures_in("--reference", folder.expanduser())
    missing = sorted(set(names) - found.keys())
    if missing:
        raise UserError(f"--reference {folder}: these pictures have no true image of the same stem: {_listed(missing)}")
    return {name: str(found[name].absolute()) for name in names}


def check_fit(pictures: Sequence[Picture], need: Need | None, *, crop: bool, tell: Tell | None = None) -> int:
    """Decode every fused picture and true image once, so that nothing is at fault after an hour of work.

    Args:
        pictures: with sources that have been checked.
        need: of the metrics that will be computed; None where those that need more are left out.
        crop: whether sizes may differ as far as ``align`` mends it.

    Returns:
        The smallest side that is there to score, in pixels.

    Raises:
        UserError: a file cannot be read, its size is not that of its sources, or a picture is too small.
    """
    return min(_each(partial(_check, need=need, crop=crop), pictures, tell))


def _check(picture: Picture, need: Need | None, crop: bool) -> int:
    pair = picture.pair
    sources = (pair.height, pair.width)
    sizes = [sources]
    for file in picture.fused.values():
        size = read_image(Path(file)).shape[:2]
        cropped = what_to_crop(size, sources)
        if cropped is None or (cropped != "nothing" and not crop):
            limit = f"--align crop takes off at most {MOST_PIXELS} pixels, of one of the two"
            advice = f"give pictures of one size ({limit})" if cropped is None else "--align crop scores what both show"
            raise UserError(f"{file} is {_shown(size)} but its source {pair.a} is {_shown(sources)}: {advice}")
        sizes.append(size)
    if picture.reference is not None:
        size = read_image(Path(picture.reference)).shape[:2]
        if size != sources:
            raise UserError(
                f"--reference: {picture.reference} is {_shown(size)} but the source {pair.a} is {_shown(sources)}: "
                "true images must be of the sources' size"
            )
    scored = min(min(size) for size in sizes)
    if need is not None and scored < need.side:
        raise UserError(
            f"{pair.a}: only {scored} pixels of a side are there to score, but {need.metric} needs at least "
            f"{need.side}: leave out the picture or the metric"
        )
    return scored


def _each(work: Callable[[T], R], items: Sequence[T], tell: Tell | None) -> Iterator[R]:
    """The results in the order of the items, several at a time; what fails first in that order is raised."""
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        try:
            for done, result in enumerate(pool.map(work, items), start=1):
                if tell is not None:
                    tell(done, len(items))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


def _listed(items: Sequence[str], separator: str = ", ") -> str:
    more = len(items) - _MOST_LISTED
    return separator.join(items[:_MOST_LISTED]) + (f" … and {more} more" if more > 0 else "")


def _shown(size: Size) -> str:
    return f"{size[1]}×{size[0]}"
