"""Guided-filter fusion on two scales, weighted by saliency."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from refusion.baselines.guided_filter import Array, box_mean, guided_filter

Plane = npt.NDArray[np.float32]

# The paper's parameters: the average filter is 31×31, the Gaussian 11×11 with σ = 5.
_BASE_RADIUS = 15
_GAUSSIAN_SIDE, _GAUSSIAN_SIGMA = 11, 5
_RADIUS_BASE, _EPSILON_BASE = 45, 0.3
_RADIUS_DETAIL, _EPSILON_DETAIL = 7, 1e-6
# The weights' sum must not be zero where neither source has any.
_FLOOR = 1e-12


def fuse_guided(a: Plane, b: Plane) -> Plane:
    """Splits both sources into base and detail layers and averages each with the weights of its scale.

    Li, Kang & Hu, IEEE Trans. Image Processing 22(7), 2013, with the paper's parameters. The more salient source
    (smoothed magnitude of the Laplacian) is selected pixel by pixel, and the selection is refined by a guided filter
    with the source as its guide; refined weights are clipped to [0, 1] and normalised to sum to 1. All images are (H,
    W) in [0, 1].
    """
    saliency_a, saliency_b = saliency(a), saliency(b)
    chosen_a, chosen_b = saliency_a >= saliency_b, saliency_b >= saliency_a
    first, second = a.astype(np.float64), b.astype(np.float64)
    base_a, base_b = box_mean(first, _BASE_RADIUS), box_mean(second, _BASE_RADIUS)
    base = _weight(first, second, chosen_a, chosen_b, _RADIUS_BASE, _EPSILON_BASE)
    detail = _weight(first, second, chosen_a, chosen_b, _RADIUS_DETAIL, _EPSILON_DETAIL)
    fused = base * base_a + (1 - base) * base_b + detail * (first - base_a) + (1 - detail) * (second - base_b)
    return fused.astype(np.float32)


def saliency(image: Plane) -> Plane:
    """Returns the smoothed magnitude of the Laplacian: (H, W) to (H, W)."""
    magnitude = np.abs(cv2.Laplacian(image, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE))
    return np.asarray(
        cv2.GaussianBlur(magnitude, (_GAUSSIAN_SIDE, _GAUSSIAN_SIDE), _GAUSSIAN_SIGMA, borderType=cv2.BORDER_REPLICATE),
        np.float32,
    )


def _weight(
    a: Array, b: Array, chosen_a: npt.NDArray[np.bool_], chosen_b: npt.NDArray[np.bool_], radius: int, epsilon: float
) -> Array:
    """Returns the weight of a; b has the rest."""
    weight_a, weight_b = (
        np.clip(guided_filter(guide, chosen, radius, epsilon), 0, 1) + _FLOOR
        for guide, chosen in ((a, chosen_a), (b, chosen_b))
    )
    return np.asarray(weight_a / (weight_a + weight_b))
