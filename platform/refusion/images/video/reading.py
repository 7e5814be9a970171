"""Frames of a video file, one at a time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refusion.config.ranges import DEFAULT_MEGAPIXELS
from refusion.images.formats import Samples
from refusion.images.limits import UnreadableImageError, check_pixels

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts")
_QUARTER_TURN = 90


class Frame(NamedTuple):
    """One frame: its values, upright, and when it is shown, in seconds; None where the file does not say."""

    samples: Samples
    time: Fraction | None


class Header(NamedTuple):
    """Facts that a video file states: frames a second, their number, seconds; each None where it does not say."""

    rate: Fraction | None
    frames: int | None
    seconds: Fraction | None


def library(path: Path) -> Any:
    """Returns PyAV.

    Raises:
        UnreadableImageError: the extra is not installed.
    """
    try:
        import av
    except ImportError as error:
        what = "is a video, which needs PyAV: pip install 'refusion-platform[video]'"
        raise UnreadableImageError(path, what) from error
    return av


def read_header(path: Path) -> Header:
    """Returns what the file says of itself; as ``read_frames`` raises."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate
        # Sound may go on when the last frame has been shown.
        alone = container.duration is not None and len(container.streams) == 1
        seconds = Fraction(container.duration, library(path).time_base) if alone else None
        return Header(None if not rate else Fraction(rate), stream.frames or None, seconds)


def read_frames(path: Path, megapixels: float = DEFAULT_MEGAPIXELS) -> Iterator[Frame]:
    """Yields the frames of a file's first video stream, in the order in which they are shown.

    Grey stays grey, of up to 16 bits as the file holds it; colour becomes RGB of 8 bits, or of 16 where the file has
    more than 8. A frame is turned as the file asks. Only a few frames are in memory at a time.

    Args:
        path: the file.
        megapixels: pixels that a frame may have, in millions.

    Raises:
        UnreadableImageError: PyAV is not installed, or the file is missing, no video, damaged, or its frames are too
            large or change their size.
    """
    av = library(path)
    size, number = None, 0
    with _opened(path) as container:
        stream = container.streams.video[0]
        check_pixels(path, stream.height, stream.width, megapixels)
        stream.thread_type = "AUTO"
        try:
            for number, frame in enumerate(container.decode(stream), start=1):
                if size is not None and (frame.height, frame.width) != size:
                    raise UnreadableImageError(path, f"changes its size at frame {number}")
                if frame.is_corrupt:
                    raise UnreadableImageError(path, f"is damaged at frame {number}")
                size = frame.height, frame.width
                check_pixels(path, *size, megapixels)
                time = None if frame.pts is None or frame.time_base is None else frame.pts * Fraction(frame.time_base)
                yield Frame(_samples(frame), time)
        except av.error.FFmpegError as error:
            raise UnreadableImageError(path, f"is damaged behind frame {number} ({error.strerror})") from error
    if not number:
        raise UnreadableImageError(path, "holds no frame that can be decoded")


def _opened(path: Path) -> Any:
    av = library(path)
    try:
        status = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError(path, "cannot be read (it is no regular file)")
        if not status.st_size:
            raise UnreadableImageError(path, "is empty")
        container = av.open(str(path), metadata_errors="ignore")
    except av.error.FFmpegError as error:
        raise UnreadableImageError(path, f"is no video that can be read ({error.strerror})") from error
    except OSError as error:
        raise UnreadableImageError(path, f"cannot be read ({error.strerror})") from error
    if not container.streams.video:
        container.close()
        raise UnreadableImageError(path, "holds no video stream")
    return container


def _samples(frame: Any) -> Samples:
    bits = max(component.bits for component in frame.format.components)
    if len(frame.format.components) == 1 and frame.format.name.startswith("gray"):
        values = frame.to_ndarray(format="gray" if bits <= 8 else "gray16le")
    else:
        values = frame.to_ndarray(format="rgb24" if bits <= 8 else "rgb48le")
    turns = round(getattr(frame, "rotation", 0) / _QUARTER_TURN) % 4
    if turns:
        values = np.rot90(values, turns)
    full = (0.0, 255.0) if values.dtype == np.uint8 else (0.0, 65535.0)
    return Samples(np.ascontiguousarray(values), f"video, {bits} bits", full)
