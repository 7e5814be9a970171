"""Measures of a pair of sources before anything is trained on them: shift, exposure, focus."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

Plane = NDArray[np.float32]

# Sides longer than this are halved until they fit: a shift of a few pixels stays visible.
_MOST_SIDE = 640
_MOST_OF_SIDE = 0.25
# Grey levels at and beyond which a pixel holds no detail.
_DARK, _BRIGHT = 8 / 255, 247 / 255


@dataclass(frozen=True)
class Shift:
    """Translation between the sources of a pair.

    Attributes:
        down, right: pixels by which b's content lies below and right of a's.
        agreement: 0 to 1, correlation of both edge maps once b is shifted back; near 0 says that the shift is a guess.
        gain: by how much that correlation is above the one without a shift; 0 for a shift by more than a quarter of the
            shorter side, where too little is left to compare.
    """

    down: float
    right: float
    agreement: float
    gain: float

    @property
    def length(self) -> float:
        """Pixels."""
        return float(np.hypot(self.down, self.right))


@dataclass(frozen=True)
class Exposure:
    """Fractions of 0 to 1 of one source: mean grey, and pixels too dark or too bright to hold detail."""

    mean: float
    dark: float
    bright: float


def shift_of(a: Plane, b: Plane) -> Shift:
    """Returns the translation between two sources by phase correlation of their edge maps.

    Edges are what different sensors have in common; their strength is compressed so that one bright edge does not
    decide alone. Source: M. Guizar-Sicairos et al., Optics Letters 33 (2008) 156, as scikit-image has it.

    Args:
        a, b: luminance (H, W) in [0, 1], of one size.

    >>> import numpy as np
    >>> picture = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    >>> found = shift_of(picture, np.roll(picture, (3, -2), (0, 1)))
    >>> found.down, found.right
    (3.0, -2.0)
    """
    factor = 1
    while max(a.shape) // factor > _MOST_SIDE:
        factor *= 2
    edges_a, edges_b = (_edges(_smaller(plane, factor)) for plane in (a, b))
    if min(edges_a.shape) < 1 or not (edges_a.any() and edges_b.any()):
        return Shift(0.0, 0.0, 0.0, 0.0)
    found = phase_cross_correlation(edges_b, edges_a, upsample_factor=factor, normalization="phase")[0]
    down, right = (float(part) for part in found)
    agreement = _correlation(*_overlap(edges_a, edges_b, round(down), round(right)))
    before = _correlation(edges_a, edges_b)
    plausible = np.hypot(down, right) <= _MOST_OF_SIDE * min(edges_a.shape)
    gain = agreement - before if plausible else 0.0
    return Shift(down * factor + 0.0, right * factor + 0.0, max(agreement, 0.0), gain)


def exposure_of(plane: Plane) -> Exposure:
    """Returns the exposure of luminance (H, W) in [0, 1]."""
    return Exposure(float(plane.mean()), float((plane <= _DARK).mean()), float((plane >= _BRIGHT).mean()))


def sharpness_of(plane: Plane) -> float:
    """Returns the variance of the Laplacian of luminance (H, W) in [0, 255]: larger where the picture is in focus."""
    return float(cv2.Laplacian(plane * 255, cv2.CV_32F).var())


def focus_shares(a: Plane, b: Plane, side: int = 16) -> tuple[float, float]:
    """Returns the fractions of blocks in which a and b are clearly the sharper one, by energy of the Laplacian.

    Args:
        a, b: luminance (H, W) in [0, 1].
        side: of a block, in pixels.
    """
    energies = [
        cv2.blur(cv2.Laplacian(plane, cv2.CV_32F) ** 2, (side, side))[::side, ::side] + 1e-6 for plane in (a, b)
    ]
    ratio = energies[0] / energies[1]
    return float((ratio > 2).mean()), float((ratio < 0.5).mean())


def _edges(plane: Plane) -> Plane:
    right, down = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
    edges: Plane = np.sqrt(np.hypot(right, down)).astype(np.float32)
    # Borders are in one place in both pictures, whatever their shift.
    return edges[2:-2, 2:-2]


def _overlap(a: Plane, b: Plane, down: int, right: int) -> tuple[Plane, Plane]:
    """Returns the parts of both that show the same once b is shifted back."""
    height, width = a.shape
    rows_a, rows_b = slice(max(0, -down), height - max(0, down)), slice(max(0, down), height - max(0, -down))
    columns_a, columns_b = slice(max(0, -right), width - max(0, right)), slice(max(0, right), width - max(0, -right))
    return a[rows_a, columns_a], b[rows_b, columns_b]


def _smaller(plane: Plane, factor: int) -> Plane:
    if factor == 1:
        return plane
    height, width = plane.shape
    return np.asarray(cv2.resize(plane, (width // factor, height // factor), interpolation=cv2.INTER_AREA), np.float32)


def _correlation(a: Plane, b: Plane) -> float:
    off_a, off_b = a - a.mean(), b - b.mean()
    return float((off_a * off_b).sum() / max(float(np.sqrt((off_a**2).sum() * (off_b**2).sum())), 1e-12))
