"""Structural similarity with the sources: SSIM."""

from __future__ import annotations

from torch import Tensor

from refusion.metrics.filters import strips, windowed_sums

WINDOW = 7
PEAK = 255.0
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def mean_ssim(fused: Tensor, sources: Tensor) -> Tensor:
    """SSIM: mean over the two sources of scikit-image's ``structural_similarity`` on uint8 with its defaults.

    7×7 uniform window, sample covariance, data range 255, K1 = 0.01, K2 = 0.03; only windows that lie wholly inside
    count (its cropped border of 3). METRICS.md, convention ``authors``; Wang et al. 2004 use a Gaussian window instead.
    Takes (B,H,W) and (2,B,H,W), gives (B,).
    """
    height, width = fused.shape[-2:]
    total = fused.new_zeros(fused.shape[0])
    for f, s in zip(strips(fused, WINDOW - 1), strips(sources, WINDOW - 1), strict=True):
        total += _similarity(f, s).sum((0, -2, -1))
    return total / (2 * (height - WINDOW + 1) * (width - WINDOW + 1))


def _similarity(fused: Tensor, sources: Tensor) -> Tensor:
    pixels = WINDOW**2
    sample = pixels / (pixels - 1)
    mean_f, mean_s = _window_means(fused), _window_means(sources)
    product = mean_f * mean_s
    squares = mean_f.square() + mean_s.square()
    covariance = sample * (_window_means(fused * sources) - product)
    # Only the sum of the two variances is needed, so both go through the window at once.
    variances = sample * (_window_means(fused.square() + sources.square()) - squares)
    return (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))


def _window_means(images: Tensor) -> Tensor:
    return windowed_sums(images, [1.0] * WINDOW) / WINDOW**2
