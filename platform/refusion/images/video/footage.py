"""Footage: two videos, or two folders of frames, as pairs of frames in their order; and its check."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from refusion.config.ranges import Reading, SourceRanges
from refusion.errors import UserError
from refusion.images.pair_check import check_sources
from refusion.images.pairs import Checked, Pair, check_lines, good_pairs
from refusion.images.ranges import UnusableRangeError, find_extent, joined, scope_of
from refusion.images.reading import UnreadableImageError
from refusion.images.store import read_pair
from refusion.images.video.clip import Clip, OnFrames, Picture, decoded, mismatches
from refusion.images.video.reading import VIDEO_SUFFIXES

DEFAULT_RATE = Fraction(25)


class Footage(Protocol):
    """Pairs of registered frames.

    Attributes:
        size: height and width of every frame.
        rate: frames a second.
        count: number of frames.
        even: True where frames are shown at equal intervals.
        coloured: True where a frame may have colour.
        notes: what is to be said of it.
    """

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def rate(self) -> Fraction: ...
    @property
    def count(self) -> int: ...
    @property
    def even(self) -> bool: ...
    @property
    def coloured(self) -> bool: ...
    @property
    def notes(self) -> Sequence[str]: ...

    def frames(self) -> Iterator[tuple[Picture, Picture, Fraction | None]]:
        """Yields grey levels of a and b, 0–255, and when they are shown, in seconds; None for equal intervals."""
        ...


@dataclass(frozen=True)
class VideoFootage:
    """Two videos, frame by frame."""

    a: Clip
    b: Clip
    count: int
    megapixels: float
    notes: Sequence[str] = ()

    @property
    def size(self) -> tuple[int, int]:
        return self.a.size

    @property
    def rate(self) -> Fraction:
        return self.a.rate

    @property
    def even(self) -> bool:
        return self.a.even

    @property
    def coloured(self) -> bool:
        return self.a.coloured or self.b.coloured

    def frames(self) -> Iterator[tuple[Picture, Picture, Fraction | None]]:
        both = zip(self.a.pictures(self.megapixels), self.b.pictures(self.megapixels), strict=False)
        for number, ((a, time), (b, _)) in enumerate(both):
            if number == self.count:
                return
            yield a, b, None if self.even else time


@dataclass(frozen=True)
class FolderFootage:
    """Two folders of frames, in the order of their names, numbers as numbers."""

    pairs: Sequence[Pair]
    rate: Fraction
    coloured: bool
    notes: Sequence[str] = ()
    even: bool = True

    @property
    def size(self) -> tuple[int, int]:
        return self.pairs[0].height, self.pairs[0].width

    @property
    def count(self) -> int:
        return len(self.pairs)

    def frames(self) -> Iterator[tuple[Picture, Picture, Fraction | None]]:
        for pair in self.pairs:
            a, b = read_pair(pair)
            yield a, b, None


def is_video(path: Path) -> bool:
    """Returns True for a file with a video's suffix, which need not exist.

    >>> is_video(Path("ir.MP4")), is_video(Path("ir.png"))
    (True, False)
    """
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()


def check_footage(
    a: Path,
    b: Path,
    task: str,
    reading: Reading,
    *,
    rate: Fraction | None = None,
    skip_bad: bool = False,
    progress: OnFrames | None = None,
) -> Footage:
    """Checks two videos, or two folders of frames, before the first frame is fused; each file is decoded in full.

    The range of a source is one for all of its frames, so that nothing flickers; a rule that says @picture, of frames
    in folders, is obeyed. A grey video stays grey whatever traces of colour compression left.

    Args:
        a, b: two videos or two folders.
        task: of MEIF and MFIF both sources share an automatic range.
        reading: ranges and limits.
        rate: frames a second, of folders; None for 25.
        skip_bad: pairs of frames that are bad are left out; of videos of different length the frames that both have
            are taken.
        progress: called with the number of frames that were checked, and of all where it is known.

    Raises:
        UserError: there are problems, all of which it lists; or the request is at fault.
    """
    videos = [is_video(path) for path in (a, b)]
    if all(videos):
        if rate is not None:
            raise UserError("--fps goes with folders of frames; a video has its own rate, which is kept")
        return _check_videos(a, b, task, reading, skip_bad=skip_bad, progress=progress)
    if any(videos) or not (a.is_dir() and b.is_dir()):
        raise UserError(f"--a {a} and --b {b}: give two videos or two folders of frames")
    return _check_folders(a, b, task, reading, rate or DEFAULT_RATE, skip_bad=skip_bad, progress=progress)


def _check_folders(
    a: Path, b: Path, task: str, reading: Reading, rate: Fraction, *, skip_bad: bool, progress: OnFrames | None
) -> Footage:
    ranges = SourceRanges(
        *(replace(rule, scope=rule.scope or "folder") for rule in (reading.ranges.a, reading.ranges.b))
    )
    checked = check_sources(a, b, task, reading=replace(reading, ranges=ranges), progress=progress)
    pairs = sorted(good_pairs(checked, skip_bad=skip_bad), key=lambda pair: _natural(pair.name))
    sizes = {(pair.height, pair.width): pair for pair in pairs[::-1]}
    if len(sizes) > 1:
        listed = "\n".join(f"  {pair.a}: is {width}×{height}" for (height, width), pair in sizes.items())
        raise UserError(f"frames of a video have one size, but these have {len(sizes)}\n{listed}")
    if _shared(reading.ranges, task):
        pairs = _with_one_range(pairs)
    coloured = any(checked.facts[file].channels == 3 for pair in pairs for file in pair.files)
    notes = check_lines(Checked([], checked.problems, checked.notes, checked.facts))
    return FolderFootage(pairs, rate, coloured, notes)


def _shared(ranges: SourceRanges, task: str) -> bool:
    return scope_of(ranges.a, task) == "pair" and scope_of(ranges.b, task) == "pair"


def _with_one_range(pairs: Sequence[Pair]) -> list[Pair]:
    """Returns pairs whose sources share the range that holds all of theirs; none where one has its depth's."""
    extents = [extent for pair in pairs for extent in pair.ranges]
    known = [extent for extent in extents if extent is not None]
    one = (min(low for low, _ in known), max(high for _, high in known)) if len(known) == len(extents) else None
    return [replace(pair, range_a=one, range_b=one) for pair in pairs]


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns the key that puts frame 2 before frame 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _check_videos(
    a: Path, b: Path, task: str, reading: Reading, *, skip_bad: bool, progress: OnFrames | None
) -> Footage:
    problems: list[str] = []
    clips: list[Clip] = []
    done = 0
    for file, side in ((a, "a"), (b, "b")):
        try:
            clip = decoded(file, reading.ranges.of(side), reading.megapixels, done, progress)
        except UnreadableImageError as error:
            problems.append(str(error))
        else:
            clips.append(clip)
            done += clip.count
    count = min((clip.count for clip in clips), default=0)
    notes: list[str] = []
    if len(clips) == 2:
        first, second = clips
        problems += mismatches(first, second)
        if first.count != second.count:
            what = f"frame counts differ: {first.count} in a, {second.count} in b"
            if skip_bad:
                notes.append(f"{b}: {what}; the first {count} of both are fused")
            else:
                problems.append(f"{b}: {what}; cut the longer one, or fuse the first {count} by --skip-bad-pairs")
        both = joined([clip.extremes for clip in clips])
        for number, (clip, side) in enumerate(zip(clips, "ab", strict=True)):
            rule = reading.ranges.of(side)
            together = both if scope_of(rule, task) == "pair" else clip.extremes
            try:
                extent = find_extent(rule, clip.extremes, together)
            except UnusableRangeError as error:
                problems.append(f"{clip.file}: {error}")
                continue
            clips[number] = replace(clip, extent=extent)
            if extent is not None:
                notes.append(f"{clip.file}: values {extent[0]:g} to {extent[1]:g} become 0 to 255, in all frames")
    if problems:
        raise UserError("\n".join(["these videos cannot be fused:", *(f"  {problem}" for problem in problems)]))
    return VideoFootage(clips[0], clips[1], count, reading.megapixels, notes)
