"""Fuse one pair for scoring: the luminance that metrics see, and the picture that ``--save`` writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from refusion import baselines
from refusion.fuse import fuse_luminance
from refusion.images.colour import luminance, restore_colour, stretch, stretch_exact


@dataclass(frozen=True)
class Fused:
    """What one method made of one pair.

    Attributes:
        luminance: (H, W), grey levels 0–255.
        picture: with its colour, as it would be saved; None where it is there already.
    """

    luminance: NDArray[np.uint8] | NDArray[np.float32]
    picture: NDArray[np.uint8] | None = None


def fuse_by_module(module: nn.Module, a: NDArray[np.float32], b: NDArray[np.float32]) -> Fused:
    """One forward pass at full size where the module is. The luminance is the very one that validation scores.

    Args:
        a, b: (H, W) grey or (H, W, 3) RGB, 0–255, of one size.
    """
    raw = fuse_luminance(module, np.stack([luminance(a), luminance(b)]))
    return Fused(stretch(raw), restore_colour(stretch_exact(raw), a, b))


def fuse_by_baseline(name: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> Fused:
    """The same by a classical method, which is clipped and never stretched. ``a`` and ``b`` as for the module."""
    fused = baselines.fuse_luminance(name, luminance(a), luminance(b)) * np.float32(255)
    return Fused(np.rint(fused).astype(np.uint8), restore_colour(fused, a, b))


def grey_levels(image: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Luminance of (H, W) grey or (H, W, 3) RGB on 0–255: what metrics take."""
    return luminance(image) * np.float32(255)
