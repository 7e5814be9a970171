"""The windowed sums that SSIM and VIF are made of, and the strips that keep them fast and small."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def pixels_at_once(on_cpu: bool) -> int:
    """How many pixels to work on at a time: what stays in a processor's cache, or what keeps a GPU busy."""
    return 1 << 17 if on_cpu else 1 << 24


def strips(images: Tensor, overlap: int) -> list[Tensor]:
    """Cut (…,B,H,W) into strips of rows, as views, so that each window of ``overlap`` + 1 rows lies in exactly one.

    All strips but the last have an even number of windows, so that every second one can be kept too.
    """
    last = images.shape[-2] - overlap
    rows = pixels_at_once(images.device.type == "cpu") // max(1, images.shape[-3] * images.shape[-1])
    rows = max(2, rows // 2 * 2)
    return [images[..., top : top + rows + overlap, :] for top in range(0, last, rows)]


def gaussian_window(size: int, sigma: float) -> list[float]:
    """``size`` weights of a centred Gaussian with sum 1; their outer product is MATLAB's ``fspecial('gaussian')``."""
    centre = (size - 1) / 2
    weights = [math.exp(-((i - centre) ** 2) / (2 * sigma**2)) for i in range(size)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def windowed_sums(images: Tensor, window: Sequence[float], step: int = 1) -> Tensor:
    """Correlate (…,H,W) with the outer product of ``window`` and itself, without padding.

    Keeps every ``step``-th sample of the "valid" result: side n becomes (n − len(window)) // step + 1. With a window of
    ones the sums of whole numbers are exact.
    """
    for axis in (-2, -1):
        # Shifted views and in-place sums: torch's float64 convolution on a CPU is 20 times slower.
        first, *others = images.unfold(axis, len(window), step).unbind(-1)
        images = first * window[0]
        for shifted, weight in zip(others, window[1:], strict=True):
            images.add_(shifted, alpha=weight)
    return images
