"""Structure of the sources that a fusion of exposures preserves (MEF-SSIM)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refusion.metrics.families.structural import GAUSSIAN, PEAK, gaussian_means, ssim_constants
from refusion.metrics.filters import halve, strips, windowed_sums

PIXELS = GAUSSIAN**2
# Weights of the three scales, from the finest to the coarsest; Wang et al. 2003 have five.
WEIGHTS = (0.0448, 0.2856, 0.3001)
# The published code's guards against division by nothing, and the power from which on the stronger source is alone.
LEAST_CONTRAST = 1e-3
EPS = torch.finfo(torch.float64).eps
STRONGEST_POWER = 10.0
SMALLEST_SIDE = GAUSSIAN
SMALLEST_SIDE_OF_SCALES = GAUSSIAN * 2 ** (len(WEIGHTS) - 1)


def mef_ssim(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores MEF-SSIM (Ma, Zeng & Wang 2015) on the finest scale: the similarity of f with the desired structure.

    In each 11×11 window the desired structure is the mean of the sources' own structures, weighted by their contrasts
    to a power that grows with their consistency, and given the higher contrast of the two. Luminance does not count, so
    that a constant added to f is free. Where both sources are flat no structure is desired, and contrast in f only
    costs. Takes (B,H,W) and (2,B,H,W) with sides of at least 11 pixels, returns (B,) in [−1, 1].
    """
    images = torch.cat([fused[None], sources])
    total = fused.new_zeros(fused.shape[0])
    for strip in strips(images, GAUSSIAN - 1):
        total += _similarity(strip[0], strip[1], strip[2]).sum((-2, -1))
    return total / ((fused.shape[-2] - GAUSSIAN + 1) * (fused.shape[-1] - GAUSSIAN + 1))


def multi_scale_mef_ssim(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores ``mef_ssim`` over three scales, as Ma, Zeng & Wang 2015 combine them; some evaluators call it MS-SSIM.

    The score is the weighted geometric mean over scales, each half as large as the one before (mean of 2×2 pixels).
    Where f has the opposite structure on some scale, its negative score there counts as 0 (the published code turns
    complex). Takes (B,H,W) and (2,B,H,W) with sides of at least 44 pixels, returns (B,) in [0, 1].
    """
    score = torch.ones_like(fused[:, 0, 0])
    for scale, weight in enumerate(WEIGHTS):
        if scale > 0:
            fused, sources = halve(fused), halve(sources)
        score *= mef_ssim(fused, sources).clamp_(min=0).pow_(weight / sum(WEIGHTS))
    return score


def _similarity(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Returns the similarity in every window: (B,H,W) each to (B,H−10,W−10)."""
    of_a, of_b = _structure_factors(a, b)
    mean_f, mean_a, mean_b = (gaussian_means(image) for image in (fused, a, b))
    covariance = of_a * (gaussian_means(a * fused) - mean_a * mean_f)
    covariance += of_b * (gaussian_means(b * fused) - mean_b * mean_f)
    variances = gaussian_means(fused.square()) - mean_f.square()
    variances += of_a.square() * (gaussian_means(a.square()) - mean_a.square())
    variances += of_b.square() * (gaussian_means(b.square()) - mean_b.square())
    variances += 2 * of_a * of_b * (gaussian_means(a * b) - mean_a * mean_b)
    _, c = ssim_constants(PEAK)
    return (2 * covariance + c) / (variances + c)


def _structure_factors(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the factor of each source's structure (its grey levels less their mean) in the desired structure."""
    square_a, square_b, product = _co_scatter(a, a), _co_scatter(b, b), _co_scatter(a, b)
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


def _co_scatter(x: Tensor, y: Tensor) -> Tensor:
    """Returns Σ (x − x̄)(y − ȳ) in each window; exactly 0 where whole grey levels are flat."""
    ones = [1.0] * GAUSSIAN
    scatter = PIXELS * windowed_sums(x * y, ones) - windowed_sums(x, ones) * windowed_sums(y, ones)
    return (scatter.clamp_(min=0) if x is y else scatter).div_(PIXELS)
