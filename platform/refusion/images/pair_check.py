"""The one check of pairs, which every job runs before the first picture is trained on, fused or scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from refusion.config.ranges import Reading
from refusion.errors import UserError
from refusion.images.formats import IMAGE_SUFFIXES, stem_of
from refusion.images.layouts import ALL, arrange
from refusion.images.pairs import Checked, Matched, Pair, Problem, image_files, match_sides
from refusion.images.stacks.groups import NEARLY_CONSTANT, OnProgress, Sides, check_groups

__all__ = ["NEARLY_CONSTANT", "OnProgress", "check_matched", "check_sources", "find_and_check"]


def find_and_check(
    root: Path,
    task: str,
    split: str,
    *,
    reading: Reading | None = None,
    progress: OnProgress | None = None,
    threads: int | None = None,
) -> Checked:
    """Pairs ROOT/TASK/SPLIT/a/* with b/* by equal stems (suffixes may differ) and decodes every file in full.

    Other folders are read by the layouts that `refusion.images.layouts` knows, or that ``reading`` describes; a note
    says what was taken as a, b and split then.

    A problem is: no partner, two files of one stem in a folder, a file that is not a readable image (damaged,
    truncated, of an unsupported kind, too large, no regular file, NaN), sizes or EXIF orientations that differ, both
    files the same file or picture, values without an agreed range. Hidden files and folders are passed over; files with
    another suffix too, which a note names.

    Args:
        root: the data set's folder.
        task, split: names of its sub-folders.
        reading: ranges and limits; None for the defaults.
        progress: called in this thread with (pairs checked, pairs in all).
        threads: number of pairs that are decoded at once; None for one per core, at most 8.

    Raises:
        UserError: a folder is missing, or there is no image in it.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from refusion.images.writing import write_image
        >>> root = Path(tempfile.mkdtemp())
        >>> for grey, side in ((0, "a"), (90, "b")):
        ...     (root / "MIF" / "val" / side).mkdir(parents=True)
        ...     write_image(root / "MIF" / "val" / side / "head.png", np.full((8, 6), grey, np.uint8))
        >>> checked = find_and_check(root, "MIF", "val")
        >>> [(pair.name, pair.height, pair.width) for pair in checked.pairs], checked.problems
        ([('head', 8, 6)], [])
    """
    folder = root / task / split
    how = reading or Reading()
    own = how.arrangement.names is None and how.arrangement.division is None
    if root.is_dir() and not (own and ((folder / "a").is_dir() or (folder / "b").is_dir())):
        arranged = arrange(root, task, split, how.arrangement)
        if arranged is not None:
            said = [Problem(f"{task}/{split}", arranged.said, "layout")]
            return check_matched(
                arranged.matched, arranged.names, task, said, reading=reading, progress=progress, threads=threads
            )
    expected = (
        f"expected {root}/TASK/SPLIT/a and …/b with pictures of equal stems, names of a known data set, or what --map "
        "says"
    )
    for path in (root, folder.parent, folder, folder / "a", folder / "b"):
        if not path.is_dir():
            raise UserError(f"there is no folder {path}: {expected}")
    sides, notes = _listed_sides(folder / "a", folder / "b")
    for side, files in zip("ab", sides, strict=True):
        if not files:
            raise UserError(f"there is no image ({', '.join(IMAGE_SUFFIXES)}) in {folder / side}: {expected}")
    top = root.absolute()
    names = {file: file.relative_to(top).as_posix() for files in sides for file in files}
    matched = match_sides(*sides, f"{task}/{split}/a", f"{task}/{split}/b", names)
    return check_matched(matched, names, task, notes, reading=reading, progress=progress, threads=threads)


def check_sources(
    a: Path,
    b: Path,
    task: str,
    *,
    reading: Reading | None = None,
    progress: OnProgress | None = None,
    threads: int | None = None,
) -> Checked:
    """Checks two files, or all pairs of equal stems of two folders, as ``find_and_check`` does.

    Raises:
        UserError: one is missing, one is a file and the other a folder, both are one, or a folder has no image.
    """
    a, b = (path.expanduser().absolute() for path in (a, b))
    for option, path in (("--a", a), ("--b", b)):
        if not path.exists() and not path.is_symlink():
            raise UserError(f"{option} {path}: there is no such file or folder")
    if a.is_dir() != b.is_dir():
        raise UserError(f"--a {a} and --b {b}: give two files or two folders")
    if a.is_dir() and a.samefile(b):
        arrangement = reading.arrangement if reading is not None else None
        arranged = arrange(a, task, ALL, arrangement)
        if arranged is None:
            raise UserError(
                f"--a {a} and --b {b}: are one folder; a picture is never fused with itself, and these names do not "
                "tell a from b: give two folders, or name parts of names by --map a=…,b=…"
            )
        of_one = [Problem(str(a), arranged.said, "layout")]
        return check_matched(
            arranged.matched, arranged.names, task, of_one, reading=reading, progress=progress, threads=threads
        )
    names = {a: str(a), b: str(b)}
    matched = Matched([(stem_of(a), a, b)], [])
    notes: list[Problem] = []
    if a.is_dir():
        sides, notes = _listed_sides(a, b)
        for option, folder, files in zip(("--a", "--b"), (a, b), sides, strict=True):
            if not files:
                raise UserError(f"{option} {folder}: there is no picture ({', '.join(IMAGE_SUFFIXES)}) in it")
        names = {file: str(file) for files in sides for file in files}
        matched = match_sides(*sides, str(a), str(b), names)
    return check_matched(matched, names, task, notes, reading=reading, progress=progress, threads=threads)


def check_matched(
    matched: Matched,
    names: Mapping[Path, str],
    task: str,
    notes: Sequence[Problem] = (),
    *,
    reading: Reading | None = None,
    progress: OnProgress | None = None,
    threads: int | None = None,
) -> Checked:
    """Decodes and checks pairs that have been matched, whoever matched them.

    Args:
        matched: (name, file a, file b) with absolute paths, and the problems that matching found.
        names: each file as problems name it.
        task: its rule says of which pictures an automatic range is taken.
        notes: to begin with.
        reading, progress, threads: as for ``find_and_check``.
    """
    how = reading or Reading()
    sides = Sides("ab", [how.ranges.of(side) for side in "ab"])
    groups = [(name, (file_a, file_b)) for name, file_a, file_b in matched.pairs]
    checked = check_groups(groups, names, task, how, sides, progress, threads)
    pairs = []
    for one in checked.groups:
        a, b = one.sources
        size = a.facts.height, a.facts.width
        pairs.append(Pair(one.name, str(a.file), str(b.file), *size, one.digest, *one.extents))
    problems = sorted([*matched.problems, *checked.problems], key=lambda problem: (problem.file, problem.what))
    return Checked(pairs, problems, [*notes, *checked.notes], checked.facts)


def _listed_sides(a: Path, b: Path) -> tuple[tuple[list[Path], list[Path]], list[Problem]]:
    (files_a, note_a), (files_b, note_b) = image_files(a), image_files(b)
    return (files_a, files_b), [note for note in (note_a, note_b) if note is not None]
