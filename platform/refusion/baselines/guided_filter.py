"""Guided filter on OpenCV's box filter (cv2.ximgproc comes with OpenCV's contributed modules only)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def guided_filter(guide: npt.ArrayLike, image: npt.ArrayLike, radius: int, epsilon: float) -> Array:
    """Smooths ``image`` everywhere but across the edges of ``guide`` (He, Sun & Tang, IEEE TPAMI 35(6), 2013).

    Args:
        guide: (H, W) in [0, 1].
        image: (H, W), the filter's input.
        radius: windows are 2·radius + 1 pixels wide; at the border they hold only the pixels inside the image.
        epsilon: variances of the guide below this count as flat.

    Returns:
        (H, W) float64.
    """
    # The variance is a difference of nearly equal numbers: float32 is too coarse for small epsilon.
    guide, image = np.asarray(guide, np.float64), np.asarray(image, np.float64)
    mean_guide, mean_image = box_mean(guide, radius), box_mean(image, radius)
    covariance = box_mean(guide * image, radius) - mean_guide * mean_image
    variance = box_mean(guide * guide, radius) - mean_guide * mean_guide
    slope = covariance / (variance + epsilon)
    offset = mean_image - slope * mean_guide
    return np.asarray(box_mean(slope, radius) * guide + box_mean(offset, radius))


def box_mean(image: Array, radius: int) -> Array:
    """Returns the mean of the pixels in the window of 2·radius + 1 that lie inside the image, (H, W)."""
    return _box_sum(image, radius) / _box_sum(np.ones_like(image), radius)


def _box_sum(image: Array, radius: int) -> Array:
    side = 2 * radius + 1
    total = cv2.boxFilter(image, cv2.CV_64F, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(total, np.float64)
