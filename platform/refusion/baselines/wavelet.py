"""Fusion in a discrete wavelet transform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pywt

from refusion.baselines.selection import select_larger

Plane = npt.NDArray[np.float32]

# Biorthogonal and symmetric filters do not shift edges (these are JPEG 2000's irreversible ones).
WAVELET = "bior4.4"
_LEVELS = 4


def fuse_wavelet(a: Plane, b: Plane) -> Plane:
    """Selects the detail coefficient of larger magnitude, with consistency, and averages the approximation.

    Li, Manjunath & Mitra, Graphical Models and Image Processing 57(3), 1995. Four levels, fewer where the filter would
    be longer than the rest of the image; mirrored at the border. All images are (H, W) in [0, 1].
    """
    height, width = a.shape
    levels = min(_LEVELS, pywt.dwt_max_level(min(height, width), WAVELET))
    (base_a, *details_a), (base_b, *details_b) = (
        pywt.wavedec2(image, WAVELET, mode="symmetric", level=levels) for image in (a, b)
    )
    details = [tuple(map(select_larger, x, y)) for x, y in zip(details_a, details_b, strict=True)]
    fused = pywt.waverec2([(base_a + base_b) / 2, *details], WAVELET, mode="symmetric")
    # The inverse of an odd side is one pixel longer.
    return np.asarray(fused[:height, :width], np.float32)
