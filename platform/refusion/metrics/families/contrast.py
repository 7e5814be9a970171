"""Perceived local contrast of the sources that the fused image preserves (Q_CB)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from refusion.metrics.filters import gaussian_window, strips, windowed_sums
from refusion.metrics.transforms import filter_radially

# Width and height of the image in degrees of the visual field, whatever its number of pixels.
VIEW = 15
WINDOW = 31
FINE, COARSE = 2.0, 4.0
MASKING = 1e-4

# In grey levels: smaller differences of filtered images are rounding of the FFT.
ROUNDING = 1e-12


def contrast_quality(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores Q_CB (Chen & Blum 2009): the share of the sources' perceived contrast that each pixel preserves.

    The form is that of Z. Liu's program, which VIFB and most papers use: every image is first stretched to 0–255 by
    itself, so that a loss of contrast common to the whole image costs nothing. Then, with r in cycles per degree:

    1. contrast sensitivity, a difference of Gaussians: exp(−(r/15.387)²) − 0.7622·exp(−(r/1.3456)²), borders wrapped;
    2. Peli's contrast C = |G₂ ∗ I / G₄ ∗ I − 1|, Gaussians of σ 2 and 4 on 31×31 pixels, black beyond the border;
    3. masking C' = C³ / (C² + 0.0001);
    4. Q = min(C's, C'f) / max(C's, C'f) for each source, averaged with the weights C's², and over all pixels.

    Contrasts too small for float64 count as none, and none in both images as preserved (the program has noise there).

    Args:
        fused: (B,H,W); sources: (2,B,H,W); 0–255.

    Returns:
        (B,) in 0–1; NaN for an image with NaN and where one of the three images is flat, for it cannot be stretched.
    """
    windows = [_truncated_gaussian(sigma) for sigma in (FINE, COARSE)]
    return _quality(*(_masked_contrast(stretched(image), windows, "constant") for image in (fused, *sources)))


def corrected_contrast_quality(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores Q_CB without its program's peculiarities (docs/metrics.md, convention ``corrected``).

    The images are taken as they are, so that a loss of contrast costs; their borders are repeated, where black would
    make contrast; and the windows' weights sum to 1, so that a flat area has none. Flat images have a score: a flat
    fused image preserves no contrast, and three flat images agree (1). Takes (B,H,W) and (2,B,H,W), returns (B,).
    """
    windows = [gaussian_window(WINDOW, sigma) for sigma in (FINE, COARSE)]
    return _quality(*(_masked_contrast(image, windows, "replicate") for image in (fused, *sources)))


def stretched(images: Tensor) -> Tensor:
    """Stretches each of (…,H,W) from its own range to 0–255, rounded as MATLAB does; NaN where it is flat."""
    low, high = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
    return ((images - low) / (high - low)).mul_(255).add_(0.5).floor_()


def _truncated_gaussian(sigma: float) -> list[float]:
    return [
        math.exp(-((i - WINDOW // 2) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) for i in range(WINDOW)
    ]


def _sensitivity(cycles: Tensor) -> Tensor:
    squared = (cycles / VIEW).square_()
    return torch.exp(squared / -(15.387**2)) - 0.7622 * torch.exp(squared / -(1.3456**2))


def _masked_contrast(images: Tensor, windows: Sequence[Sequence[float]], border: str) -> Tensor:
    margin = WINDOW // 2
    perceived = torch.nn.functional.pad(filter_radially(images, _sensitivity), (margin,) * 4, border)
    return torch.cat(
        [_mask(*(windowed_sums(strip, w) for w in windows)) for strip in strips(perceived, WINDOW - 1)], -2
    )


def _mask(fine: Tensor, coarse: Tensor) -> Tensor:
    difference = (fine - coarse).abs_()
    difference.masked_fill_(difference < ROUNDING, 0.0)
    contrast = difference / coarse.abs_().clamp_(min=ROUNDING)
    squared = contrast.square()
    return contrast * squared / (squared + MASKING)


def _quality(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    total = fused.new_zeros(fused.shape[0])
    for f, x, y in zip(*(strips(contrast, 0) for contrast in (fused, a, b)), strict=True):
        saliency_x, saliency_y = x.square(), y.square()
        both = saliency_x + saliency_y
        share = torch.where(both == 0, 0.5, saliency_x / both)
        total += (share * _preserved(x, f) + (1 - share) * _preserved(y, f)).sum((-2, -1))
    return total / (fused.shape[-2] * fused.shape[-1])


def _preserved(source: Tensor, fused: Tensor) -> Tensor:
    most = torch.maximum(source, fused)
    return (torch.minimum(source, fused) / most).masked_fill_(most == 0, 1.0)
