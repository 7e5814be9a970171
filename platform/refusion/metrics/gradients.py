"""How much the grey levels change from pixel to pixel: SF and AG. Both reward noise."""

from __future__ import annotations

import torch
from torch import Tensor

PIXELS = (-2, -1)


def spatial_frequency(fused: Tensor, sources: Tensor) -> Tensor:  # noqa: ARG001 - every metric takes both
    """SF: root of the mean squared differences to the next column plus those to the next row; ``fused`` is (B,H,W).

    METRICS.md, convention ``authors``: each mean is over its own number of differences (VIFB divides by H·W). The
    sources play no part.
    """
    return (fused.diff(dim=-1).square().mean(PIXELS) + fused.diff(dim=-2).square().mean(PIXELS)).sqrt()


def average_gradient(fused: Tensor, sources: Tensor) -> Tensor:  # noqa: ARG001 - every metric takes both
    """AG: mean of sqrt((dx² + dy²) / 2) over all H·W pixels of ``fused`` (B,H,W); the sources play no part.

    Central differences, one-sided at the border (``numpy.gradient``): the commonest form, as the authors have none.
    """
    dy, dx = torch.gradient(fused, dim=PIXELS)
    return ((dx.square() + dy.square()) / 2).sqrt().mean(PIXELS)
