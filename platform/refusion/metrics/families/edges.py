"""Edges of the sources that the fused image preserves (Qabf)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from refusion.metrics.filters import strips

Preservation = Callable[[Tensor, Tensor, Tensor], Tensor]


def edge_preservation(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores Qabf (Xydeas & Petrović 2000): strength and direction of the sources' edges that f preserves.

    The form is that of convention ``authors`` (docs/metrics.md), with two peculiarities of the public evaluators: where
    source and fused image have the same edge strength g, the relative strength is g itself, not 1 (so the score depends
    on the scale of the grey levels); and the angle difference is not wrapped (so mirroring all images changes it a
    little).

    Args:
        fused, sources: (B,H,W) and (2,B,H,W).

    Returns:
        (B,) in [0, 1], more is better; NaN (0/0) where both sources are black.
    """
    return _weighted_preservation(fused, sources, _preservation_of_evaluators)


def corrected_edge_preservation(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores Qabf with both peculiarities of ``edge_preservation`` mended (docs/metrics.md, convention ``corrected``).

    Equal edge strengths have the relative strength 1, and angles differ by π/2 at most, as edges half a turn apart are
    the same edge. So neither the scale of the grey levels nor mirroring all images matters. The frame of zeros round
    the images stays, so that their borders count as edges. NaN (0/0) where both sources are black. Takes (B,H,W) and
    (2,B,H,W), returns (B,).
    """
    return _weighted_preservation(fused, sources, _preservation_corrected)


def sobel(padded: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the Sobel differences (…,H−2,W−2) along the rows and along the columns of (…,H,W).

    The signs are those of a true convolution with [−1 0 1; −2 0 2; −1 0 1] and [1 2 1; 0 0 0; −1 −2 −1].
    """
    smooth_rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    smooth_columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return smooth_rows[..., :-2] - smooth_rows[..., 2:], smooth_columns[..., 2:, :] - smooth_columns[..., :-2, :]


def _weighted_preservation(fused: Tensor, sources: Tensor, preservation: Preservation) -> Tensor:
    total = fused.new_zeros(fused.shape[0])
    available = torch.zeros_like(total)
    for f, s in zip(strips(_with_border(fused), 2), strips(_with_border(sources), 2), strict=True):
        strength_f, angle_f = _edges(f)
        strength_s, angle_s = _edges(s)
        preserved = preservation(strength_s, strength_f, (angle_s - angle_f).abs_())
        total += (preserved * strength_s).sum((0, -2, -1))
        available += strength_s.sum((0, -2, -1))
    return total / available


def _preservation_of_evaluators(source: Tensor, fused: Tensor, angle: Tensor) -> Tensor:
    relative = torch.minimum(source, fused) / torch.maximum(source, fused)
    return _preservation(torch.where(source == fused, fused, relative), angle)


def _preservation_corrected(source: Tensor, fused: Tensor, angle: Tensor) -> Tensor:
    relative = torch.minimum(source, fused) / torch.maximum(source, fused)
    return _preservation(relative.masked_fill_(source == fused, 1.0), torch.minimum(angle, math.pi - angle))


def _preservation(relative: Tensor, angle: Tensor) -> Tensor:
    alignment = 1 - angle / (math.pi / 2)
    return 0.9994 * 0.9879 * torch.sigmoid(15 * (relative - 0.5)) * torch.sigmoid(22 * (alignment - 0.8))


def _with_border(images: Tensor) -> Tensor:
    return torch.nn.functional.pad(images, (1, 1, 1, 1))


def _edges(padded: Tensor) -> tuple[Tensor, Tensor]:
    """Returns strength and angle in [−π/2, π/2] of the Sobel edges inside a border of one pixel."""
    # The signs decide the angle difference where only one image has sx = 0.
    sx, sy = sobel(padded)
    angle = torch.where(sx == 0, math.pi / 2, torch.atan(sy / sx))
    return (sx.square_() + sy.square_()).sqrt_(), angle
