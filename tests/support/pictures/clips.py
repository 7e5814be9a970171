"""Tiny videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = (32, 48)


def frames(count: int = 6, *, colour: bool = False, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Frames that tell their number: a bar as long as it, over a texture of their own."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        picture = random.integers(0, 100, (*SIZE, 3) if colour else SIZE).astype(np.uint8)
        picture[24:, : 4 * (number + 1)] = 250
        made.append(picture)
    return made


def number_of(picture: NDArray[Any]) -> int:
    """The number of a frame, or of what was fused of such frames."""
    grey = picture if picture.ndim == 2 else picture.mean(axis=2)
    return round(float((grey[26:30] > 175).mean() * SIZE[1] / 4)) - 1


def encode(
    path: Path, pictures: list[Any], kind: str, *, codec: str = "ffv1", pix_fmt: str | None = None, rate: int = 10
) -> Path:
    """Writes pictures of PyAV's format ``kind`` as a video."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(rate))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt or kind
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=kind)
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode(None))
    return path
