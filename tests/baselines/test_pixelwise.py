from __future__ import annotations

import numpy as np

from refusion.baselines import fuse_baseline

A, B = (values.astype(np.uint8) for values in np.meshgrid(np.arange(256), np.arange(256)))


def test_the_average_is_exact() -> None:
    fused = fuse_baseline("average", A, B, "IVIF").astype(float)
    exact = (A.astype(float) + B) / 2
    assert np.abs(fused - exact).max() <= 0.5
    whole = (A.astype(int) + B) % 2 == 0
    assert np.array_equal(fused[whole], exact[whole])


def test_the_average_is_the_one_that_training_reports() -> None:
    sources = np.stack([A, B]).astype(np.float32) / np.float32(255)
    assert np.array_equal(fuse_baseline("average", A, B, "IVIF"), np.rint(sources.mean(axis=0) * 255).astype(np.uint8))


def test_the_maximum_is_exact() -> None:
    assert np.array_equal(fuse_baseline("max", A, B, "IVIF"), np.maximum(A, B))
