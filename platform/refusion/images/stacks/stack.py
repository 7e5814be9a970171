"""Stacks of files: which belong together, and their check, by the rules of pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refusion.config.ranges import Reading
from refusion.errors import UserError
from refusion.images.formats import IMAGE_SUFFIXES, stem_of
from refusion.images.pairs import Checked, Problem, SourceFacts, bad_pairs_error, check_lines, image_files
from refusion.images.ranges import Extent
from refusion.images.reading import read_source
from refusion.images.stacks.groups import OnProgress, Sides, check_groups

_OPTION = "--sources"


@dataclass(frozen=True)
class Stack:
    """Registered sources of one scene.

    Attributes:
        name: the files' stem, in Unicode's composed form.
        files: absolute paths, in the order in which the sources were named.
        height, width: in pixels, upright.
        digest: SHA-256 of the bytes of all files, in their order, hexadecimal.
        ranges: values of each source that become 0 and 255; None where they are those of the file's depth.
    """

    name: str
    files: tuple[Path, ...]
    height: int
    width: int
    digest: str
    ranges: tuple[Extent | None, ...]

    def read(self, index: int) -> NDArray[np.float32]:
        """Returns one source's grey levels, (H, W) or (H, W, 3), float32 in 0–255.

        Raises:
            UserError: the file can no longer be read, or has another size than when it was checked.
        """
        return read_source(self.files[index], self.ranges[index], (self.height, self.width))


class CheckedStacks(NamedTuple):
    """The outcome of the check of stacks: as ``Checked``, of stacks."""

    stacks: list[Stack]
    problems: list[Problem]
    notes: list[Problem]
    facts: Mapping[str, SourceFacts]

    def good(self, *, skip_bad: bool) -> list[Stack]:
        """Returns the stacks to work on.

        Raises:
            UserError: there are problems, all of which it lists, or no good stack is left.
        """
        if self.problems and not (skip_bad and self.stacks):
            error = bad_pairs_error(self.problems)
            raise UserError(f"no good stack is left; {error}") if skip_bad else error
        return self.stacks

    def lines(self) -> list[str]:
        """Returns all that is to be said of stacks that are worked on: notes, and which files are left out."""
        return check_lines(Checked([], self.problems, self.notes, self.facts))


def check_stacks(
    sources: Sequence[Path],
    task: str,
    *,
    reading: Reading | None = None,
    progress: OnProgress | None = None,
    threads: int | None = None,
) -> CheckedStacks:
    """Checks files of one scene, or all stacks of equal stems of as many folders, by the rules of pairs.

    Any two sources of a stack are compared as a and b of a pair are: size, orientation, the same file or picture.

    Args:
        sources: files, or folders; two or more.
        task: its rule says of which pictures an automatic range is taken: of MEIF and MFIF the whole stack's.
        reading: limits, and one rule for the ranges of all sources.
        progress, threads: as for ``find_and_check``.

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
    stacks = []
    for one in checked.groups:
        facts = one.sources[0].facts
        of_stack = tuple(source.file for source in one.sources)
        stacks.append(Stack(one.name, of_stack, facts.height, facts.width, one.digest, one.extents))
    problems = sorted([*problems, *checked.problems], key=lambda problem: (problem.file, problem.what))
    return CheckedStacks(stacks, problems, [*notes, *checked.notes], checked.facts)


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
        for same in stems.values():
            if len(same) > 1:
                listed = ", ".join(file.name for file in same)
                what = f"shares its stem with other files of its folder: {listed}"
                problems.append(Problem(str(same[0]), what, "shared stem"))
    matched = []
    for stem in sorted({stem for stems in by_stem for stem in stems}):
        without = [folder for folder, stems in zip(folders, by_stem, strict=True) if stem not in stems]
        found = [stems[stem] for stems in by_stem if stem in stems]
        if without:
            what = f"has no partner in {', '.join(str(folder) for folder in without)}"
            problems.append(Problem(str(found[0][0]), what, "no partner"))
        elif all(len(same) == 1 for same in found):
            matched.append((stem, tuple(same[0] for same in found)))
    return matched, problems
