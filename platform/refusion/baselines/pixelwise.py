"""Each pixel by itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]


def fuse_average(a: Plane, b: Plane) -> Plane:
    """The mean of the two luminances. (H, W) each."""
    return (a + b) / np.float32(2)


def fuse_max(a: Plane, b: Plane) -> Plane:
    """The brighter of the two. (H, W) each."""
    return np.maximum(a, b)
