from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refusion.baselines.mertens import fuse_mertens


def exposed(textured: Any, level: float) -> Any:
    """Returns the texture at low contrast around a level, the contrast the same for all levels."""
    return (level + 0.1 * (textured - textured.mean())).astype(np.float32)


@pytest.mark.parametrize("bad", [0.06, 0.94])
def test_the_well_exposed_source_is_preferred(textured: Any, bad: float) -> None:
    good, poor = exposed(textured, 0.5), exposed(textured, bad)
    for fused in (fuse_mertens(good, poor), fuse_mertens(poor, good)):
        assert np.abs(fused - good).mean() < 0.15 * np.abs(fused - poor).mean()


def test_of_two_equal_exposures_the_one_of_more_contrast_is_preferred(textured: Any) -> None:
    rich, poor = exposed(textured, 0.5), (0.4 + 0.01 * (textured - textured.mean())).astype(np.float32)
    fused = fuse_mertens(rich, poor)
    assert np.abs(fused - rich).mean() < 0.3 * np.abs(fused - poor).mean()


def test_weights_are_contrast_times_nearness_to_middle_grey() -> None:
    # One pixel has no neighbours to blend with and no contrast: both weigh the same.
    a, b = np.array([[0.2]], np.float32), np.array([[0.6]], np.float32)
    np.testing.assert_allclose(fuse_mertens(a, b), [[0.4]], atol=1e-6)
    # Three pixels of one row make a pyramid without levels, so that the weights act pixel by pixel.
    a, b = np.array([[0.1, 0.3, 0.2]], np.float32), np.array([[0.6, 0.5, 0.9]], np.float32)
    expected = []
    for place in range(3):
        weights = [contrast(row)[place] * np.exp(-((row[place] - 0.5) ** 2) / 0.08) for row in (a[0], b[0])]
        expected.append(np.average([a[0, place], b[0, place]], weights=weights))
    np.testing.assert_allclose(fuse_mertens(a, b)[0], expected, atol=1e-5)


def contrast(row: Any) -> Any:
    around = np.pad(row, 1, mode="reflect")
    return np.abs(around[:-2] - 2 * row + around[2:])
