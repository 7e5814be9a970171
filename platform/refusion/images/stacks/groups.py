"""The check of sources that belong together, two or more, for pairs and stacks alike."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from refusion.config.ranges import RangeRule, Reading
from refusion.images.colour import has_colour, row_slices
from refusion.images.formats import Samples
from refusion.images.limits import Allowance, declared_pixels
from refusion.images.pairs import Problem, SourceFacts
from refusion.images.ranges import Extent, Extremes, UnusableRangeError, find_extent, joined, measure, scope_of
from refusion.images.reading import UnreadableImageError, decode, read_bytes

OnProgress = Callable[[int, int], None]

# A source that spans no more than this many of 255 grey levels shows nothing.
NEARLY_CONSTANT = 8.0
_MOST_THREADS = 8
# About ten bytes for each while it is decoded.
_AT_ONCE = Allowance(50_000_000)


class Sides(NamedTuple):
    """The places of the sources: their names in sentences, and the rule of each one's range."""

    titles: Sequence[str]
    rules: Sequence[RangeRule]


@dataclass(frozen=True)
class Source:
    """A readable source; ``pixels`` is equal for equal pictures."""

    file: Path
    facts: SourceFacts
    extremes: Extremes
    remarks: tuple[str, ...]
    orientation: int
    pixels: bytes


@dataclass(frozen=True)
class Group:
    """Sources of one scene, as many as could be read, and why they are none of one scene.

    Attributes:
        name: of the scene.
        sources: in their order.
        digest: SHA-256 of the bytes of all files, in their order, hexadecimal.
        problems: of the files.
        extents: black and white of each source, once they are found.
    """

    name: str
    sources: tuple[Source, ...]
    digest: str
    problems: list[Problem]
    extents: tuple[Extent | None, ...] = ()


class CheckedGroups(NamedTuple):
    """The good groups by name, the problems of the others by file, notes, and facts by absolute path."""

    groups: list[Group]
    problems: list[Problem]
    notes: list[Problem]
    facts: Mapping[str, SourceFacts]


def check_groups(
    matched: Sequence[tuple[str, Sequence[Path]]],
    names: Mapping[Path, str],
    task: str,
    how: Reading,
    sides: Sides,
    progress: OnProgress | None = None,
    threads: int | None = None,
) -> CheckedGroups:
    """Decodes and checks sources that have been matched, whoever matched them.

    Args:
        matched: name and files of each group, absolute paths, as many as there are ``sides``.
        names: each file as problems name it.
        task: its rule says of which pictures an automatic range is taken.
        how, progress, threads: as for ``find_and_check``.
        sides: the places of the sources.
    """
    decoded = []
    with ThreadPoolExecutor(threads or min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        checks = [pool.submit(_decode_group, name, files, names, how, sides) for name, files in matched]
        for done, check in enumerate(as_completed(checks), start=1):
            decoded.append(check.result())
            if progress is not None:
                progress(done, len(checks))
    decoded.sort(key=lambda one: one.name)
    facts = {str(source.file): source.facts for one in decoded for source in one.sources}
    problems = [problem for one in decoded for problem in one.problems]
    good = [one for one in decoded if not one.problems]
    of_folder = (
        [joined([one.sources[side].extremes for one in good]) for side in range(len(sides.rules))] if good else []
    )
    groups, notes = [], []
    for one in good:
        extents: list[Extent | None] = []
        of_group: list[Problem] = []
        of_all = joined([source.extremes for source in one.sources])
        for source, rule, of_side in zip(one.sources, sides.rules, of_folder, strict=True):
            together = {"picture": source.extremes, "folder": of_side}.get(scope_of(rule, task), of_all)
            try:
                extent = find_extent(rule, source.extremes, together)
            except UnusableRangeError as error:
                of_group.append(
                    Problem(
                        names[source.file], str(error), "range", pair_of(one.name, [each.file for each in one.sources])
                    )
                )
                continue
            extents.append(extent)
            notes += _notes_on(source, extent, rule, names[source.file])
        problems += of_group
        if not of_group:
            groups.append(Group(one.name, one.sources, one.digest, [], tuple(extents)))
    return CheckedGroups(groups, sorted(problems, key=lambda problem: (problem.file, problem.what)), notes, facts)


def pair_of(name: str, files: Sequence[Path]) -> tuple[str, str, str]:
    """Returns a group's name and files as a problem tells them: the first, and the others joined like a PATH."""
    return name, str(files[0]), os.pathsep.join(map(str, files[1:]))


def _decode_group(name: str, files: Sequence[Path], names: Mapping[Path, str], how: Reading, sides: Sides) -> Group:
    problems: list[Problem] = []
    pair = pair_of(name, files)
    sources: list[Source] = []
    digest = hashlib.sha256()
    for file, rule in zip(files, sides.rules, strict=True):
        try:
            data = read_bytes(file, how.megapixels)
            with _AT_ONCE.taken(declared_pixels(data)):
                sources.append(_source_of(decode(data, file, how.megapixels), file, rule))
        except UnreadableImageError as error:
            problems.append(Problem(names[file], error.what, pair=pair))
        else:
            digest.update(data)
    if not problems:
        for (first, a), (second, b) in combinations(zip(sides.titles, sources, strict=True), 2):
            found = _mismatch(a, b, first, second)
            if found is not None:
                what = f"{found.what} (its partner is {names[b.file]})"
                problems.append(Problem(names[a.file], what, found.kind, pair))
    return Group(name, tuple(sources), digest.hexdigest(), problems)


def _source_of(samples: Samples, file: Path, rule: RangeRule) -> Source:
    extremes = measure(samples, rule)
    height, width = samples.values.shape[:2]
    channels = samples.values.shape[2] if samples.values.ndim == 3 else 1
    facts = SourceFacts(samples.about, height, width, channels, extremes.least, extremes.greatest)
    return Source(file, facts, extremes, samples.remarks, samples.orientation, _pixels(samples))


def _mismatch(a: Source, b: Source, first: str, second: str) -> Problem | None:
    if a.orientation != b.orientation:
        what = f"EXIF orientations differ: {a.orientation} in {first}, {b.orientation} in {second}; save both upright"
        return Problem("", what, "orientation")
    of_a, of_b = a.facts, b.facts
    if (of_a.height, of_a.width) != (of_b.height, of_b.width):
        what = f"sizes differ: {of_a.width}×{of_a.height} in {first}, {of_b.width}×{of_b.height} in {second}"
        return Problem("", what, "size")
    if a.file.samefile(b.file):
        return Problem("", "both are the same file", "same file")
    if a.pixels == b.pixels:
        return Problem("", "both files are the same picture", "same picture")
    return None


def _pixels(samples: Samples) -> bytes:
    """Returns a digest that is equal for equal pixels; a grey file equals an RGB file whose channels all hold it."""
    values = samples.values if has_colour(samples.values) or samples.values.ndim == 2 else samples.values[..., 0]
    as_floats = values.dtype.kind in "fi" or values.dtype.itemsize > 2
    digest = hashlib.blake2b(f"{samples.full} {values.shape} {'f' if as_floats else values.dtype.kind}".encode())
    for rows in row_slices(values.shape):
        some = values[rows].astype("<f8") if as_floats else values[rows]
        digest.update(np.ascontiguousarray(some).data.cast("B"))
    return digest.digest()


def _notes_on(source: Source, extent: Extent | None, rule: RangeRule, name: str) -> list[Problem]:
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
