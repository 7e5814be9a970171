"""Visual information of the sources that the fused image preserves (VIF)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refusion.metrics.filters import gaussian_window, strips, windowed_sums

WINDOWS = (17, 9, 5, 3)
NOISE_VARIANCE = 2.0
EPS = 1e-10


def mean_vifp(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores VIF: mean over the two sources of the pixel-domain, multi-scale VIF (VIFp), the source as the reference.

    There are four scales with Gaussian windows of 17, 9, 5 and 3 pixels (σ = size / 5), no padding, halved between
    scales, visual noise of variance 2 (docs/metrics.md, convention ``authors``; Sheikh & Bovik 2006).

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).

    Returns:
        (B,), more is better; above 1 where f has more contrast than the source, NaN (0/0) where a source is flat.
    """
    preserved, available = _information(fused, sources)
    return (preserved / available).mean(0)


def summed_vifp(fused: Tensor, sources: Tensor, *, flat: float = math.nan) -> Tensor:
    """Scores VIF as public evaluators do: the sum of the two sources' VIFp, where ``mean_vifp`` has their mean.

    A flat source, which holds no information (0/0), counts as ``flat``: CDDFuse's evaluator says 1. Takes (B,H,W) and
    (2,B,H,W), returns (B,).
    """
    preserved, available = _information(fused, sources)
    # A flat source hides NaN in f, which has to show.
    counts = (available == 0) & ~fused.sum((-2, -1)).isnan()
    return torch.where(counts, flat, preserved / available).sum(0)


def _information(fused: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the information of each source that the fused image preserves, and that it has; both (2,B), in nats."""
    images = torch.cat([fused[None], sources])
    # A constant does not change variances, but on white it brings their rounding errors to 7e-11, too near EPS.
    images -= images.mean((-2, -1), keepdim=True).round()
    preserved = fused.new_zeros(sources.shape[:2])
    available = torch.zeros_like(preserved)
    for scale, size in enumerate(WINDOWS):
        window = gaussian_window(size, size / 5)
        if scale > 0:
            halved = [windowed_sums(strip, window, step=2) for strip in strips(images, size - 1)]
            images = torch.cat(halved, dim=-2)
        for strip in strips(images, size - 1):
            means = windowed_sums(strip, window)
            variances = windowed_sums(strip.square(), window).sub_(means.square())
            covariance = windowed_sums(strip[0] * strip[1:], window).sub_(means[0] * means[1:])
            preserved += _preserved_information(variances[1:], variances[0], covariance)
            available += _information_in(variances[1:] / NOISE_VARIANCE, variances[1:])
    return preserved, available


def _preserved_information(source_variance: Tensor, fused_variance: Tensor, covariance: Tensor) -> Tensor:
    gain = covariance / (source_variance + EPS)
    residual = (fused_variance - gain * covariance).clamp_(min=EPS)
    gain.masked_fill_((fused_variance < EPS) | (gain < 0), 0.0)
    return _information_in(gain.square_() * source_variance / (residual + NOISE_VARIANCE), source_variance)


def _information_in(signal_to_noise: Tensor, source_variance: Tensor) -> Tensor:
    return signal_to_noise.masked_fill(source_variance < EPS, 0.0).log1p_().sum((-2, -1))
