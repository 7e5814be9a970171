from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from refusion.baselines.focus import fuse_focus, sum_modified_laplacian


def two_focuses(sharp: Any) -> tuple[Any, Any]:
    """The left half in focus, the right half in focus."""
    blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
    near = np.arange(sharp.shape[1]) < sharp.shape[1] // 2
    return np.where(near, sharp, blurred), np.where(near, blurred, sharp)


def test_the_sharp_halves_are_picked(textured: Any) -> None:
    sharp = np.tile(textured, (2, 2))
    a, b = two_focuses(sharp)
    fused = fuse_focus(a, b)
    middle = sharp.shape[1] // 2
    away = np.abs(np.arange(sharp.shape[1]) - middle) > 20
    np.testing.assert_allclose(fused[:, away], sharp[:, away], atol=0.01)
    error = np.abs(fused - sharp).mean()
    assert error < 0.1 * np.abs((a + b) / 2 - sharp).mean()


def test_a_speck_of_noise_in_the_blurred_half_is_not_picked(textured: Any) -> None:
    sharp = np.tile(textured, (2, 2))
    a, b = two_focuses(sharp)
    b[40:42, 20:22] += 0.5
    fused = fuse_focus(a, b)
    assert np.abs(fused - a)[36:46, 16:26].max() < 0.1


def test_where_neither_is_sharper_they_are_averaged() -> None:
    a, b = np.full((30, 30), 0.2, np.float32), np.full((30, 30), 0.6, np.float32)
    np.testing.assert_allclose(fuse_focus(a, b), 0.4, atol=1e-6)


def test_the_focus_measure_is_the_sum_modified_laplacian(textured: Any) -> None:
    image = textured.astype(np.float64)
    around = np.pad(image, 1, mode="edge")
    across = np.abs(2 * image - around[1:-1, :-2] - around[1:-1, 2:])
    down = np.abs(2 * image - around[:-2, 1:-1] - around[2:, 1:-1])
    window = (across + down)[16:25, 26:35]
    np.testing.assert_allclose(sum_modified_laplacian(textured)[20, 30], window.mean(), rtol=1e-6)
