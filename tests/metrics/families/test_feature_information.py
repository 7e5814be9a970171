from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn

from refusion.metrics.families import feature_information
from refusion.metrics.families.feature_information import (
    cosine_information,
    edge_strength_information,
    gradient_information,
    pixel_information,
    wavelet_information,
)
from refusion.metrics.transforms import meyer_filters


def subbands(image: np.ndarray) -> np.ndarray:
    low, high = meyer_filters()
    wavelet = pywt.Wavelet("meyer", filter_bank=[low, high, low[::-1], high[::-1]])
    approximation, (horizontal, vertical, diagonal) = pywt.dwt2(image, wavelet, mode="symmetric")
    return np.block([[approximation, horizontal], [vertical, diagonal]])


FEATURES = {
    pixel_information: lambda image: image,
    gradient_information: lambda image: np.gradient(image, axis=1),
    edge_strength_information: lambda image: np.hypot(*np.gradient(image)),
    cosine_information: lambda image: dctn(image, norm="ortho"),
    wavelet_information: subbands,
}
ALL = [*FEATURES, *(partial(metric, limited=True) for metric in FEATURES)]


def score(metric, fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    f, x, y = (torch.from_numpy(np.ascontiguousarray(image)).double()[None] for image in (fused, a, b))
    (found,) = metric(f, torch.stack([x, y])).tolist()
    return float(found)


def distribution(window: np.ndarray) -> np.ndarray:
    values = window.flatten(order="F")
    values = np.ones(9) if values.max() == values.min() else (values - values.min()) / (values.max() - values.min())
    return values / values.sum()


def entropy(probabilities: np.ndarray) -> float:
    return -math.fsum(p * math.log2(abs(p)) for p in probabilities.ravel() if p != 0)


def shared(source: np.ndarray, fused: np.ndarray, limited: bool) -> float:
    """Scores one window by all 81 cells of the joint distribution, differences of its bound in both directions."""
    if np.allclose(source, fused, rtol=0, atol=1e-8):
        return 1.0
    s, f = distribution(source), distribution(fused)
    outcomes = np.arange(1, 10)
    variances = [np.sum(outcomes**2 * p) - np.sum(outcomes * p) ** 2 for p in (s, f)]
    flat = np.ptp(s) == 0 or np.ptp(f) == 0
    c = 0.0 if flat else np.corrcoef(s, f)[0, 1]
    upper = np.minimum.outer(np.cumsum(f), np.cumsum(s))
    lower = np.maximum(np.add.outer(np.cumsum(f), np.cumsum(s)) - 1, 0)
    bound = upper if c >= 0 else lower
    weight = 0.0
    if c != 0 and min(variances) > 1e-14:
        covariance = np.sum(bound - np.outer(np.cumsum(f), np.cumsum(s)))
        weight = c * math.sqrt(variances[0] * variances[1]) / covariance
    if limited:
        weight = min(weight, 1.0)
    cells = np.diff(np.diff(bound, axis=0, prepend=0), axis=1, prepend=0)
    both = entropy(s) + entropy(f)
    return 2 * (both - entropy(weight * cells + (1 - weight) * np.outer(f, s))) / both if both > 0 else 0.0


def reference(metric, fused: np.ndarray, *sources: np.ndarray, limited: bool = False) -> float:
    """Computes FMI window by window after Haghighat, Aghagolzadeh & Seyedarabi 2011."""
    features = [FEATURES[metric](image.astype(float)) for image in (fused, *sources)]
    f, *others = (np.lib.stride_tricks.sliding_window_view(feature, (3, 3)).reshape(-1, 3, 3) for feature in features)
    return float(np.mean([shared(x, y, limited) for s in others for x, y in zip(s, f, strict=True)]))


@pytest.mark.parametrize("pixels", [1 << 17, 1000])
@pytest.mark.parametrize("metric", [metric for metric in FEATURES if metric is not wavelet_information])
def test_agrees_with_the_definition(metric, triple, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_information, "pixels_at_once", lambda _on_cpu: pixels)
    crops = [image[20:34, 22:39] for image in triple]
    assert score(metric, *crops) == pytest.approx(reference(metric, *crops), rel=1e-9)
    limited = partial(metric, limited=True)
    assert score(limited, *crops) == pytest.approx(reference(metric, *crops, limited=True), rel=1e-9)


@pytest.mark.slow
def test_the_wavelet_form_agrees_with_the_definition(pair_of_triples) -> None:
    """An image of 3×3 has 102×102 coefficients, for the filters are long."""
    crops = [image[20:23, 22:25] for image in pair_of_triples[1]]
    assert score(wavelet_information, *crops) == pytest.approx(reference(wavelet_information, *crops), rel=1e-8)


def test_the_program_s_scores_exceed_1_where_the_correlation_is_beyond_its_bound() -> None:
    a, f = np.array([[[0, 0, 233], [0, 0, 10], [0, 0, 0]], [[20, 0, 242], [0, 0, 11], [0, 0, 0]]])
    assert reference(pixel_information, f, a) == pytest.approx(2.544, abs=1e-3)
    assert score(pixel_information, f, a, a) == pytest.approx(reference(pixel_information, f, a), rel=1e-9)
    limited = score(partial(pixel_information, limited=True), f, a, a)
    assert limited == pytest.approx(reference(pixel_information, f, a, limited=True), rel=1e-9)
    assert 0 < limited <= 1


@pytest.mark.parametrize("metric", ALL)
def test_a_batch_scores_as_its_images_do_and_nan_stays_in_its_image(metric, pair_of_triples) -> None:
    pair = [tuple(image[20:36, 10:30] for image in triple) for triple in pair_of_triples]
    f, a, b = (torch.from_numpy(np.stack(images)).double() for images in zip(*pair, strict=True))
    together = metric(f, torch.stack([a, b])).tolist()
    assert together == pytest.approx([score(metric, *triple) for triple in pair], abs=1e-12)
    for spoilt in (f, a, b):
        was = spoilt[0, 5, 6].clone()
        spoilt[0, 5, 6] = torch.nan
        first, second = metric(f, torch.stack([a, b]))
        assert first.isnan()
        assert second.item() == together[1]
        spoilt[0, 5, 6] = was


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(3, 12), st.integers(3, 12), st.integers(0, 2**32 - 1), st.sampled_from([2, 4, 256]))
def test_limited_scores_lie_between_0_and_1(height: int, width: int, seed: int, levels: int) -> None:
    f, a, b = np.random.default_rng(seed).integers(0, levels, (3, height, width))
    for metric in FEATURES:
        limited = partial(metric, limited=True)
        assert -1e-12 <= score(limited, f, a, b) <= 1 + 1e-12
        assert score(limited, f, b, a) == pytest.approx(score(limited, f, a, b), abs=1e-12)
        assert score(metric, f, b, a) == pytest.approx(score(metric, f, a, b), abs=1e-12)
        assert score(metric, a, a, a) == 1


def test_only_the_strength_of_edges_sees_horizontal_ones() -> None:
    rows = np.repeat(np.random.default_rng(3).integers(0, 256, (20, 1)), 20, axis=1)
    others = np.repeat(np.random.default_rng(4).integers(0, 256, (20, 1)), 20, axis=1)
    assert score(gradient_information, rows, others, others) == 1
    assert score(edge_strength_information, rows, others, others) < 1


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.filterwarnings("error")
def test_flat_images(metric, triple) -> None:
    f, a, b = (image[20:36, 22:39] for image in triple)
    black, grey = np.zeros_like(f), np.full_like(f, 90)
    for flat in (black, grey):
        assert score(metric, flat, flat, flat) == 1
        assert math.isfinite(score(metric, f, flat, b))
        assert math.isfinite(score(metric, flat, a, b))
    assert score(pixel_information, black, grey, grey) == 0
    assert score(gradient_information, black, grey, grey) == 1


def test_a_window_with_a_single_peak_shares_nothing() -> None:
    peak = np.zeros((3, 3))
    peak[1, 2] = 200
    ramp = np.arange(9.0).reshape(3, 3)
    assert score(pixel_information, peak, peak / 2, peak / 4) == 0
    assert score(pixel_information, peak, ramp, ramp) == pytest.approx(0, abs=1e-12)
    assert score(pixel_information, ramp + 30, ramp, 10 * ramp) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("metric", [cosine_information, wavelet_information])
def test_rounding_errors_are_no_features(metric) -> None:
    """The transforms of flat areas differ from processor to processor by as much as this noise."""
    rng = np.random.default_rng(2)
    a, b = np.full((200, 200), 77.0), np.full((200, 200), 177.0)
    a[:, :40], b[:, :40] = rng.integers(0, 256, (2, 1, 40))
    noisy = a + rng.normal(0, 1e-12, a.shape)
    assert score(metric, noisy, b, b) == pytest.approx(score(metric, a, b, b), abs=1e-6)


@pytest.mark.parametrize("metric", ALL)
def test_the_smallest_images(metric) -> None:
    side = 1 if getattr(metric, "func", metric) is wavelet_information else 3
    f, a = np.random.default_rng(1).integers(0, 256, (2, side, side))
    assert math.isfinite(score(metric, f, a, a))


def test_every_tensor_is_made_on_the_device_of_the_images() -> None:
    for metric in ALL:
        assert metric(torch.empty(2, 40, 50, device="meta"), torch.empty(2, 2, 40, 50, device="meta")).shape == (2,)
