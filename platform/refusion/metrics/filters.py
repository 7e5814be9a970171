"""Windowed sums, windows and borders shared by the metrics, and strips of rows that bound their memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def pixels_at_once(on_cpu: bool) -> int:
    """Returns the number of pixels to work on at a time: what a processor's cache holds, or what keeps a GPU busy."""
    return 1 << 17 if on_cpu else 1 << 24


def strips(images: Tensor, overlap: int) -> list[Tensor]:
    """Cuts (…,B,H,W) into strips of rows, as views, so that each window of ``overlap`` + 1 rows lies in exactly one.

    All strips but the last have an even number of windows, so that every second one can be kept too.
    """
    last = images.shape[-2] - overlap
    rows = pixels_at_once(images.device.type == "cpu") // max(1, images.shape[-3] * images.shape[-1])
    rows = max(2, rows // 2 * 2)
    return [images[..., top : top + rows + overlap, :] for top in range(0, last, rows)]


def gaussian_window(size: int, sigma: float) -> list[float]:
    """Returns ``size`` weights of a centred Gaussian with sum 1: the factor of MATLAB's ``fspecial('gaussian')``."""
    centre = (size - 1) / 2
    weights = [math.exp(-((i - centre) ** 2) / (2 * sigma**2)) for i in range(size)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def windowed_sums(images: Tensor, window: Sequence[float], step: int = 1) -> Tensor:
    """Correlates (…,H,W) with the outer product of ``window`` and itself, without padding.

    Every ``step``-th sample of the "valid" result is kept: side n becomes (n − len(window)) // step + 1. With a window
    of ones the sums of whole numbers are exact.
    """
    for axis in (-2, -1):
        # Shifted views and in-place sums: torch's float64 convolution on a CPU is 20 times slower.
        first, *others = images.unfold(axis, len(window), step).unbind(-1)
        images = first * window[0]
        for shifted, weight in zip(others, window[1:], strict=True):
            images.add_(shifted, alpha=weight)
    return images


def halve(images: Tensor) -> Tensor:
    """Averages each 2×2 pixels of (…,H,W), the last row or column repeated where a side is odd: (…,⌈H/2⌉,⌈W/2⌉).

    Wang et al. 2003 and Ma et al. 2015 downsample so: their codes mirror the images at the border.
    """
    for axis in (-2, -1):
        if images.shape[axis] % 2:
            images = torch.cat([images, images.narrow(axis, -1, 1)], dim=axis)
        first, second = images.unfold(axis, 2, 2).unbind(-1)
        images = (first + second).div_(2)
    return images


def with_border(images: Tensor, width: int, mode: Literal["reflect", "replicate"]) -> Tensor:
    """Pads (…,H,W) by ``width`` pixels on each side, mirrored about the outermost pixel or repeating it."""
    # As images of one channel: of an empty batch torch pads these only.
    padded = torch.nn.functional.pad(images.flatten(0, -3)[:, None], [width] * 4, mode=mode)
    return padded.view(*images.shape[:-2], *padded.shape[-2:])
