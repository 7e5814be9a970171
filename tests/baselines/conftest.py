"""Small luminances to fuse."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

Plane = npt.NDArray[np.float32]


@pytest.fixture(scope="session")
def textured() -> Plane:
    """(48, 56) in [0.2, 0.8]: structure of several sizes everywhere."""
    random = np.random.default_rng(4)
    layers = [cv2.resize(random.normal(size=(48 // step, 56 // step)), (56, 48)) for step in (1, 4, 12)]
    image = sum(layers)
    return (0.2 + 0.6 * (image - image.min()) / np.ptp(image)).astype(np.float32)


@pytest.fixture(scope="session")
def noise() -> tuple[Plane, Plane]:
    """Two (37, 45) images with nothing in common."""
    first, second = np.random.default_rng(5).uniform(0, 1, (2, 37, 45)).astype(np.float32)
    return first, second
