"""Exposure fusion after Mertens."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]


def fuse_mertens(a: Plane, b: Plane) -> Plane:
    """Blends in a Laplacian pyramid, with weights for contrast and for nearness to middle grey.

    Mertens, Kautz & Van Reeth, Pacific Graphics 2007, as in OpenCV, with all exponents 1 as in the paper (OpenCV's own
    default leaves the exposure out). Luminance has no saturation, so that this weight is not used. All images are (H,
    W) in [0, 1].
    """
    merge = cv2.createMergeMertens(contrast_weight=1, saturation_weight=1, exposure_weight=1)
    # OpenCV divides by 255 whatever the type.
    return np.asarray(merge.process([a * np.float32(255), b * np.float32(255)]), np.float32).reshape(a.shape)
