"""Colour of a stack's result: the rule of pairs for any number of sources, taken one at a time."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refusion.images.colour import NEUTRAL, WEIGHT_FLOOR, chroma, has_colour


class ChromaOfStack:
    """Chroma of sources that are added one after another.

    If exactly one source has colour its chroma is kept; if several have, each chroma value is their mean weighted by
    distance from neutral, as in ``colour.restore_colour``; grey sources have no weight.

    Example:
        >>> red, grey = np.full((2, 2, 3), (200.0, 50.0, 50.0)), np.full((2, 2), 80.0)
        >>> stack = ChromaOfStack()
        >>> for source in (grey, red, grey):
        ...     stack.add(source)
        >>> stack.restored(grey).shape
        (2, 2, 3)
    """

    def __init__(self) -> None:
        self._first: NDArray[np.float32] | None = None
        self._sum: NDArray[np.float32] | None = None
        self._weights: NDArray[np.float32] | None = None

    def add(self, source: NDArray[Any]) -> None:
        """Takes the chroma of one more source, (H, W) or (H, W, 3) on 0–255."""
        if not has_colour(source):
            return
        own = chroma(source)
        weight = np.abs(own - np.float32(NEUTRAL))
        if self._sum is None or self._weights is None:
            self._first, self._sum, self._weights = own, own * weight, weight
        else:
            self._first = None
            self._sum += own * weight
            self._weights += weight

    def restored(self, luminance_255: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the picture of that luminance: (H, W) where no source has colour, else (H, W, 3), not clipped."""
        y = np.asarray(luminance_255, np.float32)
        if self._sum is None or self._weights is None:
            return y
        own = self._first if self._first is not None else self._sum / (self._weights + np.float32(WEIGHT_FLOOR))
        return np.asarray(cv2.cvtColor(np.dstack([y, own]), cv2.COLOR_YCrCb2RGB), np.float32)
