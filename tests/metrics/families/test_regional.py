from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import sobel
from skimage.io import imread

from refusion.metrics.families.regional import corrected_regional_error, regional_error

BOTH = [regional_error, corrected_regional_error]


def score(metric, fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    f, x, y = (torch.from_numpy(np.ascontiguousarray(image)).double()[None] for image in (fused, a, b))
    (found,) = metric(f, torch.stack([x, y])).tolist()
    return float(found)


def reference(fused: np.ndarray, *sources: np.ndarray, corrected: bool) -> float:
    """Computes Q_CV region by region after Chen & Varshney 2007."""

    def prepared(image: np.ndarray) -> np.ndarray:
        image = image.astype(float)
        return image if corrected else np.floor((image - image.min()) / (image.max() - image.min()) * 255 + 0.5)

    height, width = fused.shape
    v, u = np.meshgrid(np.fft.fftfreq(height) * height / 4, np.fft.fftfreq(width) * width / 4, indexing="ij")
    r = (0.114 if corrected else 0.144) * np.sqrt(u**2 + v**2)
    sensitivity = 2.6 * (0.0192 + r) * np.exp(-(r**1.1))
    error = weight = 0.0
    for source in sources:
        image = prepared(source)
        dx, dy = (sobel(image, axis, mode="nearest" if corrected else "constant") for axis in (0, 1))
        difference = np.fft.ifft2(np.fft.fft2(image - prepared(fused)) * sensitivity).real
        for top in range(0, height, 16):
            for left in range(0, width, 16):
                region = np.s_[top : top + 16, left : left + 16]
                saliency = np.sum(np.hypot(dx[region], dy[region]) ** 5)
                pixels = difference[region].size if corrected else 256
                error += saliency * np.sum(difference[region] ** 2) / pixels
                weight += saliency
    return float(error / weight)


def test_agrees_with_the_definition(triple) -> None:
    """The pictures' sides are no multiples of 16."""
    assert score(regional_error, *triple) == pytest.approx(reference(*triple, corrected=False), rel=1e-10)
    assert score(corrected_regional_error, *triple) == pytest.approx(reference(*triple, corrected=True), rel=1e-10)


def test_reproduces_vifb(evaluators: Path) -> None:
    """VIFB's `freqspace` and `blkproc` are stand-ins, but our definition agrees to all digits of the table."""
    compared = 0
    for row in csv.DictReader((evaluators / "values.csv").open()):
        if (row["convention"], row["metric"]) == ("vifb", "Qcv"):
            stem = f"{row['task']}__{row['stem']}"
            images = [imread(evaluators / "images" / f"{stem}__{kind}.png") for kind in (row["method"], "a", "b")]
            assert score(regional_error, *images) == pytest.approx(float(row["value"]), rel=1e-9)
            compared += 1
    assert compared == 16


@pytest.mark.parametrize("metric", BOTH)
def test_a_batch_scores_as_its_images_do_and_nan_stays_in_its_image(metric, pair_of_triples) -> None:
    f, a, b = (torch.from_numpy(np.stack(images)).double() for images in zip(*pair_of_triples, strict=True))
    together = metric(f, torch.stack([a, b])).tolist()
    assert together == pytest.approx([score(metric, *triple) for triple in pair_of_triples], rel=1e-12)
    for spoilt in (f, a, b):
        was = spoilt[0, 5, 6].clone()
        spoilt[0, 5, 6] = torch.nan
        first, second = metric(f, torch.stack([a, b]))
        assert first.isnan()
        assert second.item() == together[1]
        spoilt[0, 5, 6] = was


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(3, 40), st.integers(0, 2**32 - 1))
def test_errors_are_0_for_copies_and_never_less(height: int, width: int, seed: int) -> None:
    f, a, b = np.random.default_rng(seed).integers(0, 256, (3, height, width))
    for images in (f, a, b):
        images[0, :2] = 0, 255
    for metric in BOTH:
        assert score(metric, f, a, b) > 0
        assert score(metric, f, b, a) == pytest.approx(score(metric, f, a, b), rel=1e-12)
        assert score(metric, a, a, a) == 0


@pytest.mark.parametrize("metric", BOTH)
def test_whole_regions_may_be_mirrored_and_transposed(metric, triple) -> None:
    f, a, b = (image[:48, :48] for image in triple)
    plain = score(metric, f, a, b)
    assert score(metric, f[::-1], a[::-1], b[::-1]) == pytest.approx(plain, rel=1e-9)
    assert score(metric, f.T, a.T, b.T) == pytest.approx(plain, rel=1e-9)


def test_only_the_mended_form_sees_a_change_of_contrast(triple) -> None:
    steps = np.round(triple[1] * 0.5) * 2
    assert score(regional_error, steps / 2 + 100, steps, steps) == 0
    assert score(corrected_regional_error, steps / 2 + 100, steps, steps) > 10


@pytest.mark.filterwarnings("error")
def test_flat_images(triple) -> None:
    f, a, b = triple
    flat, black = np.full_like(f, 90), np.zeros_like(f)
    for images in ((flat, a, b), (f, flat, b), (f, a, flat), (f, black, black)):
        assert np.isnan(score(regional_error, *images))
    for images in ((black, a, b), (f, black, b)):
        assert score(regional_error, *images) > 0
    assert np.isnan(score(corrected_regional_error, f, flat, black))
    for images in ((flat, a, b), (f, flat, b)):
        assert score(corrected_regional_error, *images) > 0


@pytest.mark.parametrize("metric", BOTH)
def test_one_pixel_has_no_edge(metric) -> None:
    assert np.isnan(score(metric, *np.ones((3, 1, 1))))


def test_every_tensor_is_made_on_the_device_of_the_images() -> None:
    for metric in BOTH:
        assert metric(torch.empty(2, 40, 50, device="meta"), torch.empty(2, 2, 40, 50, device="meta")).shape == (2,)
