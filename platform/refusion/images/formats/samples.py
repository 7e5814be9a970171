"""Samples of a decoded picture, before its range is mapped to 0–255."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

UPRIGHT = 1


@dataclass(frozen=True)
class Samples:
    """A picture's values as the file holds them, upright, without alpha.

    Attributes:
        values: (H, W) grey or (H, W, 3) RGB, of an integer or float type.
        about: format and depth, such as "PNG, 8 bits".
        full: values of black and white by the file's own word; None where nothing is agreed (signed integers, 32 bits).
        window: black and white that the file asks to be shown with (DICOM).
        orientation: that the file claimed (EXIF, 1: upright); it has been applied.
        measured: True for a format whose values are measurements that are always shown by some window (DICOM, NIfTI).
        remarks: what was done that its user may not expect, such as "the first of 3 frames".
    """

    values: NDArray[Any]
    about: str
    full: tuple[float, float] | None
    window: tuple[float, float] | None = None
    orientation: int = UPRIGHT
    measured: bool = False
    remarks: tuple[str, ...] = ()


def upright(samples: Samples) -> Samples:
    """Returns the samples turned as their orientation asks (EXIF, 1 to 8); the claim itself is kept.

    Example:
        >>> upright(Samples(np.array([[1, 2]], np.uint8), "", (0, 255), orientation=6)).values.tolist()
        [[1], [2]]
    """
    if samples.orientation == UPRIGHT:
        return samples
    return replace(samples, values=np.ascontiguousarray(_TURNS[samples.orientation](samples.values)))


_TURNS: dict[int, Any] = {
    2: np.fliplr,
    3: lambda values: np.rot90(values, 2),
    4: np.flipud,
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: np.rot90(values, -1),
    7: lambda values: np.rot90(values, 2).swapaxes(0, 1),
    8: lambda values: np.rot90(values, 1),
}


def over_black(values: NDArray[Any], alpha: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Returns the colours as they look over black, rounded to whole values, and the remark where that changed any.

    Args:
        values: (H, W) or (H, W, 3), unsigned integers, not yet multiplied by alpha.
        alpha: (H, W), of the same type, whose greatest value is opaque.

    Example:
        >>> over_black(np.array([[200, 200]], np.uint8), np.array([[255, 0]], np.uint8))
        (array([[200,   0]], dtype=uint8), ('alpha applied over black',))
    """
    opaque = np.iinfo(alpha.dtype).max
    if bool((alpha == opaque).all()):
        return values, ()
    applied = np.empty_like(values)
    for row, of_row, shares in zip(applied, values, alpha.astype(np.float32) / np.float32(opaque), strict=True):
        row[:] = np.rint(of_row.astype(np.float32) * (shares[:, None] if values.ndim == 3 else shares))
    return applied, ("alpha applied over black",)
