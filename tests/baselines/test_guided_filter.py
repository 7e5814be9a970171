from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from refusion.baselines.guided_filter import box_mean, guided_filter


def windows(shape: tuple[int, int], radius: int) -> Any:
    for y, x in np.ndindex(shape):
        rows = slice(max(0, y - radius), y + radius + 1)
        yield (y, x), (rows, slice(max(0, x - radius), x + radius + 1))


def slow_guided_filter(guide: npt.NDArray[Any], image: npt.NDArray[Any], radius: int, epsilon: float) -> Any:
    """Fits the linear model of He, Sun & Tang in every window and averages it over the windows of a pixel."""
    total, count = np.zeros(guide.shape), np.zeros(guide.shape)
    for _, window in windows(guide.shape, radius):
        g, p = guide[window], image[window]
        slope = ((g - g.mean()) * (p - p.mean())).mean() / (g.var() + epsilon)
        total[window] += slope * guide[window] + p.mean() - slope * g.mean()
        count[window] += 1
    return total / count


@pytest.mark.parametrize(("radius", "epsilon"), [(1, 0.01), (3, 1e-6), (20, 0.3)])
def test_it_is_the_linear_model_of_every_window(radius: int, epsilon: float) -> None:
    guide, image = np.random.default_rng(2).uniform(0, 1, (2, 13, 18))
    expected = slow_guided_filter(guide, image, radius, epsilon)
    np.testing.assert_allclose(guided_filter(guide, image, radius, epsilon), expected, atol=1e-9)


def test_the_mean_counts_what_is_inside_the_image() -> None:
    image = np.random.default_rng(3).uniform(0, 1, (6, 9))
    expected = np.zeros(image.shape)
    for place, window in windows((6, 9), 2):
        expected[place] = image[window].mean()
    np.testing.assert_allclose(box_mean(image, 2), expected, atol=1e-12)
    np.testing.assert_allclose(box_mean(image, 45), image.mean(), atol=1e-12)


def test_an_edge_of_the_guide_stays_an_edge() -> None:
    step = np.zeros((20, 20))
    step[:, 10:] = 1
    noisy = step + np.random.default_rng(4).normal(0, 0.05, step.shape)
    along = guided_filter(step, noisy, 4, 1e-3)
    across = guided_filter(np.zeros_like(step), noisy, 4, 1e-3)
    assert np.abs(along - step).max() < 0.06
    assert np.abs(across - step).max() > 0.3
