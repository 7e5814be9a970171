from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from metric_checks import Compute, check_against_oracle, check_batch_and_nan, same_to_all, score
from skimage.metrics import mean_squared_error as skimage_mse
from skimage.metrics import peak_signal_noise_ratio as skimage_psnr

from refusion.metrics.families.deviations import (
    mean_squared_error,
    peak_signal_to_noise_ratio,
    psnr_of_root_error,
    root_error_per_pixel,
    root_mean_squared_error,
)

pytestmark = pytest.mark.filterwarnings("error")

# What computes it, and between what its scores lie.
VARIANTS: dict[str, tuple[Compute, float, float]] = {
    "MSE": (mean_squared_error, 0, 255**2),
    "MSE, unit 255": (partial(mean_squared_error, unit=255), 0, 1),
    "RMSE": (root_mean_squared_error, 0, 255),
    "RMSE, per pixel": (root_error_per_pixel, 0, 255),
    "PSNR": (peak_signal_to_noise_ratio, 0, math.inf),
    "PSNR, unit 255": (partial(peak_signal_to_noise_ratio, unit=255), 20 * math.log10(255), math.inf),
    "PSNR, own peak": (partial(peak_signal_to_noise_ratio, peak=None), -math.inf, math.inf),
    "PSNR, root error": (psnr_of_root_error, 10 * math.log10(255), math.inf),
}
images = st.integers(1, 7).flatmap(lambda width: arrays(np.uint8, (3, 6, width)))


def test_agrees_with_scikit_image(triple) -> None:
    f, *sources = triple
    errors = [skimage_mse(source, f) for source in sources]
    assert score(mean_squared_error, *triple) == pytest.approx(np.mean(errors), rel=1e-12)
    assert score(VARIANTS["MSE, unit 255"][0], *triple) == pytest.approx(
        np.mean([skimage_mse(source / 255, f / 255) for source in sources]), rel=1e-12
    )
    assert score(root_mean_squared_error, *triple) == pytest.approx(np.sqrt(errors).mean(), rel=1e-12)
    # One true image in the place of both sources leaves nothing to average.
    for source, error in zip(sources, errors, strict=True):
        one = (f, source, source)
        assert score(peak_signal_to_noise_ratio, *one) == pytest.approx(skimage_psnr(source, f), rel=1e-12)
        own_peak = skimage_psnr(source, f, data_range=int(f.max()))
        assert score(VARIANTS["PSNR, own peak"][0], *one) == pytest.approx(own_peak, rel=1e-12)
        assert score(root_mean_squared_error, *one) == pytest.approx(math.sqrt(error), rel=1e-12)


def test_psnr_from_its_definition(triple) -> None:
    f, a, b = (image.astype(float) for image in triple)
    error = ((a - f) ** 2 + (b - f) ** 2).mean() / 2
    assert score(peak_signal_to_noise_ratio, f, a, b) == pytest.approx(10 * math.log10(255**2 / error), rel=1e-12)
    in_units = 20 * math.log10(255 / math.sqrt(error / 255**2))
    assert score(VARIANTS["PSNR, unit 255"][0], f, a, b) == pytest.approx(in_units, rel=1e-12)


def test_vifb_takes_the_root_before_it_divides(triple) -> None:
    f, a, b = (image.astype(float) for image in triple)
    error = (np.linalg.norm(a - f) + np.linalg.norm(b - f)) / 2 / f.size
    assert score(root_error_per_pixel, f, a, b) == pytest.approx(error, rel=1e-12)
    assert score(psnr_of_root_error, f, a, b) == pytest.approx(20 * math.log10(255 / math.sqrt(error)), rel=1e-12)
    wider = [np.tile(image, (2, 2)) for image in (f, a, b)]
    assert score(root_mean_squared_error, *wider) == pytest.approx(score(root_mean_squared_error, f, a, b), rel=1e-12)
    assert score(root_error_per_pixel, *wider) == pytest.approx(error / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("convention", "metric", "name"),
    [
        ("cddfuse", "MSE", "MSE"),
        ("cddfuse", "PSNR", "PSNR, own peak"),
        ("vifb", "Rmse", "RMSE, per pixel"),
        ("vifb", "Psnr", "PSNR, root error"),
        ("tang", "MSE", "MSE, unit 255"),
        ("tang", "PSNR", "PSNR, unit 255"),
    ],
)
def test_agrees_with_public_evaluators(evaluators: Path, convention: str, metric: str, name: str) -> None:
    check_against_oracle(evaluators, convention, metric, VARIANTS[name][0])


@given(images)
@settings(max_examples=60, deadline=None)
def test_bounds_and_what_changes_nothing(triple: np.ndarray) -> None:
    f, a, b = triple
    for name, (compute, low, high) in VARIANTS.items():
        value = score(compute, f, a, b)
        assert low * (1 - 1e-12) <= value <= high or (name == "PSNR, own peak" and math.isnan(value)), name
        negative = () if name == "PSNR, own peak" else ((255 - f, 255 - a, 255 - b),)
        for same in (*same_to_all(f, a, b), *negative):
            assert score(compute, *same) == pytest.approx(value, rel=1e-12, nan_ok=True), name


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_scores_as_its_images_do_and_nan_stays_where_it_is(name: str, pair_of_triples) -> None:
    check_batch_and_nan(VARIANTS[name][0], True, pair_of_triples)


@pytest.mark.parametrize("shape", [(9, 8), (1, 6), (1, 1)])
def test_black_against_white(shape: tuple[int, int]) -> None:
    black, white = np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)
    expected = {
        "MSE": 255**2,
        "MSE, unit 255": 1,
        "RMSE": 255,
        "RMSE, per pixel": 255 / math.sqrt(black.size),
        "PSNR": 0,
        "PSNR, unit 255": 20 * math.log10(255),
        "PSNR, own peak": -math.inf,
        "PSNR, root error": 10 * math.log10(255 * math.sqrt(black.size)),
    }
    assert {name: score(compute, black, white, white) for name, (compute, _, _) in VARIANTS.items()} == pytest.approx(
        expected, rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("shape", [(9, 8), (1, 6), (1, 1)])
@pytest.mark.parametrize("level", [0, 90, 255])
def test_equal_images_have_no_error(shape: tuple[int, int], level: int) -> None:
    flat = np.full(shape, level, np.uint8)
    for name, (compute, low, high) in VARIANTS.items():
        value = score(compute, flat, flat, flat)
        if name == "PSNR, own peak" and level == 0:
            assert math.isnan(value)
        else:
            assert value == (high if name.startswith("PSNR") else low), name


def test_one_source_kept_whole_leaves_the_error_against_the_other(triple) -> None:
    _, a, b = triple
    error = skimage_mse(a, b)
    assert score(mean_squared_error, a, a, b) == pytest.approx(error / 2, rel=1e-12)
    assert score(root_mean_squared_error, a, a, b) == pytest.approx(math.sqrt(error) / 2, rel=1e-12)
