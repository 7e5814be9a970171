from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
import torch
from scipy.fft import dctn

from refusion.metrics import transforms
from refusion.metrics.transforms import cosine_transform, filter_radially, meyer_filters, meyer_transform

SIZES = [(1, 1), (1, 7), (2, 3), (31, 40), (64, 51), (120, 150)]


def pictures(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, 256, (2, height, width)).astype(float)


@pytest.fixture(params=[1 << 17, 100])
def in_strips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "pixels_at_once", lambda _on_cpu: request.param)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_cosine_transform_agrees_with_scipy(height: int, width: int, in_strips: None) -> None:
    images = pictures(height, width)
    expected = dctn(images, axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(cosine_transform(torch.from_numpy(images)), expected, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_wavelet_transform_agrees_with_pywavelets_given_the_same_filters(
    height: int, width: int, in_strips: None
) -> None:
    low, high = meyer_filters()
    wavelet = pywt.Wavelet("meyer", filter_bank=[low, high, low[::-1], high[::-1]])
    images = pictures(height, width)
    approximation, (horizontal, vertical, diagonal) = pywt.dwt2(images, wavelet, mode="symmetric")
    expected = np.block([[approximation, horizontal], [vertical, diagonal]])
    np.testing.assert_allclose(meyer_transform(torch.from_numpy(images)), expected, atol=1e-10)


def test_the_filters_are_those_of_matlab() -> None:
    """The numbers that `wfilters('dmey')` prints; the tails of MATLAB's own differ by 4e-11."""
    low, high = meyer_filters()
    assert len(low) == len(high) == 102
    assert low[0] == high[-1] == 0
    assert low[51:57] == pytest.approx(
        [0.743751004904, 0.444095030767, -0.035048287391, -0.132696615359, 0.030621243943, 0.063667300884], abs=1e-9
    )
    assert low[1:4] == pytest.approx([-1.509741e-06, 1.278767e-06, 4.49586e-07], abs=1e-10)
    assert high[:3] == pytest.approx([1.509741e-06, 1.278767e-06, -4.49586e-07], abs=1e-10)


def test_the_filters_nearly_halve_the_band_and_resemble_those_of_pywavelets() -> None:
    low, high = (np.array(taps) for taps in meyer_filters())
    assert low.sum() == pytest.approx(math.sqrt(2), abs=1e-12)
    assert abs(high.sum()) < 1e-5
    energy = np.abs(np.fft.fft(low, 512)) ** 2 + np.abs(np.fft.fft(high, 512)) ** 2
    np.testing.assert_allclose(energy, 2, atol=1e-4)
    coarser = pywt.Wavelet("dmey")
    np.testing.assert_allclose(low[20:82], coarser.dec_lo, atol=1e-3)
    np.testing.assert_allclose(high[20:82], coarser.dec_hi, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_filtering_multiplies_waves_by_the_response_to_their_cycles(height: int, width: int) -> None:
    y, x = np.mgrid[:height, :width]
    across, down = min(2, width // 2), min(3, height // 2)
    wave = np.cos(2 * np.pi * (across * x / width + down * y / height))
    found = filter_radially(torch.from_numpy(wave)[None], lambda cycles: 1 / (1 + cycles))[0]
    np.testing.assert_allclose(found, wave / (1 + math.hypot(across, down)), atol=1e-12)


def test_nan_stays_in_its_own_image() -> None:
    images = torch.from_numpy(pictures(20, 24))
    images[1, 3, 4] = torch.nan
    for transform in (cosine_transform, meyer_transform, lambda x: filter_radially(x, torch.exp)):
        found = transform(images)
        assert found[0].isfinite().all()
        assert found[1].isnan().any()
