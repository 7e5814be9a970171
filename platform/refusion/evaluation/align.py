"""Alignment of fused images a few pixels smaller or larger than their sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

# Networks without padding lose such borders; padding to a multiple of the stride adds them.
MOST_PIXELS = 32
# Responses closer than this do not prefer one position to another.
_LEAST_RANGE = 1e-6

Size = tuple[int, int]
Cropped = Literal["nothing", "sources", "fused"]


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: NDArray[Any]) -> NDArray[Any]:
        """Returns the rectangle of an (H, W) or (H, W, C) image, as a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def what_to_crop(fused: Size, sources: Size) -> Cropped | None:
    """Returns which of the two is to be cropped to the other, by their (height, width).

    None stands for sizes that cropping does not mend: more than ``MOST_PIXELS`` apart, or larger one way and smaller
    the other.
    """
    more = [own - other for own, other in zip(sources, fused, strict=True)]
    if max(map(abs, more)) > MOST_PIXELS or (min(more) < 0 < max(more)):
        return None
    if more == [0, 0]:
        return "nothing"
    return "sources" if max(more) > 0 else "fused"


def find_window(fused: NDArray[np.float32], a: NDArray[np.float32], b: NDArray[np.float32]) -> Window:
    """Finds the part of the larger images that the smaller ones show.

    Where ``fused`` is the smaller one it is laid over both sources, else both sources over it; the position is where
    the normalised correlation coefficients (OpenCV's TM_CCOEFF_NORMED) with both have the largest sum. Where no
    position fits better than another (flat images), it is the centre.

    Args:
        fused: luminance, (H, W).
        a, b: luminance, both of one size that ``what_to_crop`` finds fit.
    """
    small, large = (fused, a) if fused.size < a.size else (a, fused)
    over = ((a, fused), (b, fused)) if fused.size < a.size else ((fused, a), (fused, b))
    responses = np.sum([cv2.matchTemplate(image, part, cv2.TM_CCOEFF_NORMED) for image, part in over], axis=0)
    height, width = small.shape
    if not np.isfinite(responses).all() or np.ptp(responses) < _LEAST_RANGE:
        return Window((large.shape[0] - height) // 2, (large.shape[1] - width) // 2, height, width)
    top, left = np.unravel_index(int(responses.argmax()), responses.shape)
    return Window(int(top), int(left), height, width)
