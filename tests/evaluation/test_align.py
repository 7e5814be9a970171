from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from refusion.evaluation.align import Window, find_window, what_to_crop


@pytest.fixture
def scene() -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 255, (60, 70)).astype(np.float32)


@pytest.mark.parametrize(
    ("fused", "sources", "cropped"),
    [
        ((40, 50), (40, 50), "nothing"),
        ((40, 50), (40, 51), "sources"),
        ((40, 50), (72, 82), "sources"),
        ((72, 82), (40, 50), "fused"),
        ((40, 50), (73, 50), None),
        ((40, 50), (41, 49), None),
    ],
)
def test_what_to_crop(fused: tuple[int, int], sources: tuple[int, int], cropped: str | None) -> None:
    assert what_to_crop(fused, sources) == cropped


@pytest.mark.parametrize(("top", "left", "height", "width"), [(0, 0, 50, 60), (7, 3, 50, 60), (10, 0, 50, 70)])
def test_the_part_that_was_cut_is_found(
    scene: NDArray[np.float32], top: int, left: int, height: int, width: int
) -> None:
    window = Window(top, left, height, width)
    noise = np.random.default_rng(1).uniform(0, 255, scene.shape).astype(np.float32)
    assert find_window(window.crop(scene), scene, noise) == window
    assert find_window(window.crop(0.5 * scene + 0.5 * noise), noise, scene) == window


def test_sources_are_found_in_a_larger_fused_picture(scene: NDArray[np.float32]) -> None:
    window = Window(4, 9, 44, 58)
    flat = np.full((44, 58), 9, np.float32)
    assert find_window(scene, window.crop(scene), flat) == window
    assert find_window(scene, flat, 255 - window.crop(255 - scene)) == window


def test_flat_pictures_are_cut_from_the_centre() -> None:
    flat = np.full((20, 30), 9, np.float32)
    large = np.full((24, 35), 7, np.float32)
    assert find_window(flat, large, large) == Window(2, 2, 20, 30)
    assert find_window(large, flat, flat) == Window(2, 2, 20, 30)


def test_a_flat_fused_picture_is_cut_from_the_centre(scene: NDArray[np.float32]) -> None:
    assert find_window(np.full((50, 60), 3, np.float32), scene, scene) == Window(5, 5, 50, 60)
