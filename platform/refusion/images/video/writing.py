"""Writing of a video, frame by frame, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refusion.errors import UserError
from refusion.images.video.reading import library

# H.264 for playing; FFV1 loses nothing.
_CONTAINERS = {".mp4": ("mp4", "libx264"), ".mov": ("mov", "libx264"), ".mkv": ("matroska", "ffv1")}
WRITABLE_VIDEOS = tuple(_CONTAINERS)
_QUALITY = {"crf": "16", "preset": "medium"}
_LIMITED, _BT601 = 1, 6
# Where frames are not shown at equal intervals.
_TICKS = 90_000


class VideoWriter:
    """A video that is being written; ``written_video`` makes one."""

    def __init__(self, container: Any, stream: Any, library_of_frames: Any, grey: bool) -> None:
        self._container, self._stream, self._av, self._grey = container, stream, library_of_frames, grey
        self._number = 0

    def add(self, picture: NDArray[np.uint8], time: Fraction | None = None) -> None:
        """Appends a frame.

        Args:
            picture: (H, W) or (H, W, 3) uint8.
            time: when it is shown, in seconds; None for one interval after the one before.
        """
        if self._grey and picture.ndim == 3:
            raise ValueError(f"expected a grey picture, got {picture.shape}")
        colour = picture if picture.ndim == 3 or self._grey else np.repeat(picture[..., None], 3, axis=2)
        kind = "gray" if self._grey else "rgb24"
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(colour), format=kind)
        if self._stream.pix_fmt != kind:
            frame = frame.reformat(format=self._stream.pix_fmt, dst_colorspace="ITU601")
        base = Fraction(self._stream.codec_context.time_base)
        frame.pts = self._number if time is None else round(time / base)
        frame.time_base = base
        self._number += 1
        self._container.mux(self._stream.encode(frame))


@contextmanager
def written_video(
    path: Path, size: tuple[int, int], rate: Fraction, *, grey: bool, even: bool = True
) -> Iterator[VideoWriter]:
    """Opens a video to be written; it is in its place at the end, unless the block raises.

    MP4 and MOV hold H.264 in 4:2:0 (4:4:4 where a side is odd), for players; MKV holds FFV1, which loses nothing.

    Args:
        path: the file; an older one is replaced.
        size: height and width.
        rate: frames a second.
        grey: True for pictures without colour.
        even: frames are shown at equal intervals; False: at the times that come with them.

    Raises:
        UserError: the suffix is another, PyAV is not installed or lacks the encoder, or the file cannot be written.
    """
    if path.suffix.lower() not in _CONTAINERS:
        raise UserError(f"{path}: give the video one of the suffixes {', '.join(WRITABLE_VIDEOS)}")
    av = library(path)
    container_format, codec = _CONTAINERS[path.suffix.lower()]
    if codec not in av.codecs_available:
        raise UserError(f"{path}: this PyAV has no {codec} encoder; name a file with another suffix")
    beside = path.with_name(f".{path.stem}-{os.getpid()}.part{path.suffix}")
    try:
        with av.open(str(beside), "w", format=container_format) as container:
            stream = container.add_stream(codec, rate=rate, options=_QUALITY if codec == "libx264" else {})
            stream.height, stream.width = size
            if codec == "ffv1":
                stream.pix_fmt = "gray" if grey else "bgr0"
            else:
                stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
                stream.codec_context.color_range, stream.codec_context.colorspace = _LIMITED, _BT601
            stream.codec_context.time_base = 1 / rate if even else Fraction(1, _TICKS)
            yield VideoWriter(container, stream, av, grey)
            container.mux(stream.encode(None))
        beside.replace(path)
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            beside.unlink()
