"""Fusion of each pixel by itself: mean and maximum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]


def fuse_average(a: Plane, b: Plane) -> Plane:
    """Returns the mean of the two luminances, (H, W) each."""
    return (a + b) / np.float32(2)


def fuse_max(a: Plane, b: Plane) -> Plane:
    """Returns the brighter of the two, (H, W) each."""
    return np.maximum(a, b)
