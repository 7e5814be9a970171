"""Structural similarity with the sources over several scales (MS-SSIM)."""

from __future__ import annotations

import torch
from torch import Tensor

from refusion.metrics.families.structural import GAUSSIAN, PEAK, gaussian_means, moments, ssim_constants
from refusion.metrics.filters import halve, strips

# Weights of Wang et al. 2003, from the finest scale to the coarsest.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_SIDE = GAUSSIAN * 2 ** (len(WEIGHTS) - 1)


def multi_scale_ssim(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores MS-SSIM (Wang, Simoncelli & Bovik 2003): mean over the two sources, in the form of Wang's code.

    There are five scales with its weights, an 11×11 Gaussian window (σ = 1.5) wholly inside the image, peak 255, K1 =
    0.01, K2 = 0.03, halved by the mean of 2×2 pixels; luminance counts on the coarsest scale only. A negative score of
    one scale counts as 0 there, as in TensorFlow's. Takes (B,H,W) and (2,B,H,W) with sides of at least 176 pixels
    (Wang's own limit), returns (B,) in [0, 1].
    """
    images = torch.cat([fused[None], sources])
    score = torch.ones_like(sources[..., 0, 0])
    for scale, weight in enumerate(WEIGHTS):
        if scale > 0:
            images = halve(images)
        coarsest = scale == len(WEIGHTS) - 1
        score *= _mean_similarity(images, with_luminance=coarsest).clamp_(min=0).pow_(weight)
    return score.mean(0)


def _mean_similarity(images: Tensor, *, with_luminance: bool) -> Tensor:
    """Returns the similarity of the first of (3,B,H,W) with the two others: (2,B)."""
    c1, c2 = ssim_constants(PEAK)
    total = torch.zeros_like(images[1:, :, 0, 0])
    for strip in strips(images, GAUSSIAN - 1):
        product, squares, covariance, variances = moments(strip[0], strip[1:], gaussian_means)
        similarity = (2 * covariance + c2) / (variances + c2)
        if with_luminance:
            similarity *= (2 * product + c1) / (squares + c1)
        total += similarity.sum((-2, -1))
    return total / ((images.shape[-2] - GAUSSIAN + 1) * (images.shape[-1] - GAUSSIAN + 1))
