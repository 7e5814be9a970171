from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from metric_checks import Compute, check_against_oracle, check_batch_and_nan, same_to_all, score
from scipy.stats import pearsonr

from refusion.metrics import evaluate
from refusion.metrics.families.statistics import (
    mean_correlation,
    pearson,
    standard_deviation,
    sum_of_correlations_of_differences,
)

pytestmark = pytest.mark.filterwarnings("error")

VARIANTS: dict[str, tuple[Compute, float, float]] = {
    "SD": (standard_deviation, 0, 127.5),
    "CC": (mean_correlation, -1, 1),
    "SCD": (sum_of_correlations_of_differences, -2, 2),
}
images = st.integers(1, 7).flatmap(lambda width: arrays(np.uint8, (3, 6, width)))


def test_sd_is_the_population_standard_deviation(triple) -> None:
    expected = np.std(triple[0].astype(float))
    assert evaluate(*triple, "SD")["SD"].item() == score(standard_deviation, *triple)
    assert score(standard_deviation, *triple) == pytest.approx(expected, rel=1e-12)


def test_cc_is_the_mean_of_two_correlations(triple) -> None:
    f, a, b = (image.astype(float).ravel() for image in triple)
    expected = (np.corrcoef(a, f)[0, 1] + np.corrcoef(b, f)[0, 1]) / 2
    assert score(mean_correlation, *triple) == pytest.approx(expected, rel=1e-10)


def test_scd_is_two_correlations_with_differences(triple) -> None:
    f, a, b = (image.astype(float).ravel() for image in triple)
    expected = pearsonr(a, f - b).statistic + pearsonr(b, f - a).statistic
    assert evaluate(*triple, "SCD")["SCD"].item() == score(sum_of_correlations_of_differences, *triple)
    assert score(sum_of_correlations_of_differences, *triple) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("convention", "metric", "compute"),
    [
        ("authors", "SCD", sum_of_correlations_of_differences),
        ("cddfuse", "SD", standard_deviation),
        ("cddfuse", "CC", mean_correlation),
        ("cddfuse", "SCD", sum_of_correlations_of_differences),
        ("vifb", "Variance", standard_deviation),
        ("tang", "SD", standard_deviation),
        ("tang", "CC", mean_correlation),
        ("tang", "SCD", sum_of_correlations_of_differences),
    ],
)
def test_agrees_with_public_evaluators(evaluators: Path, convention: str, metric: str, compute: Compute) -> None:
    check_against_oracle(evaluators, convention, metric, compute)


@given(images)
@settings(max_examples=60, deadline=None)
def test_bounds_and_what_changes_nothing(triple: np.ndarray) -> None:
    f, a, b = triple
    for name, (compute, low, high) in VARIANTS.items():
        value = score(compute, f, a, b)
        assert math.isnan(value) or low - 1e-12 <= value <= high + 1e-12, name
        for same in same_to_all(f, a, b):
            assert score(compute, *same) == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_scores_as_its_images_do_and_nan_stays_where_it_is(name: str, pair_of_triples) -> None:
    check_batch_and_nan(VARIANTS[name][0], name != "SD", pair_of_triples)


def test_cc_ignores_contrast_and_brightness(triple) -> None:
    f, a, b = triple
    assert score(mean_correlation, f, a * 0.5 + 20, b) == pytest.approx(score(mean_correlation, f, a, b), rel=1e-12)
    assert score(mean_correlation, a, a, 255 - a) == pytest.approx(0, abs=1e-12)


def test_scd_of_the_sum_of_two_sources_is_two() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 128, (2, 20, 20), dtype=np.uint8)
    assert score(sum_of_correlations_of_differences, a + b, a, b) == pytest.approx(2, abs=1e-12)


@pytest.mark.parametrize("level", [0, 90, 90.3, 255])
def test_flat_images_have_no_correlations(level: float, triple) -> None:
    f, a, b = triple
    flat = np.full(f.shape, level)
    assert score(standard_deviation, flat, a, b) == pytest.approx(0, abs=1e-12)
    for images in ((flat, a, b), (f, flat, b), (f, a, flat), (flat, flat, flat)):
        assert math.isnan(score(mean_correlation, *images))
    for images in ((f, flat, b), (f, a, flat), (b, a, b), (flat, flat, flat)):
        assert math.isnan(score(sum_of_correlations_of_differences, *images))
    assert score(sum_of_correlations_of_differences, np.zeros(f.shape), a, b) == pytest.approx(
        2 * np.corrcoef(a.ravel(), -1.0 * b.ravel())[0, 1], rel=1e-10
    )


def test_one_pixel() -> None:
    pixels = np.array([[[7]], [[9]], [[200]]])
    assert score(standard_deviation, *pixels) == 0
    assert math.isnan(score(mean_correlation, *pixels))
    assert math.isnan(score(sum_of_correlations_of_differences, *pixels))


def test_pearson_of_a_line_is_one() -> None:
    x = torch.rand(3, 8, 9, dtype=torch.float64)
    torch.testing.assert_close(pearson(x, -2 * x + 5), -torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)
