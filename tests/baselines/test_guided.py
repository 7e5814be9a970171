from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from refusion.baselines.guided import fuse_guided, saliency


def mean_filter(image: Any, radius: int) -> Any:
    """Averages the pixels inside the image by a summed-area table."""
    rows, columns = (np.arange(length) for length in image.shape)
    table = np.pad(image.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    top, bottom = np.maximum(rows - radius, 0), np.minimum(rows + radius + 1, len(rows))
    left, right = np.maximum(columns - radius, 0), np.minimum(columns + radius + 1, len(columns))
    total = table[bottom][:, right] - table[top][:, right] - table[bottom][:, left] + table[top][:, left]
    return total / np.outer(bottom - top, right - left)


def refine(guide: Any, image: Any, radius: int, epsilon: float) -> Any:
    mean_guide, mean_image = mean_filter(guide, radius), mean_filter(image, radius)
    slope = (mean_filter(guide * image, radius) - mean_guide * mean_image) / (
        mean_filter(guide**2, radius) - mean_guide**2 + epsilon
    )
    offset = mean_image - slope * mean_guide
    return np.clip(mean_filter(slope, radius) * guide + mean_filter(offset, radius), 0, 1)


def plain_guided_fusion(a: Any, b: Any) -> Any:
    """Computes the paper's equations in NumPy and SciPy alone."""
    a, b = a.astype(float), b.astype(float)
    laplacian = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    salient_a, salient_b = (
        ndimage.gaussian_filter(np.abs(ndimage.correlate(x, laplacian, mode="nearest")), 5, radius=5, mode="nearest")
        for x in (a, b)
    )
    fused = np.zeros_like(a)
    base_a, base_b = mean_filter(a, 15), mean_filter(b, 15)
    scales = (((base_a, base_b), 45, 0.3), ((a - base_a, b - base_b), 7, 1e-6))
    for (layer_a, layer_b), radius, epsilon in scales:
        weight_a = refine(a, (salient_a > salient_b).astype(float), radius, epsilon)
        weight_b = refine(b, (salient_b > salient_a).astype(float), radius, epsilon)
        fused += (weight_a * layer_a + weight_b * layer_b) / (weight_a + weight_b)
    return fused


def test_it_is_the_papers_method(textured: Any) -> None:
    other = np.random.default_rng(6).uniform(0.3, 0.7, textured.shape).astype(np.float32)
    other[:, :30] = 0.5 + 0.001 * other[:, :30]
    np.testing.assert_allclose(fuse_guided(textured, other), plain_guided_fusion(textured, other), atol=1e-4)


def test_detail_comes_from_the_source_that_has_it(textured: Any) -> None:
    sharp_left, sharp_right = textured.copy(), textured.copy()
    sharp_left[:, 28:] = 0.5
    sharp_right[:, :28] = 0.5
    fused = fuse_guided(sharp_left, sharp_right)
    for columns in (slice(8, 20), slice(36, 48)):
        region = (slice(8, -8), columns)
        assert np.corrcoef(fused[region].ravel(), textured[region].ravel())[0, 1] > 0.9
        assert fused[region].std() > 0.8 * textured[region].std()


def test_saliency_is_higher_where_there_is_structure() -> None:
    image = np.full((30, 60), 0.5, np.float32)
    image[:, :30] = np.random.default_rng(0).uniform(0, 1, (30, 30))
    found = saliency(image)
    assert found[:, :24].min() > 10 * found[:, 36:].max()
