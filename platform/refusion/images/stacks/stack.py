"""Stacks of files: which belong together, and their check, by the rules of pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refusion.config.ranges import Reading
from refusion.errors import UserError
from refusion.images.formats import IMAGE_SUFFIXES, stem_of
from refusion.images.pairs import Checked, Pair, Problem, image_files
from refusion.images.ranges import Extent
from refusion.images.reading import read_source
from refusion.images.stacks.groups import OnProgress, Sides, check_groups, pair_of

_OPTION = "--sources"


@dataclass(frozen=True)
class Stack(Pair):
    """Registered sources of one scene, two as a pair has them and more.

    Attributes:
        more: absolute paths of those behind a and b, in the order in which the sources were named.
        more_ranges: as ``range_a``, of each of those.
    """

    more: tuple[str, ...] = ()
    more_ranges: tuple[Extent | None, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all sources."""
        return self.a, self.b, *self.more

    @property
    def ranges(self) -> tuple[Extent | None, ...]:
        """Ranges of all sources."""
        return self.range_a, self.range_b, *self.more_ranges

    def read(self) -> Iterator[NDArray[np.float32]]:
        """Yields each source's grey levels, (H, W) or (H, W, 3), float32 in 0–255.

        Raises:
            UserError: a file can no longer be read, or has another size than when it was checked.
        """
        for file, extent in zip(self.files, self.ranges, strict=True):
            yield read_source(Path(file), extent, (self.height, self.width))


def check_stacks(
    sources: Sequence[Path],
    task: str,
    *,
    reading: Reading | None = None,
    progress: OnProgress | None = None,
    threads: int | None = None,
) -> Checked:
    """Checks files of one scene, or all stacks of equal stems of as many folders, by the rules of pairs.

    Any two sources of a stack are compared as a and b of a pair are: size, orientation, the same file or picture.

    Args:
        sources: files, or folders; two or more.
        task: its rule says of which pictures an automatic range is taken: of MEIF and MFIF the whole stack's.
        reading: limits, and one rule for the ranges of all sources.
        progress, threads: as for ``find_and_check``.

    Returns:
        As for pairs; ``pairs`` are stacks.

    Raises:
        UserError: a source is missing or named twice, files and folders are mixed, a folder has no picture, or sources
            are to have ranges of their own.
    """
    how = reading or Reading()
    if how.ranges.a != how.ranges.b:
        raise UserError(f"--range a=… b=…: is of two sources; with {_OPTION} give one rule for all")
    paths = [path.expanduser().absolute() for path in sources]
    for path in paths:
        if not path.exists() and not path.is_symlink():
            raise UserError(f"{_OPTION} {path}: there is no such file or folder")
    folders = [path for path in paths if path.is_dir()]
    if folders and len(folders) < len(paths):
        raise UserError(f"{_OPTION} {folders[0]}: is a folder; give files alone, or folders alone")
    for number, folder in enumerate(folders):
        if any(folder.samefile(other) for other in folders[:number]):
            raise UserError(f"{_OPTION} {folder}: is named twice; a picture is never fused with itself")
    names = {path: str(path) for path in paths}
    matched: list[tuple[str, tuple[Path, ...]]] = [(stem_of(paths[0]), tuple(paths))]
    problems: list[Problem] = []
    notes: list[Problem] = []
    if folders:
        listed = [image_files(folder) for folder in folders]
        notes = [note for _, note in listed if note is not None]
        for folder, (files, _) in zip(folders, listed, strict=True):
            if not files:
                raise UserError(f"{_OPTION} {folder}: there is no picture ({', '.join(IMAGE_SUFFIXES)}) in it")
        names = {file: str(file) for files, _ in listed for file in files}
        matched, problems = _matched(folders, [files for files, _ in listed])
    sides = Sides([f"source {number}" for number in range(1, len(paths) + 1)], [how.ranges.a] * len(paths))
    checked = check_groups(matched, names, task, how, sides, progress, threads)
    stacks: list[Pair] = []
    for one in checked.groups:
        size = one.sources[0].facts.height, one.sources[0].facts.width
        a, b, *more = (str(source.file) for source in one.sources)
        range_a, range_b, *ranges = one.extents
        stacks.append(Stack(one.name, a, b, *size, one.digest, range_a, range_b, tuple(more), tuple(ranges)))
    problems = sorted([*problems, *checked.problems], key=lambda problem: (problem.file, problem.what))
    return Checked(stacks, problems, [*notes, *checked.notes], checked.facts)


def _matched(
    folders: Sequence[Path], files: Sequence[Sequence[Path]]
) -> tuple[list[tuple[str, tuple[Path, ...]]], list[Problem]]:
    """Returns files of equal stems, one of each folder, and the problems of the others."""
    by_stem: list[dict[str, list[Path]]] = []
    problems: list[Problem] = []
    for of_folder in files:
        stems: dict[str, list[Path]] = defaultdict(list)
        for file in of_folder:
            stems[stem_of(file)].append(file)
        by_stem.append(stems)
        for stem, same in stems.items():
            if len(same) > 1:
                listed = ", ".join(file.name for file in same)
                what = f"shares its stem with other files of its folder: {listed}"
                problems.append(Problem(str(same[0]), what, "shared stem", pair_of(stem, same[:1])))
    matched = []
    for stem in sorted({stem for stems in by_stem for stem in stems}):
        without = [folder for folder, stems in zip(folders, by_stem, strict=True) if stem not in stems]
        found = [stems[stem] for stems in by_stem if stem in stems]
        if without:
            what = f"has no partner in {', '.join(str(folder) for folder in without)}"
            pair = pair_of(stem, [same[0] for same in found])
            problems.append(Problem(str(found[0][0]), what, "no partner", pair))
        elif all(len(same) == 1 for same in found):
            matched.append((stem, tuple(same[0] for same in found)))
    return matched, problems
