"""Edges of the sources kept in the fused image: Qabf."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refusion.metrics.filters import strips


def edge_preservation(fused: Tensor, sources: Tensor) -> Tensor:
    """Qabf (Xydeas & Petrović 2000): how far the strength and direction of each source's edges survive in f.

    METRICS.md, convention ``authors``, with two peculiarities of the public evaluators: where source and fused
    image have the same edge strength g, the relative strength is g itself, not 1 (so the score depends on the scale of
    the grey levels); and the angle difference is not wrapped (so mirroring all images changes it a little).
    NaN (0/0) where both sources are black. Takes (B,H,W) and (2,B,H,W), gives (B,).
    """
    kept = fused.new_zeros(fused.shape[0])
    available = torch.zeros_like(kept)
    for f, s in zip(strips(_with_border(fused), 2), strips(_with_border(sources), 2), strict=True):
        strength_f, angle_f = _edges(f)
        strength_s, angle_s = _edges(s)
        preserved = _preservation(strength_s, strength_f, (angle_s - angle_f).abs_())
        kept += (preserved * strength_s).sum((0, -2, -1))
        available += strength_s.sum((0, -2, -1))
    return kept / available


def _preservation(source: Tensor, fused: Tensor, angle: Tensor) -> Tensor:
    relative = torch.minimum(source, fused) / torch.maximum(source, fused)
    relative = torch.where(source == fused, fused, relative)
    alignment = 1 - angle / (math.pi / 2)
    return 0.9994 * 0.9879 * torch.sigmoid(15 * (relative - 0.5)) * torch.sigmoid(22 * (alignment - 0.8))


def _with_border(images: Tensor) -> Tensor:
    return torch.nn.functional.pad(images, (1, 1, 1, 1))


def _edges(padded: Tensor) -> tuple[Tensor, Tensor]:
    """Strength and angle in [−π/2, π/2] of the Sobel edges inside a border of one pixel."""
    smooth_rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    smooth_columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    # A true convolution turns the kernels round; the signs decide the angle difference where only one image has sx = 0.
    sx = smooth_rows[..., :-2] - smooth_rows[..., 2:]
    sy = smooth_columns[..., 2:, :] - smooth_columns[..., :-2, :]
    angle = torch.where(sx == 0, math.pi / 2, torch.atan(sy / sx))
    return (sx.square_() + sy.square_()).sqrt_(), angle
