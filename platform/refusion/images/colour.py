"""Luminance for fusion and chroma for the result, as the published inference treats colour (docs/method.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

# OpenCV's float32 conversion puts neutral chroma here whatever the range of the values.
NEUTRAL = 0.5
# Two neutral chromas would divide by zero without it; the value is fitted to the published images.
WEIGHT_FLOOR = 1e-4
_PIXELS_AT_ONCE = 1 << 19


class Rows(Protocol):
    """A picture (H, W) or (H, W, 3) that gives its rows when it is sliced: an array, or one that makes them then."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, and 3 where it is no plane."""

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Returns the rows of a slice."""


def row_slices(shape: Sequence[int]) -> Iterator[slice]:
    """Yields slices of a picture's rows, from above, each of half a million pixels or less, but of a row at least.

    >>> list(row_slices((5, 1 << 18)))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    rows = max(1, _PIXELS_AT_ONCE // max(1, shape[1]))
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))


def luminance(image: NDArray[Any]) -> NDArray[np.float32]:
    """Returns the luminance that the networks see: Y of OpenCV's RGB → YCrCb on float32 0–255 values, then /255.

    The authors' inference script does the same (docs/method.md, "The published network").

    Args:
        image: (H, W) grey or (H, W, 3) RGB, 0–255. Grey values are their own luminance.

    Returns:
        (H, W) float32 in [0, 1].

    Example:
        >>> import numpy as np
        >>> luminance(np.array([[0, 51, 255]], np.uint8)).tolist()
        [[0.0, 0.20000000298023224, 1.0]]
        >>> luminance(np.full((4, 6, 3), 255, np.uint8)).shape
        (4, 6)
    """
    values = np.asarray(image, np.float32)
    if values.ndim == 3:
        values = _convert(values, cv2.COLOR_RGB2YCrCb)[..., 0]
    return np.ascontiguousarray(np.clip(values / np.float32(255), 0, 1))


def chroma(image: NDArray[Any]) -> NDArray[np.float32]:
    """Returns Cr and Cb of one source, in OpenCV's float32 scale: 0–255 differences around a neutral value of 0.5.

    Args:
        image: (H, W) grey or (H, W, 3) RGB, 0–255. Grey has neutral chroma everywhere.

    Returns:
        (H, W, 2) float32, Cr then Cb.
    """
    values = np.asarray(image, np.float32)
    if values.ndim == 2:
        return np.full((*values.shape, 2), NEUTRAL, np.float32)
    return np.ascontiguousarray(_convert(values, cv2.COLOR_RGB2YCrCb)[..., 1:])


def has_colour(image: Rows) -> bool:
    """Returns True for an (H, W, 3) image whose channels differ anywhere; three equal channels are grey.

    Example:
        >>> import numpy as np
        >>> has_colour(np.zeros((2, 2, 3))), has_colour(np.eye(3)[None])
        (False, True)
    """
    strips = (image[rows] for rows in row_slices(image.shape)) if len(image.shape) == 3 else ()
    return any(bool((strip != strip[..., :1]).any()) for strip in strips)


def stretch_exact(fused: NDArray[Any]) -> NDArray[np.float32]:
    """Stretches the fused luminance linearly to 0–255, not yet rounded, as ``restore_colour`` takes it.

    A constant image has nothing to stretch and keeps its value: 255 times the value clipped to [0, 1].

    Args:
        fused: (H, W), the fusion module's output, in (0, 1).

    Returns:
        (H, W) float32 in 0–255.
    """
    values = np.asarray(fused, np.float32)
    return stretch_between(values, values.min(), values.max())


def stretch_between(values: NDArray[np.float32], low: np.float32, high: np.float32) -> NDArray[np.float32]:
    """Stretches some of the values of an image as ``stretch_exact`` does, of which low and high are the extremes."""
    spread = np.clip(values, 0, 1) if high <= low else (values - low) / (high - low)
    return np.asarray(spread * np.float32(255), np.float32)


def stretch(fused: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns the fused luminance as an image: ``stretch_exact``, rounded. (H, W) in (0, 1) → (H, W) uint8.

    Example:
        >>> import numpy as np
        >>> stretch(np.array([[0.25, 0.5, 0.75]])).tolist()
        [[0, 128, 255]]
    """
    return _rounded(stretch_exact(fused))


def restore_colour(luminance_255: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns the fused image with the colour of its sources.

    If exactly one source has colour its Cr, Cb are kept; if both have, each chroma value is the mean of the two
    weighted by its distance from neutral, Σ c·|c − 0.5| / (Σ |c − 0.5| + 1e-4); if neither has, the result is grey.
    The floor of 1e-4 is what reproduces the published images exactly (0 of their pixels differ; where both sources
    are neutral it leaves a chroma of 0, less than one grey level from neutral).

    Args:
        luminance_255: (H, W), 0–255. Give ``stretch_exact``'s result: the published images are rounded once, after
            colour; luminance rounded beforehand moves up to a quarter of the values by one grey level.
        a, b: the sources as read, (H, W) or (H, W, 3), 0–255.

    Returns:
        (H, W) uint8 where neither source has colour, else (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the three do not have the same height and width.

    Example:
        >>> import numpy as np
        >>> grey, red = np.full((2, 2), 80.0), np.full((2, 2, 3), (200.0, 50.0, 50.0))
        >>> restore_colour(grey, grey, grey).shape, restore_colour(grey, grey, red).shape
        ((2, 2), (2, 2, 3))
    """
    return _rounded(restore_colour_exact(luminance_255, a, b))


def restore_colour_exact(luminance_255: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float32]:
    """Returns what ``restore_colour`` rounds, (H, W) or (H, W, 3) float32, not yet clipped to 0–255; same arguments.

    Raises:
        ValueError: as ``restore_colour``.
    """
    if not luminance_255.shape == a.shape[:2] == b.shape[:2]:
        raise ValueError(f"sizes differ: luminance {luminance_255.shape}, a {a.shape[:2]}, b {b.shape[:2]}")
    return recolour(luminance_255, [source for source in (a, b) if has_colour(source)])


def recolour(luminance_255: NDArray[Any], coloured: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Returns ``restore_colour_exact`` of an image or of some of its rows.

    Args:
        luminance_255: (H, W).
        coloured: those of the two sources that have colour anywhere, (H, W, 3) each.
    """
    y = np.asarray(luminance_255, np.float32)
    if not coloured:
        return y
    first, *others = map(chroma, coloured)
    restored = _mean_chroma(first, *others) if others else first
    return _convert(np.dstack([y, restored]), cv2.COLOR_YCrCb2RGB)


def saved_luminance(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the luminance of a picture as it is saved, in whole grey levels: what scores are computed of.

    In a colour picture it is not the fused luminance everywhere: rounding moves it, and where a bright pixel keeps a
    strong colour a channel is clipped.

    Args:
        picture: ``restore_colour``'s result, (H, W) or (H, W, 3).

    Returns:
        (H, W) uint8.

    >>> saved_luminance(np.array([[[255, 255, 0]]], np.uint8)).tolist()
    [[226]]
    """
    return _rounded(luminance(picture) * np.float32(255))


def _mean_chroma(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    w_first, w_second = np.abs(first - np.float32(NEUTRAL)), np.abs(second - np.float32(NEUTRAL))
    mean = (first * w_first + second * w_second) / (w_first + w_second + np.float32(WEIGHT_FLOOR))
    return np.asarray(mean, np.float32)


def _convert(values: NDArray[np.float32], code: int) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(values, code), np.float32)


def _rounded(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
