"""Shifts, exposures and sharpness are measured right on pictures that are made for it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from refusion.inspection.measures import exposure_of, focus_shares, sharpness_of, shift_of


def scene(seed: int = 0, side: int = 96) -> np.ndarray:
    random = np.random.default_rng(seed)
    blocks = random.random((side // 8, side // 8), dtype=np.float32).repeat(8, 0).repeat(8, 1)
    return np.asarray(cv2.GaussianBlur(blocks, (0, 0), 0.7))


@pytest.mark.parametrize("steps", [(0, 0), (5, -7), (-9, 3)])
@pytest.mark.parametrize("other", ["same", "inverted", "dimmed"])
def test_a_shift_is_found_whatever_the_sensor(steps: tuple[int, int], other: str) -> None:
    a = scene()
    b = {"same": a, "inverted": 1 - a, "dimmed": 0.2 * a + 0.1}[other]
    found = shift_of(a, np.roll(b, steps, (0, 1)))
    assert (found.down, found.right) == steps
    assert found.gain > 0.04 or steps == (0, 0)


def test_unlike_pictures_have_no_shift_that_their_edges_bear_out() -> None:
    found = shift_of(scene(1), scene(2))
    assert found.gain < 0.2
    assert shift_of(np.zeros((48, 48), np.float32), scene(side=48)).length == 0


def test_large_pictures_are_measured_in_their_own_pixels() -> None:
    a = scene(side=1600)
    found = shift_of(a, np.roll(a, (12, -8), (0, 1)))
    assert (found.down, found.right) == pytest.approx((12, -8), abs=4)


def test_exposure_and_sharpness() -> None:
    half = np.concatenate([np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)])
    exposure = exposure_of(half)
    assert (exposure.mean, exposure.dark, exposure.bright) == (0.5, 0.5, 0.5)
    sharp = scene()
    assert sharpness_of(sharp) > 4 * sharpness_of(np.asarray(cv2.GaussianBlur(sharp, (0, 0), 3)))


def test_where_each_source_is_sharper() -> None:
    sharp = scene(side=128)
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 4))
    a, b = sharp.copy(), blurred.copy()
    a[:, 64:], b[:, 64:] = blurred[:, 64:], sharp[:, 64:]
    first, second = focus_shares(a, b)
    assert first > 0.3
    assert second > 0.3
    assert focus_shares(sharp, blurred)[1] == 0
