"""Fusion in a Laplacian pyramid."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from refusion.baselines.selection import select_larger

Plane = npt.NDArray[np.float32]

# The comparison by Liu, Liu & Wang, Information Fusion 24, 2015 has as many.
_LEVELS = 4
_LEAST_SIDE = 2


def fuse_laplacian(a: Plane, b: Plane) -> Plane:
    """Selects the band-pass coefficient of larger magnitude, with consistency, and averages the base.

    Burt & Adelson, IEEE Trans. Communications 31(4), 1983; fusion by selection: Burt & Kolczynski, ICCV 1993. Four
    levels, fewer where a side would fall below two pixels. All images are (H, W) in [0, 1].
    """
    bands_a, base_a = decompose(a)
    bands_b, base_b = decompose(b)
    bands = [select_larger(x, y) for x, y in zip(bands_a, bands_b, strict=True)]
    return rebuild(bands, (base_a + base_b) / np.float32(2))


def decompose(image: Plane) -> tuple[list[Plane], Plane]:
    """Returns the band-pass levels, finest first, and the base."""
    bands: list[Plane] = []
    base = image
    while len(bands) < _LEVELS and min(base.shape) >= 2 * _LEAST_SIDE:
        smaller = np.asarray(cv2.pyrDown(base), np.float32)
        bands.append(base - _expand(smaller, base))
        base = smaller
    return bands, base


def rebuild(bands: list[Plane], base: Plane) -> Plane:
    """Returns the image of a pyramid: the inverse of ``decompose``."""
    for band in reversed(bands):
        base = band + _expand(base, band)
    return base


def _expand(smaller: Plane, like: Plane) -> Plane:
    height, width = like.shape
    return np.asarray(cv2.pyrUp(smaller, dstsize=(width, height)), np.float32)
