"""The window in which fused pictures differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
# Side of the window, as a share of the picture's shorter side.
_WINDOW = 0.16


@dataclass(frozen=True)
class Window:
    """A square part of a picture, in pixels."""

    y: int
    x: int
    side: int

    def of(self, picture: Image) -> Image:
        """Returns that part."""
        return picture[self.y : self.y + self.side, self.x : self.x + self.side]


def most_different_window(pictures: Sequence[Image], share: float = _WINDOW) -> Window:
    """Returns the square in whose details fused pictures are furthest apart: largest mean of (maximum − minimum).

    Details are what is left when the mean over a square of that size is taken away: that one picture is brighter than
    another is seen without a lens.

    Args:
        pictures: at least two, (H, W) or (H, W, 3), of one size.
        share: side of the square, of the shorter side of the pictures.
    """
    height, width = pictures[0].shape[:2]
    side = max(4, round(share * min(height, width)))
    planes = [_grey(picture).astype(np.float32) for picture in pictures]
    details = np.stack([plane - cv2.blur(plane, (side, side)) for plane in planes])
    spread = details.max(axis=0) - details.min(axis=0)
    # Sums over every square that lies in the picture as a whole.
    sums = cv2.boxFilter(spread, -1, (side, side), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    inside = sums[: height - side + 1, : width - side + 1]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return Window(int(y), int(x), side)


def _grey(picture: Image) -> Image:
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
