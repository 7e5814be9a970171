"""The one check of pairs, which every job runs before the first picture is trained on, fused or scored."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from refusion.config.ranges import RangeRule, Reading
from refusion.errors import UserError
from refusion.images.formats import IMAGE_SUFFIXES, Samples, stem_of
from refusion.images.layouts import ALL, arrange
from refusion.images.pairs import Checked, Matched, Pair, Problem, SourceFacts, image_files, match_sides
from refusion.images.ranges import Extent, Extremes, UnusableRangeError, find_extent, joined, measure, scope_of
from refusion.images.reading import UnreadableImageError, decode, read_bytes

OnProgress = Callable[[int, int], None]

# A source that spans no more than this many of 255 grey levels shows nothing.
NEARLY_CONSTANT = 8.0
_MOST_THREADS = 8


@dataclass(frozen=True)
class _Source:
    """A readable source of a pair."""

    file: Path
    facts: SourceFacts
    extremes: Extremes
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Decoded:
    """Both sources of a pair, or why it is none."""

    name: str
    sources: tuple[_Source, ...]
    digest: str
    problems: list[Problem]


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
    problems, decoded = list(matched.problems), []
    with ThreadPoolExecutor(threads or min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        checks = [pool.submit(_decode_pair, *files, names, how) for files in matched.pairs]
        for done, check in enumerate(as_completed(checks), start=1):
            decoded.append(check.result())
            if progress is not None:
                progress(done, len(checks))
    decoded.sort(key=lambda one: one.name)
    facts = {str(source.file): source.facts for one in decoded for source in one.sources}
    problems += [problem for one in decoded for problem in one.problems]
    good = [one for one in decoded if not one.problems]
    pairs, found = [], list(notes)
    of_folder = [joined([one.sources[side].extremes for one in good]) for side in (0, 1)] if good else []
    for one in good:
        extents: list[Extent | None] = []
        of_pair: list[Problem] = []
        for side, source in enumerate(one.sources):
            rule = how.ranges.of("ab"[side])
            scope = scope_of(rule, task)
            together = {"picture": source.extremes, "folder": of_folder[side]}.get(scope)
            if together is None:
                together = joined([other.extremes for other in one.sources])
            try:
                extent = find_extent(rule, source.extremes, together)
            except UnusableRangeError as error:
                a, b = (str(each.file) for each in one.sources)
                of_pair.append(Problem(names[source.file], str(error), "range", (one.name, a, b)))
                continue
            extents.append(extent)
            found += _notes_on(source, extent, rule, names[source.file])
        problems += of_pair
        if not of_pair:
            first, second = one.sources
            size = first.facts.height, first.facts.width
            pairs.append(Pair(one.name, str(first.file), str(second.file), *size, one.digest, *extents))
    return Checked(pairs, sorted(problems, key=lambda problem: (problem.file, problem.what)), found, facts)


def _listed_sides(a: Path, b: Path) -> tuple[tuple[list[Path], list[Path]], list[Problem]]:
    (files_a, note_a), (files_b, note_b) = image_files(a), image_files(b)
    return (files_a, files_b), [note for note in (note_a, note_b) if note is not None]


def _decode_pair(name: str, a: Path, b: Path, names: Mapping[Path, str], how: Reading) -> _Decoded:
    problems: list[Problem] = []
    pair = name, str(a), str(b)
    sources: list[_Source] = []
    samples: list[Samples] = []
    digest = hashlib.sha256()
    for side, file in zip("ab", (a, b), strict=True):
        try:
            data = read_bytes(file, how.megapixels)
            one = decode(data, file, how.megapixels)
        except UnreadableImageError as error:
            problems.append(Problem(names[file], error.what, pair=pair))
        else:
            digest.update(data)
            samples.append(one)
            extremes = measure(one, how.ranges.of(side))
            height, width = one.values.shape[:2]
            channels = one.values.shape[2] if one.values.ndim == 3 else 1
            facts = SourceFacts(one.about, height, width, channels, extremes.least, extremes.greatest)
            sources.append(_Source(file, facts, extremes, one.remarks))
    if not problems:
        found = _mismatch(a, b, *samples)
        if found is not None:
            problems.append(Problem(names[a], f"{found.what} (its partner is {names[b]})", found.kind, pair))
    return _Decoded(name, tuple(sources), digest.hexdigest(), problems)


def _mismatch(file_a: Path, file_b: Path, a: Samples, b: Samples) -> Problem | None:
    (height_a, width_a), (height_b, width_b) = a.values.shape[:2], b.values.shape[:2]
    if a.orientation != b.orientation:
        what = f"EXIF orientations differ: {a.orientation} in a, {b.orientation} in b; save both upright"
        return Problem("", what, "orientation")
    if (height_a, width_a) != (height_b, width_b):
        return Problem("", f"sizes differ: {width_a}×{height_a} in a, {width_b}×{height_b} in b", "size")
    if file_a.samefile(file_b):
        return Problem("", "both are the same file", "same file")
    if _same_picture(a, b):
        return Problem("", "both files are the same picture", "same picture")
    return None


def _same_picture(a: Samples, b: Samples) -> bool:
    """Returns True for equal pixels; a grey file also equals an RGB file whose channels all hold it."""
    if a.full != b.full:
        return False
    first, second = _bands(a.values, b.values.ndim), _bands(b.values, a.values.ndim)
    return bool((first == second).all())


def _bands(values: NDArray[Any], other_dimensions: int) -> NDArray[Any]:
    return values[..., None] if values.ndim == 2 and other_dimensions == 3 else values


def _notes_on(source: _Source, extent: Extent | None, rule: RangeRule, name: str) -> list[Problem]:
    """Returns the notes on one source: its decoder's remarks, a range that is not its depth's, too narrow values."""
    notes = [Problem(name, remark, "remark") for remark in source.remarks]
    extremes = source.extremes
    if extent is not None:
        why = "by --range" if rule.kind != "auto" else f"it is {source.facts.about}; --range says otherwise"
        notes.append(Problem(name, f"values {extent[0]:g} to {extent[1]:g} become 0 to 255 ({why})", "range"))
    low, high = extent or extremes.full or (extremes.least, extremes.greatest)
    span = (min(extremes.greatest, high) - max(extremes.least, low)) / (high - low) * 255 if high > low else 0.0
    if span <= NEARLY_CONSTANT:
        what = f"is nearly constant: its values span {max(span, 0.0):.2g} of 255 grey levels"
        notes.append(Problem(name, what, "nearly constant"))
    return notes
