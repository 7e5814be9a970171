from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate
from skimage.io import imread

from refusion.metrics import filters
from refusion.metrics.families.contrast import contrast_quality, corrected_contrast_quality, stretched

BOTH = [contrast_quality, corrected_contrast_quality]


def score(metric, fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    f, x, y = (torch.from_numpy(np.ascontiguousarray(image)).double()[None] for image in (fused, a, b))
    (found,) = metric(f, torch.stack([x, y])).tolist()
    return float(found)


def gaussian(sigma: float, corrected: bool) -> np.ndarray:
    y, x = np.mgrid[-15:16, -15:16]
    weights = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    return weights / weights.sum() if corrected else weights


def masked_contrast(image: np.ndarray, corrected: bool) -> np.ndarray:
    image = image.astype(float)
    height, width = image.shape
    if not corrected:
        image = np.floor((image - image.min()) / (image.max() - image.min()) * 255 + 0.5)
    v, u = np.meshgrid(np.fft.fftfreq(height) * height / 15, np.fft.fftfreq(width) * width / 15, indexing="ij")
    r = np.sqrt(u**2 + v**2)
    sensitivity = np.exp(-((r / 15.387) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2))
    perceived = np.fft.ifft2(np.fft.fft2(image) * sensitivity).real
    border = "nearest" if corrected else "constant"
    fine, coarse = (correlate(perceived, gaussian(sigma, corrected), mode=border) for sigma in (2, 4))
    contrast = np.abs(fine / coarse - 1)
    return contrast**3 / (contrast**2 + 0.0001)


def reference(fused: np.ndarray, a: np.ndarray, b: np.ndarray, corrected: bool) -> float:
    """Computes Q_CB step by step after Chen & Blum 2009, in full spectra and two-dimensional windows."""
    f, x, y = (masked_contrast(image, corrected) for image in (fused, a, b))
    kept_x, kept_y = (np.where(s < f, s / f, f / s) for s in (x, y))
    return float(np.mean((x**2 * kept_x + y**2 * kept_y) / (x**2 + y**2)))


@pytest.mark.parametrize("pixels", [1 << 17, 1000])
def test_agrees_with_the_definition(triple, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: pixels)
    assert score(contrast_quality, *triple) == pytest.approx(reference(*triple, corrected=False), rel=1e-9)
    assert score(corrected_contrast_quality, *triple) == pytest.approx(reference(*triple, corrected=True), rel=1e-9)


def test_reproduces_vifb(evaluators: Path) -> None:
    """VIFB's `freqspace` is a stand-in, but our definition agrees to all digits of the table."""
    compared = 0
    for row in csv.DictReader((evaluators / "values.csv").open()):
        if (row["convention"], row["metric"]) == ("vifb", "Qcb"):
            stem = f"{row['task']}__{row['stem']}"
            images = [imread(evaluators / "images" / f"{stem}__{kind}.png") for kind in (row["method"], "a", "b")]
            assert score(contrast_quality, *images) == pytest.approx(float(row["value"]), rel=1e-9)
            compared += 1
    assert compared == 16


@pytest.mark.parametrize("metric", BOTH)
def test_a_batch_scores_as_its_images_do_and_nan_stays_in_its_image(metric, pair_of_triples) -> None:
    f, a, b = (torch.from_numpy(np.stack(images)).double() for images in zip(*pair_of_triples, strict=True))
    together = metric(f, torch.stack([a, b])).tolist()
    assert together == pytest.approx([score(metric, *triple) for triple in pair_of_triples], abs=1e-12)
    for spoilt in (f, a, b):
        was = spoilt[0, 5, 6].clone()
        spoilt[0, 5, 6] = torch.nan
        first, second = metric(f, torch.stack([a, b]))
        assert first.isnan()
        assert second.item() == together[1]
        spoilt[0, 5, 6] = was


@pytest.mark.parametrize("metric", BOTH)
def test_neither_the_order_of_the_sources_nor_mirroring_matters(metric, triple) -> None:
    f, a, b = triple
    assert score(metric, f, b, a) == pytest.approx(score(metric, f, a, b), rel=1e-12)
    assert score(metric, f[::-1], a[::-1], b[::-1]) == pytest.approx(score(metric, f, a, b), rel=1e-9)
    assert score(metric, f.T, a.T, b.T) == pytest.approx(score(metric, f, a, b), rel=1e-9)


def test_only_the_mended_form_sees_a_loss_of_contrast(triple) -> None:
    _, a, _ = triple
    dull = np.round(a * 0.5) + 100
    steps = np.round(a * 0.5) * 2
    assert score(contrast_quality, dull, steps, steps) == pytest.approx(1, abs=1e-9)
    assert score(corrected_contrast_quality, dull, steps, steps) < 0.8


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**32 - 1), st.sampled_from([2, 4, 256]))
def test_scores_lie_between_0_and_1_or_there_is_none(height: int, width: int, seed: int, levels: int) -> None:
    f, a, b = np.random.default_rng(seed).integers(0, levels, (3, height, width)) * (255 // (levels - 1))
    flat = any(np.ptp(image) == 0 for image in (f, a, b))
    plain = score(contrast_quality, f, a, b)
    assert np.isnan(plain) if flat else 0 <= plain <= 1
    assert 0 <= score(corrected_contrast_quality, f, a, b) <= 1
    assert score(corrected_contrast_quality, a, a, a) == 1


@pytest.mark.parametrize("level", [0, 90, 255])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.filterwarnings("error")
def test_flat_images(triple, level: int, which: int) -> None:
    images = list(triple)
    images[which] = np.full_like(images[which], level)
    assert np.isnan(score(contrast_quality, *images))
    assert 0 <= score(corrected_contrast_quality, *images) <= 1
    flat = np.full_like(images[0], level)
    assert score(corrected_contrast_quality, flat, flat, flat) == 1
    assert score(corrected_contrast_quality, flat, *triple[1:]) < 1e-3


def test_wide_black_surroundings_are_no_noise() -> None:
    """Rounding errors are all that filtering leaves there, and they would count as contrast."""
    picture = np.zeros((300, 300))
    picture[:40, :40] = np.random.default_rng(1).integers(0, 256, (40, 40))
    for metric in BOTH:
        straight = score(metric, picture, np.roll(picture, 3, axis=1), picture * 0.5)
        mirrored = [np.ascontiguousarray(p[::-1, ::-1]) for p in (picture, np.roll(picture, 3, axis=1), picture * 0.5)]
        assert score(metric, *mirrored) == pytest.approx(straight, abs=1e-4)


def test_stretching_rounds_halves_up() -> None:
    image = torch.tensor([[[10.0, 20.0, 30.0, 60.0]]])
    assert stretched(image).tolist() == [[[0, 51, 102, 255]]]
    assert stretched(torch.tensor([[[0.0, 1.0, 2.0]]])).tolist() == [[[0, 128, 255]]]


def test_every_tensor_is_made_on_the_device_of_the_images() -> None:
    for metric in BOTH:
        assert metric(torch.empty(2, 40, 50, device="meta"), torch.empty(2, 2, 40, 50, device="meta")).shape == (2,)
