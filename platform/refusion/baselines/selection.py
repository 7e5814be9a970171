"""Selection of coefficients: the larger one, where its neighbours agree."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_NEIGHBOURHOOD = 3


def select_larger(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns the coefficient of larger magnitude, by majority of the 3×3 neighbourhood; the mean of both in a draw.

    The majority is the consistency verification of Li, Manjunath & Mitra, Graphical Models and Image Processing
    57(3), 1995: a single coefficient is not taken from a where its neighbours come from b.

    Args:
        a, b: (h, w) coefficients of one band of both sources.
    """
    votes = majority(np.abs(a) - np.abs(b), _NEIGHBOURHOOD)
    return np.where(votes > 0, a, np.where(votes < 0, b, (a + b) / 2))


def majority(difference: npt.NDArray[Any], side: int) -> npt.NDArray[np.float32]:
    """Returns the surplus of positive over negative signs of ``difference`` in each side×side window, (h, w)."""
    signs = np.sign(difference).astype(np.float32)
    return np.asarray(cv2.boxFilter(signs, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT))
