"""Structure of the sources kept by a fusion of exposures: MEF-SSIM."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refusion.metrics.filters import halve, strips, windowed_sums
from refusion.metrics.structural import GAUSSIAN, PEAK, constants, gaussian_means

PIXELS = GAUSSIAN**2
# Of the three scales, from the finest to the coarsest; Wang et al. 2003 have five.
WEIGHTS = (0.0448, 0.2856, 0.3001)
# The published code's guards against division by nothing, and the power from which on the stronger source is alone.
LEAST_CONTRAST = 1e-3
EPS = torch.finfo(torch.float64).eps
STRONGEST_POWER = 10.0
SMALLEST_SIDE = GAUSSIAN
SMALLEST_SIDE_OF_SCALES = GAUSSIAN * 2 ** (len(WEIGHTS) - 1)


def mef_ssim(fused: Tensor, sources: Tensor) -> Tensor:
    """MEF-SSIM (Ma, Zeng & Wang 2015) on the finest scale: the similarity of f's structure with the one wanted.

    In each 11×11 window the structure wanted is the mean of the sources' own structures, weighted by their contrasts
    to a power that grows with their consistency, and given the higher contrast of the two. Luminance does not count, so
    that a constant added to f is free. Where both sources are flat nothing is wanted, and contrast in f only costs.
    Takes (B,H,W) and (2,B,H,W) with sides of at least 11 pixels, gives (B,) in [−1, 1].
    """
    images = torch.cat([fused[None], sources])
    total = fused.new_zeros(fused.shape[0])
    for strip in strips(images, GAUSSIAN - 1):
        total += _similarity(strip[0], strip[1], strip[2]).sum((-2, -1))
    return total / ((fused.shape[-2] - GAUSSIAN + 1) * (fused.shape[-1] - GAUSSIAN + 1))


def multi_scale_mef_ssim(fused: Tensor, sources: Tensor) -> Tensor:
    """:func:`mef_ssim` over three scales, as Ma, Zeng & Wang 2015 combine them; some evaluators call it MS-SSIM.

    The weighted geometric mean, each scale half as large as the one before (mean of 2×2 pixels). Where f has the
    opposite structure on some scale, its negative score there counts as 0 (the published code turns complex). Takes
    (B,H,W) and (2,B,H,W) with sides of at least 44 pixels, gives (B,) in [0, 1].
    """
    score = torch.ones_like(fused[:, 0, 0])
    for scale, weight in enumerate(WEIGHTS):
        if scale > 0:
            fused, sources = halve(fused), halve(sources)
        score *= mef_ssim(fused, sources).clamp_(min=0).pow_(weight / sum(WEIGHTS))
    return score


def _similarity(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """In every window: (B,H,W) each to (B,H−10,W−10)."""
    of_a, of_b = _amounts_wanted(a, b)
    mean_f, mean_a, mean_b = (gaussian_means(image) for image in (fused, a, b))
    covariance = of_a * (gaussian_means(a * fused) - mean_a * mean_f)
    covariance += of_b * (gaussian_means(b * fused) - mean_b * mean_f)
    variances = gaussian_means(fused.square()) - mean_f.square()
    variances += of_a.square() * (gaussian_means(a.square()) - mean_a.square())
    variances += of_b.square() * (gaussian_means(b.square()) - mean_b.square())
    variances += 2 * of_a * of_b * (gaussian_means(a * b) - mean_a * mean_b)
    _, c = constants(PEAK)
    return (2 * covariance + c) / (variances + c)


def _amounts_wanted(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """How much of each source's structure (its grey levels less their mean) the structure wanted has."""
    square_a, square_b, product = _spread(a, a), _spread(b, b), _spread(a, b)
    norm_a, norm_b = square_a.sqrt(), square_b.sqrt()
    norm_of_sum = (square_a + square_b + 2 * product).clamp_(min=0).sqrt_()
    consistency = ((norm_of_sum + EPS) / (norm_a + norm_b + EPS)).clamp_(max=1)
    # At 1 the tangent is huge, not infinite: in floating point π/2 is a little too small.
    power = (math.pi / 2 * consistency).tan_().clamp_(max=STRONGEST_POWER)
    contrast_a, contrast_b = norm_a + LEAST_CONTRAST, norm_b + LEAST_CONTRAST
    weight_a = (contrast_a / GAUSSIAN).pow_(power) + EPS
    weight_b = (contrast_b / GAUSSIAN).pow_(power) + EPS
    of_a, of_b = weight_a / contrast_a, weight_b / contrast_b
    of_a, of_b = of_a / (weight_a + weight_b), of_b / (weight_a + weight_b)
    return _scaled_to(torch.maximum(contrast_a, contrast_b), of_a, of_b, square_a, square_b, product)


def _scaled_to(
    contrast: Tensor, of_a: Tensor, of_b: Tensor, square_a: Tensor, square_b: Tensor, product: Tensor
) -> tuple[Tensor, Tensor]:
    own = of_a.square() * square_a + of_b.square() * square_b
    square = own + 2 * of_a * of_b * product
    # Structures that cancel each other leave rounding errors, which must not be blown up to full contrast.
    scale = torch.where(square <= 1e-12 * own, 0.0, contrast / square.sqrt())
    return scale * of_a, scale * of_b


def _spread(x: Tensor, y: Tensor) -> Tensor:
    """Σ (x − x̄)(y − ȳ) in each window; exactly 0 where whole grey levels are flat."""
    ones = [1.0] * GAUSSIAN
    spread = PIXELS * windowed_sums(x * y, ones) - windowed_sums(x, ones) * windowed_sums(y, ones)
    return (spread.clamp_(min=0) if x is y else spread).div_(PIXELS)
