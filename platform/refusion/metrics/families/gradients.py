"""Gradients of the fused image's grey levels (SF, AG, EI); noise raises all three."""

from __future__ import annotations

import torch
from torch import Tensor

from refusion.metrics.filters import strips

PIXELS = (-2, -1)


def spatial_frequency(fused: Tensor, sources: Tensor, *, over_all_pixels: bool = False) -> Tensor:  # noqa: ARG001
    """Scores SF: root of the mean squared differences to the next column plus those to the next row of ``fused``.

    Each mean is over its own number of differences, H·(W−1) and (H−1)·W; the sources play no part.

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).
        over_all_pixels: divide both sums by H·W instead, as VIFB does (and Eskicioglu & Fisher 1995).
    """
    squares = fused.diff(dim=-1).square(), fused.diff(dim=-2).square()
    if over_all_pixels:
        return ((squares[0].sum(PIXELS) + squares[1].sum(PIXELS)) / _pixels(fused)).sqrt()
    return (squares[0].mean(PIXELS) + squares[1].mean(PIXELS)).sqrt()


def average_gradient(fused: Tensor, sources: Tensor, *, over_intervals: bool = False) -> Tensor:  # noqa: ARG001
    """Scores AG: mean of sqrt((dx² + dy²) / 2) over all H·W pixels of ``fused`` (B,H,W); the sources play no part.

    Differences are central, one-sided at the border (``numpy.gradient``): the commonest form, as the authors have none.

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).
        over_intervals: divide the sum over H·W pixels by (H−1)·(W−1), as VIFB's and L. Tang's evaluators do.
    """
    dy, dx = torch.gradient(fused, dim=PIXELS)
    strength = ((dx.square() + dy.square()) / 2).sqrt()
    if over_intervals:
        height, width = fused.shape[-2:]
        return strength.sum(PIXELS) / ((height - 1) * (width - 1))
    return strength.mean(PIXELS)


def edge_intensity(fused: Tensor, sources: Tensor) -> Tensor:  # noqa: ARG001 - every metric takes both
    """Scores EI: mean over all pixels of the Sobel strength sqrt(sx² + sy²) of ``fused`` (B,H,W).

    The sources play no part. Borders repeat the outermost pixel. The form is VIFB's, and the commonest one (Rajalingam
    & Priya 2018).
    """
    # As images of one channel: torch repeats the borders of an empty batch, but not of no channels.
    padded = torch.nn.functional.pad(fused[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    total = fused.new_zeros(fused.shape[0])
    for strip in strips(padded, 2):
        smooth_rows = strip[:, :-2] + 2 * strip[:, 1:-1] + strip[:, 2:]
        smooth_columns = strip[..., :-2] + 2 * strip[..., 1:-1] + strip[..., 2:]
        sx = smooth_rows[..., 2:] - smooth_rows[..., :-2]
        sy = smooth_columns[:, 2:] - smooth_columns[:, :-2]
        total += (sx.square_() + sy.square_()).sqrt_().sum(PIXELS)
    return total / _pixels(fused)


def _pixels(images: Tensor) -> int:
    return images.shape[-2] * images.shape[-1]
