from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from refusion.baselines.pyramid import decompose, fuse_laplacian, rebuild


@pytest.mark.parametrize(("size", "levels"), [((1, 9), 0), ((3, 3), 0), ((4, 4), 1), ((15, 40), 3), ((64, 65), 4)])
def test_a_pyramid_is_rebuilt_exactly_at_any_size(size: tuple[int, int], levels: int) -> None:
    image = np.random.default_rng(1).uniform(0, 1, size).astype(np.float32)
    bands, base = decompose(image)
    assert len(bands) == levels
    np.testing.assert_allclose(rebuild(bands, base), image, atol=1e-6)


def test_a_band_is_what_the_burt_adelson_filter_takes_away(textured: Any) -> None:
    bands, _ = decompose(textured)
    kernel = np.array([1, 4, 6, 4, 1], np.float64) / 16
    smooth = cv2.sepFilter2D(textured.astype(np.float64), -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
    apart = np.zeros_like(smooth)
    apart[::2, ::2] = smooth[::2, ::2]
    expanded = cv2.sepFilter2D(apart, -1, 2 * kernel, 2 * kernel, borderType=cv2.BORDER_REFLECT_101)
    inner = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(bands[0][inner], (textured - expanded)[inner], atol=1e-5)


def test_details_of_either_source_survive_at_full_contrast(textured: Any) -> None:
    flat = np.full_like(textured, textured.mean())
    fused = fuse_laplacian(textured, flat)
    fine, kept, averaged = (decompose(image)[0][0] for image in (textured, fused, (textured + flat) / 2))
    assert np.linalg.norm(kept - fine) < 0.05 * np.linalg.norm(fine)
    assert np.linalg.norm(averaged - fine) > 0.45 * np.linalg.norm(fine)
