"""Global statistics of the grey levels (SD, CC, SCD)."""

from __future__ import annotations

import torch
from torch import Tensor

PIXELS = (-2, -1)


def standard_deviation(fused: Tensor, sources: Tensor) -> Tensor:  # noqa: ARG001 - every metric takes both
    """Scores SD: population standard deviation of ``fused`` (B,H,W), in grey levels; the sources play no part.

    All conventions agree on it (VIFB calls it variance).
    """
    return (fused - fused.mean(PIXELS, keepdim=True)).square().mean(PIXELS).sqrt()


def mean_correlation(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores CC: mean over the two sources of corr(s, f), Pearson over all pixels; fused (B,H,W), sources (2,B,H,W).

    All conventions that have it agree (docs/metrics.md). NaN (0/0) where the fused image or a source is flat.
    """
    return pearson(sources, fused).mean(0)


def sum_of_correlations_of_differences(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores SCD: corr(a, f − b) + corr(b, f − a), Pearson over all pixels; fused (B,H,W), sources (2,B,H,W).

    All conventions agree on it (docs/metrics.md). NaN (0/0) where a source or a difference is flat.
    """
    return pearson(sources, fused - sources.flip(0)).sum(0)


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Returns Pearson's correlation over the pixels of (…,H,W) images: (…); NaN where either is flat."""
    # The mean of equal fractions is off by a rounding error, which would then be correlated with something.
    flat = _is_flat(x) | _is_flat(y)
    x = x - x.mean(PIXELS, keepdim=True)
    y = y - y.mean(PIXELS, keepdim=True)
    correlation = (x * y).sum(PIXELS) / (x.square().sum(PIXELS) * y.square().sum(PIXELS)).sqrt()
    return correlation.masked_fill(flat, torch.nan)


def _is_flat(images: Tensor) -> Tensor:
    return images.amin(PIXELS) == images.amax(PIXELS)
