"""Images to score: crops of scikit-image's bundled photographs, fused in ways that stress one metric or another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter
from skimage import color, data

Grey = npt.NDArray[np.uint8]
Triple = tuple[Grey, Grey, Grey]


def _grey(values: npt.NDArray[np.floating]) -> Grey:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _sources(height: int, width: int, row: int, column: int) -> tuple[Grey, Grey]:
    """Returns near focus and far focus of one scene: each image blurred in the half that the other keeps."""
    pictures = {
        "camera": data.camera(),
        "astronaut": _grey(color.rgb2gray(data.astronaut()) * 255),
        "coffee": _grey(color.rgb2gray(data.coffee()) * 255),
    }
    scene = pictures[("camera", "astronaut", "coffee")[row % 3]][row : row + height, column : column + width]
    scene = scene.astype(float)
    blurred = gaussian_filter(scene, 2.0)
    near = np.arange(width) < width // 2
    return _grey(np.where(near, scene, blurred)), _grey(np.where(near, blurred, scene) * 0.8 + 20)


def _fuse_mix(a: Grey, b: Grey) -> Grey:
    return _grey((a.astype(float) + b) / 2)


def _fuse_blurred(a: Grey, b: Grey) -> Grey:
    return _grey(gaussian_filter(_fuse_mix(a, b).astype(float), 1.5))


def _fuse_noisy(a: Grey, b: Grey) -> Grey:
    return _grey(_fuse_mix(a, b) + np.random.default_rng(5).normal(0, 12, a.shape))


def _fuse_max(a: Grey, b: Grey) -> Grey:
    return np.maximum(a, b)


def _fuse_flat_patches(a: Grey, b: Grey) -> Grey:
    fused = _fuse_mix(a, b)
    fused[: a.shape[0] // 2, : a.shape[1] // 3] = 255
    return fused


def _fuse_negative(a: Grey, b: Grey) -> Grey:
    return 255 - _fuse_mix(a, b)


FUSIONS: dict[str, tuple[Callable[[Grey, Grey], Grey], tuple[int, int, int, int]]] = {
    "mix": (_fuse_mix, (64, 80, 120, 200)),
    "blurred": (_fuse_blurred, (57, 71, 91, 180)),
    "noisy": (_fuse_noisy, (64, 66, 122, 100)),
    "max": (_fuse_max, (49, 90, 60, 220)),
    "flat patches": (_fuse_flat_patches, (64, 64, 151, 90)),
    "negative": (_fuse_negative, (60, 52, 240, 120)),
}


@pytest.fixture(params=list(FUSIONS))
def triple(request: pytest.FixtureRequest) -> Triple:
    """Fused image and its two sources, uint8 (H,W)."""
    fuse, where = FUSIONS[request.param]
    a, b = _sources(*where)
    return fuse(a, b), a, b


@pytest.fixture
def pair_of_triples() -> tuple[Triple, Triple]:
    """Two triples of one size, to be scored as a batch."""
    first, second = _sources(48, 52, 120, 200), _sources(48, 52, 91, 180)
    return (_fuse_mix(*first), *first), (_fuse_noisy(*second), *second)
