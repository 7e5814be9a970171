"""Exposure fusion."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]


def fuse_mertens(a: Plane, b: Plane) -> Plane:
    """Blended in a Laplacian pyramid, with weights for contrast and for nearness to middle grey.

    Mertens, Kautz & Van Reeth, Pacific Graphics 2007, as in OpenCV, with all exponents 1 as in the paper (OpenCV's own
    default leaves the exposure out). Luminance has no saturation, so that this weight is not used. (H, W) each.
    """
    merge = cv2.createMergeMertens(contrast_weight=1, saturation_weight=1, exposure_weight=1)
    # OpenCV divides by 255 whatever the type.
    return np.asarray(merge.process([a * np.float32(255), b * np.float32(255)]), np.float32).reshape(a.shape)
