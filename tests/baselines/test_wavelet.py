from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import pywt

from refusion.baselines.wavelet import WAVELET, fuse_wavelet


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 5), (36, 37), (65, 130)])
def test_equal_sources_are_rebuilt_at_any_size(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).uniform(0, 1, size).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fused = fuse_wavelet(image, image)
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, image, atol=2e-6)


def test_details_of_either_source_survive_and_approximations_are_averaged(textured: Any) -> None:
    flat = np.full_like(textured, 0.9)
    levels = 2  # of an image of 48×56
    fused = pywt.wavedec2(fuse_wavelet(textured, flat), WAVELET, level=levels)
    alone = pywt.wavedec2(textured, WAVELET, level=levels)
    inner = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(fused[-1][0][inner], alone[-1][0][inner], atol=1e-3)
    base = (alone[0] + pywt.wavedec2(flat, WAVELET, level=levels)[0]) / 2
    np.testing.assert_allclose(fused[0][inner], base[inner], atol=1e-3)
