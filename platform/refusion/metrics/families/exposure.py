"""Structure of the sources that a fusion of exposures preserves (MEF-SSIM)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce

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
    to a power that grows with their consistency, and given the highest contrast of them. Luminance does not count, so
    that a constant added to f is free. Where all sources are flat no structure is desired, and contrast in f only
    costs. Takes (B,H,W) and (K,B,H,W), K ≥ 2, with sides of at least 11 pixels, returns (B,) in [−1, 1].
    """
    images = torch.cat([fused[None], sources])
    total = fused.new_zeros(fused.shape[0])
    for strip in strips(images, GAUSSIAN - 1):
        total += _similarity(strip[0], list(strip[1:])).sum((-2, -1))
    return total / ((fused.shape[-2] - GAUSSIAN + 1) * (fused.shape[-1] - GAUSSIAN + 1))


def multi_scale_mef_ssim(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores ``mef_ssim`` over three scales, as Ma, Zeng & Wang 2015 combine them; some evaluators call it MS-SSIM.

    The score is the weighted geometric mean over scales, each half as large as the one before (mean of 2×2 pixels).
    Where f has the opposite structure on some scale, its negative score there counts as 0 (the published code turns
    complex). Takes (B,H,W) and (K,B,H,W), K ≥ 2, with sides of at least 44 pixels, returns (B,) in [0, 1].
    """
    score = torch.ones_like(fused[:, 0, 0])
    for scale, weight in enumerate(WEIGHTS):
        if scale > 0:
            fused, sources = halve(fused), halve(sources)
        score *= mef_ssim(fused, sources).clamp_(min=0).pow_(weight / sum(WEIGHTS))
    return score


def _similarity(fused: Tensor, sources: list[Tensor]) -> Tensor:
    """Returns the similarity in every window: (B,H,W) each to (B,H−10,W−10)."""
    factors = _structure_factors(sources)
    mean_f, means = gaussian_means(fused), [gaussian_means(source) for source in sources]
    covariance = torch.zeros_like(mean_f)
    variances = gaussian_means(fused.square()) - mean_f.square()
    for k, (of_k, mean, source) in enumerate(zip(factors, means, sources, strict=True)):
        covariance += of_k * (gaussian_means(source * fused) - mean * mean_f)
        variances += of_k.square() * (gaussian_means(source.square()) - mean.square())
        for of_j, other_mean, other in zip(factors[:k], means, sources, strict=False):
            variances += 2 * of_k * of_j * (gaussian_means(source * other) - mean * other_mean)
    _, c = ssim_constants(PEAK)
    return (2 * covariance + c) / (variances + c)


def _structure_factors(sources: list[Tensor]) -> list[Tensor]:
    """Returns the factor of each source's structure (its grey levels less their mean) in the desired structure."""
    squares = [_co_scatter(source, source) for source in sources]
    products = {
        (j, k): _co_scatter(sources[j], sources[k]) for k in range(len(sources)) for j in range(k)
    }  # of each two sources
    norms = [square.sqrt() for square in squares]
    norm_of_sum = (_sum(squares) + 2 * _sum(products.values())).clamp_(min=0).sqrt_()
    consistency = ((norm_of_sum + EPS) / (_sum(norms) + EPS)).clamp_(max=1)
    # At 1 the tangent is huge, not infinite: in floating point π/2 is a little too small.
    power = (math.pi / 2 * consistency).tan_().clamp_(max=STRONGEST_POWER)
    contrasts = [norm + LEAST_CONTRAST for norm in norms]
    weights = [(contrast / GAUSSIAN).pow_(power) + EPS for contrast in contrasts]
    total = _sum(weights)
    factors = [weight / contrast / total for weight, contrast in zip(weights, contrasts, strict=True)]
    own = _sum(factor.square() * square for factor, square in zip(factors, squares, strict=True))
    square = own + 2 * _sum(factors[j] * factors[k] * product for (j, k), product in products.items())
    # Structures that cancel each other leave rounding errors, which must not be blown up to full contrast.
    highest = torch.stack(contrasts).amax(0)
    scale = torch.where(square <= 1e-12 * own, 0.0, highest / square.sqrt())
    return [scale * factor for factor in factors]


def _sum(tensors: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, tensors)


def _co_scatter(x: Tensor, y: Tensor) -> Tensor:
    """Returns Σ (x − x̄)(y − ȳ) in each window; exactly 0 where whole grey levels are flat."""
    ones = [1.0] * GAUSSIAN
    scatter = PIXELS * windowed_sums(x * y, ones) - windowed_sums(x, ones) * windowed_sums(y, ones)
    return (scatter.clamp_(min=0) if x is y else scatter).div_(PIXELS)
