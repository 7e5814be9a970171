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
from scipy.ndimage import sobel

from refusion.metrics import evaluate, filters
from refusion.metrics.families.gradients import average_gradient, edge_intensity, spatial_frequency

pytestmark = pytest.mark.filterwarnings("error")

# What computes it, its upper bound and the smallest side.
VARIANTS: dict[str, tuple[Compute, float, int]] = {
    "SF": (spatial_frequency, 255 * math.sqrt(2), 2),
    "SF, all pixels": (partial(spatial_frequency, over_all_pixels=True), 255 * math.sqrt(2), 1),
    "AG": (average_gradient, 255, 2),
    "AG, intervals": (partial(average_gradient, over_intervals=True), 1020, 2),
    "EI": (edge_intensity, 255 * math.sqrt(20), 1),
}
images = st.integers(2, 7).flatmap(lambda width: arrays(np.uint8, (3, 4, width)))


def test_sf_from_its_definition(triple) -> None:
    f = triple[0].astype(float)
    height, width = f.shape
    rows = sum((f[i, j] - f[i, j - 1]) ** 2 for i in range(height) for j in range(1, width))
    columns = sum((f[i, j] - f[i - 1, j]) ** 2 for i in range(1, height) for j in range(width))
    expected = math.sqrt(rows / (height * (width - 1)) + columns / ((height - 1) * width))
    assert evaluate(*triple, "SF")["SF"].item() == score(spatial_frequency, *triple)
    assert score(spatial_frequency, *triple) == pytest.approx(expected, rel=1e-12)
    over_all = math.sqrt((rows + columns) / f.size)
    assert score(VARIANTS["SF, all pixels"][0], *triple) == pytest.approx(over_all, rel=1e-12)


def test_ag_from_its_definition(triple) -> None:
    dy, dx = np.gradient(triple[0].astype(float))
    strength = np.sqrt((dx**2 + dy**2) / 2)
    assert evaluate(*triple, "AG")["AG"].item() == score(average_gradient, *triple)
    assert score(average_gradient, *triple) == pytest.approx(strength.mean(), rel=1e-12)
    height, width = strength.shape
    over_intervals = strength.sum() / (height - 1) / (width - 1)
    assert score(VARIANTS["AG, intervals"][0], *triple) == pytest.approx(over_intervals, rel=1e-12)


@pytest.mark.parametrize("pixels_at_once", [1 << 17, 500])
def test_ei_agrees_with_scipy(triple, pixels_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: pixels_at_once)
    f = triple[0].astype(float)
    expected = np.hypot(sobel(f, 0, mode="nearest"), sobel(f, 1, mode="nearest")).mean()
    assert score(edge_intensity, *triple) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("convention", "metric", "compute"),
    [
        ("authors", "SF", spatial_frequency),
        ("cddfuse", "SF", spatial_frequency),
        ("cddfuse", "AG", average_gradient),
        ("vifb", "Spatial_frequency", VARIANTS["SF, all pixels"][0]),
        ("vifb", "Avg_gradient", VARIANTS["AG, intervals"][0]),
        ("vifb", "Edge_intensity", edge_intensity),
        ("tang", "SF", spatial_frequency),
        ("tang", "AG", VARIANTS["AG, intervals"][0]),
    ],
)
def test_agrees_with_public_evaluators(evaluators: Path, convention: str, metric: str, compute: Compute) -> None:
    check_against_oracle(evaluators, convention, metric, compute)


@given(images)
@settings(max_examples=60, deadline=None)
def test_bounds_and_what_changes_nothing(triple: np.ndarray) -> None:
    f, a, b = triple
    for name, (compute, high, _) in VARIANTS.items():
        value = score(compute, f, a, b)
        assert 0 <= value <= high * (1 + 1e-12), name
        for same in (*same_to_all(f, a, b), (255 - f, a, b), (f, f, f)):
            assert score(compute, *same) == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_scores_as_its_images_do_and_nan_stays_where_it_is(name: str, pair_of_triples) -> None:
    check_batch_and_nan(VARIANTS[name][0], False, pair_of_triples)


def test_a_ramp_has_its_slope() -> None:
    ramp = np.tile(np.arange(0, 60, 3, dtype=np.uint8), (10, 1))
    assert score(spatial_frequency, ramp, ramp, ramp) == pytest.approx(3, rel=1e-12)
    assert score(average_gradient, ramp, ramp, ramp) == pytest.approx(3 / math.sqrt(2), rel=1e-12)
    # Sobel weighs a slope by 8 inside, and by half as much in the first and last column.
    assert score(edge_intensity, ramp, ramp, ramp) == pytest.approx(3 * 8 * 19 / 20, rel=1e-12)


def test_a_chequered_image_of_two_pixels_a_side_reaches_the_bounds() -> None:
    chequered = np.array([[0, 255], [255, 0]], np.uint8)
    for name in ("SF", "AG", "AG, intervals"):
        compute, high, _ = VARIANTS[name]
        assert score(compute, chequered, chequered, chequered) == pytest.approx(high, rel=1e-12)


@pytest.mark.parametrize("level", [0, 90, 255])
@pytest.mark.parametrize("name", VARIANTS)
def test_flat_images_have_none_down_to_the_smallest_side(name: str, level: int) -> None:
    compute, _, side = VARIANTS[name]
    for shape in ((side, side), (side, 9), (8, side)):
        flat = np.full(shape, level, np.uint8)
        assert score(compute, flat, flat, flat) == 0


def test_one_row() -> None:
    row = np.array([[3, 7, 7, 0]], np.uint8)
    assert score(VARIANTS["SF, all pixels"][0], row, row, row) == pytest.approx(math.sqrt((16 + 0 + 49) / 4), rel=1e-12)
    assert score(edge_intensity, row, row, row) == pytest.approx(4 * (4 + 4 + 7 + 7) / 4, rel=1e-12)
