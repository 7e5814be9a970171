"""Global statistics of the grey levels: SD and SCD."""

from __future__ import annotations

from torch import Tensor

PIXELS = (-2, -1)


def standard_deviation(fused: Tensor, sources: Tensor) -> Tensor:  # noqa: ARG001 - every metric takes both
    """SD: population standard deviation of ``fused`` (B,H,W), in grey levels; the sources play no part."""
    return (fused - fused.mean(PIXELS, keepdim=True)).square().mean(PIXELS).sqrt()


def sum_of_correlations_of_differences(fused: Tensor, sources: Tensor) -> Tensor:
    """SCD: corr(a, f − b) + corr(b, f − a), Pearson over all pixels; fused (B,H,W), sources (2,B,H,W).

    METRICS.md, convention ``authors``. NaN (0/0) where a source or a difference is flat.
    """
    return pearson(sources, fused - sources.flip(0)).sum(0)


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation over the pixels of (…,H,W) images: (…); NaN where either is flat."""
    x = x - x.mean(PIXELS, keepdim=True)
    y = y - y.mean(PIXELS, keepdim=True)
    return (x * y).sum(PIXELS) / (x.square().sum(PIXELS) * y.square().sum(PIXELS)).sqrt()
