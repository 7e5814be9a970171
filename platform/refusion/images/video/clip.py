"""One video file that has been decoded once, to be checked, and is decoded again to be fused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refusion.config.ranges import RangeRule
from refusion.images.colour import luminance
from refusion.images.ranges import Extent, Extremes, joined, measure, to_grey_levels
from refusion.images.reading import UnreadableImageError
from refusion.images.video.reading import read_frames, read_header

OnFrames = Callable[[int, int | None], None]
Picture = NDArray[np.float32]

# Compression leaves traces of colour in a grey video.
_TRACES = 8.0
# Of two rates that are one, as 29.97 and 30000/1001.
_SAME_RATE = 1e-3
# Frames that a codec may hold back to store them in another order.
_REORDERED = 16


@dataclass(frozen=True)
class Clip:
    """A video that has been decoded once.

    Attributes:
        file: its path.
        size: height and width of every frame.
        rate: frames a second.
        count: frames that can be decoded.
        even: True where they are shown at equal intervals.
        coloured: True where a frame's channels are more than 8 of 255 grey levels apart.
        digest: equal for equal frames.
        extremes: of the values of all frames.
        extent: values that become 0 and 255; None where they are those of the file's depth.
    """

    file: Path
    size: tuple[int, int]
    rate: Fraction
    count: int
    even: bool
    coloured: bool
    digest: bytes
    extremes: Extremes
    extent: Extent | None = None

    def pictures(self, megapixels: float) -> Iterator[tuple[Picture, Fraction]]:
        """Yields each frame's grey levels, (H, W) or (H, W, 3) in 0–255, and seconds since the first one.

        Raises:
            UnreadableImageError: as ``read_frames``.
        """
        first: Fraction | None = None
        for samples, time in read_frames(self.file, megapixels):
            shown = time or Fraction(0)
            first = shown if first is None else first
            levels = to_grey_levels(samples, self.extent)
            if levels.ndim == 3 and not self.coloured:
                levels = luminance(levels) * np.float32(255)
            yield levels, shown - first


def mismatches(a: Clip, b: Clip) -> list[str]:
    """Returns why two videos are no pair, as sentences; other lengths are the caller's."""
    problems = []
    if a.file.samefile(b.file):
        return [f"{a.file}: both are the same file"]
    if a.digest == b.digest:
        return [f"{a.file}: both files are the same video (its partner is {b.file})"]
    if a.size != b.size:
        (height, width), (other_height, other_width) = a.size, b.size
        problems.append(f"{b.file}: sizes differ: {width}×{height} in a, {other_width}×{other_height} in b")
    if abs(a.rate / b.rate - 1) > _SAME_RATE:
        problems.append(f"{b.file}: frame rates differ: {float(a.rate):g} in a, {float(b.rate):g} in b")
    return problems


def decoded(file: Path, rule: RangeRule, megapixels: float, before: int, progress: OnFrames | None) -> Clip:
    """Decodes a whole video, a frame at a time.

    Args:
        file: its path.
        rule: of its range.
        megapixels: that a frame may have.
        before: frames that were counted in ``progress`` before.
        progress: called with the number of frames so far.

    Raises:
        UnreadableImageError: as ``read_frames``; or frames are missing, or the file names no rate.
    """
    rate, stated, seconds = read_header(file)
    digest = hashlib.blake2b()
    extremes: Extremes | None = None
    size, count, colour, regular = (0, 0), 0, 0.0, 0
    first = last = Fraction(0)
    for count, (samples, time) in enumerate(read_frames(file, megapixels), start=1):
        found = measure(samples, rule)
        extremes = found if extremes is None else joined([extremes, found])
        size = samples.values.shape[:2]
        digest.update(np.ascontiguousarray(samples.values).data.cast("B"))
        if samples.values.ndim == 3 and colour <= _TRACES:
            widest = np.ptp(samples.values.astype(np.float32), axis=2).max()
            colour = max(colour, float(widest) * 255 / (samples.full or (0, 255))[1])
        last = time or Fraction(0)
        first = last if count == 1 else first
        if rate is None or time is None:
            regular += 1
        else:
            at_its_time = abs((time - first) * rate - (count - 1)) < Fraction(1, 2)
            regular += at_its_time and regular == count - 1
        if progress is not None:
            progress(before + count, None)
    if rate is None:
        raise UnreadableImageError(file, "names no frame rate")
    if stated is not None and count < stated:
        raise UnreadableImageError(file, f"is damaged: only {count} of its {stated} frames can be decoded")
    end = max(last, last - first)
    # Where intervals differ, the last frame may be shown for long; they do at the end of a file that was cut off.
    cut = count - regular <= min(_REORDERED, count // 2)
    if cut and seconds is not None and end + 2 / rate < seconds:
        raise UnreadableImageError(file, f"is damaged: it ends at {float(end):.1f} of its {float(seconds):.1f} seconds")
    assert extremes is not None
    return Clip(file, (size[0], size[1]), rate, count, regular == count, colour > _TRACES, digest.digest(), extremes)
