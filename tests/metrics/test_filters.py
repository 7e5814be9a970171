from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from refusion.metrics import filters
from refusion.metrics.filters import gaussian_window, halve, strips, windowed_sums, with_border


@pytest.mark.parametrize(("size", "step"), [(3, 1), (7, 1), (9, 2), (17, 2), (5, 3)])
def test_windowed_sums_are_a_valid_convolution_with_the_2d_window(size: int, step: int) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (38, 45))
    window = gaussian_window(size, size / 5)
    expected = convolve2d(image, np.outer(window, window), mode="valid")[::step, ::step]
    got = windowed_sums(torch.from_numpy(image), window, step)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)


def test_sums_of_whole_numbers_are_exact() -> None:
    image = torch.full((20, 20), 255.0**2, dtype=torch.float64)
    assert (windowed_sums(image, [1.0] * 7) == 49 * 255**2).all()


def test_the_gaussian_sums_to_one_and_has_its_sigma() -> None:
    window = np.array(gaussian_window(17, 3.4))
    assert window.sum() == pytest.approx(1, abs=1e-15)
    assert window[8] / window[11] == pytest.approx(np.exp(9 / (2 * 3.4**2)))


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("height", [9, 10, 24, 31])
def test_strips_hold_every_window_once(monkeypatch: pytest.MonkeyPatch, height: int, step: int) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: 2 * 11 * 6)
    images = torch.arange(2 * height * 11, dtype=torch.float64).view(2, height, 11)
    cut = strips(images, overlap=8)
    assert len(cut) == -(-(height - 8) // 6)
    window = gaussian_window(9, 2.0)
    joined = torch.cat([windowed_sums(strip, window, step) for strip in cut], dim=-2)
    assert torch.equal(joined, windowed_sums(images, window, step))


@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 9), (1, 4), (1, 1)])
def test_halving_takes_the_mean_of_four_and_repeats_an_odd_border(height: int, width: int) -> None:
    image = np.random.default_rng(2).integers(0, 256, (2, height, width)).astype(float)
    padded = np.pad(image, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    expected = padded.reshape(2, -(-height // 2), 2, -(-width // 2), 2).mean((2, 4))
    np.testing.assert_array_equal(halve(torch.from_numpy(image)).numpy(), expected)


@pytest.mark.parametrize(("mode", "numpys"), [("reflect", "reflect"), ("replicate", "edge")])
def test_borders_are_numpys_and_an_empty_batch_has_them_too(mode: str, numpys: str) -> None:
    images = np.random.default_rng(2).integers(0, 256, (2, 3, 4, 5)).astype(float)
    expected = np.pad(images, [(0, 0), (0, 0), (2, 2), (2, 2)], mode=numpys)
    np.testing.assert_array_equal(with_border(torch.from_numpy(images), 2, mode).numpy(), expected)
    assert with_border(torch.zeros(2, 0, 4, 5), 2, mode).shape == (2, 0, 8, 9)
    assert with_border(torch.zeros(0, 4, 5), 2, mode).shape == (0, 8, 9)
