"""Fusion artefacts: edges of the fused image that its sources lack (Nabf)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refusion.metrics.families.edges import sobel
from refusion.metrics.filters import strips, with_border

# Edges weaker than this, on 0–255 (Sobel / 8), all have the least weight.
LEAST_STRENGTH = 2.0
LEAST_WEIGHT = 0.001


def fusion_artefacts(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores Nabf: the weight of the edges in f that neither source accounts for, as a share of the sources' edges.

    The form is Petrović & Xydeas 2005 as modified by Shreyamsha Kumar (2013), which fusion papers report: where f has a
    stronger edge than both sources, each source adds (1 − Q) w; Q is the geometric mean of the sigmoids of relative
    strength and of alignment, w is strength^1.5. (Petrović's own weighs the sum of both losses by the sum of
    both weights, so that preservation, loss and artefacts do not add up to 1.) Images are mirrored about their border
    pixels.

    Args:
        fused, sources: (B,H,W) and (2,B,H,W) with sides of at least 2 pixels.

    Returns:
        (B,) in [0, 1], less is better; 0 for flat sources unless f has edges.
    """
    added = fused.new_zeros(fused.shape[0])
    available = torch.zeros_like(added)
    for f, s in zip(strips(_mirrored(fused), 2), strips(_mirrored(sources), 2), strict=True):
        strength_f, angle_f = _edges(f)
        strength_s, angle_s = _edges(s)
        lost = 1 - _preservation(strength_s, strength_f, (angle_s - angle_f).abs_())
        weight = torch.where(strength_s < LEAST_STRENGTH, LEAST_WEIGHT, strength_s * strength_s.sqrt())
        # NaN compares as False, so this form lets it through to the score.
        excess = (lost * weight).sum(0).masked_fill_((strength_f <= strength_s).any(0), 0.0)
        added += excess.sum((-2, -1))
        available += weight.sum((0, -2, -1))
    return added / available


def artefacts_of_first_source(fused: Tensor, sources: Tensor) -> Tensor:
    """Scores Nabf as L. Tang's evaluator does: the artefacts of source a, with b and the fused image as its sources.

    That evaluator passes the images in the wrong order. The value says little about the fused image, and changes where
    a and b change places. Takes (B,H,W) and (2,B,H,W), returns (B,).
    """
    return fusion_artefacts(sources[0], torch.stack([sources[1], fused]))


def _preservation(source: Tensor, fused: Tensor, angle: Tensor) -> Tensor:
    relative = torch.minimum(source, fused) / torch.maximum(source, fused)
    relative.masked_fill_((source == 0) | (fused == 0), 0.0)
    alignment = (angle - math.pi / 2).abs_() / (math.pi / 2)
    strength_preserved = 0.9999 * torch.sigmoid(19 * (relative - 0.5))
    return (strength_preserved * 0.9995 * torch.sigmoid(22 * (alignment - 0.5))).sqrt_()


def _mirrored(images: Tensor) -> Tensor:
    return with_border(images, 1, "reflect")


def _edges(padded: Tensor) -> tuple[Tensor, Tensor]:
    """Returns strength and angle in [−π/2, π/2], from the columns, of the Sobel edges inside a border of one pixel."""
    sx, sy = (difference.div_(8) for difference in sobel(padded))
    angle = torch.atan(sx / sy).masked_fill_((sx == 0) & (sy == 0), 0.0)
    return (sx.square_() + sy.square_()).sqrt_(), angle
