from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate
from skimage.io import imread
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from refusion.metrics import evaluate, filters
from refusion.metrics.families.structural import (
    gaussian_ssim,
    mean_ssim,
    summed_gaussian_ssim,
    summed_ssim_of_range_two,
)

matlab_ssim = partial(gaussian_ssim, peak=1.0, every_pixel=True)
VARIANTS = {
    "authors": (mean_ssim, 1),
    "cddfuse": (summed_ssim_of_range_two, 2),
    "vifb": (summed_gaussian_ssim, 2),
    "tang": (matlab_ssim, 1),
}


def score(function, f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    fused, *sources = (torch.from_numpy(np.array(image, float))[None] for image in (f, a, b))
    return function(fused, torch.stack(sources)).item()


def reference(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return (structural_similarity(a, f) + structural_similarity(b, f)) / 2


def reference_cddfuse(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    single = f.astype(np.float32)
    return sum(structural_similarity(single, x.astype(np.float32), data_range=2) for x in (a, b))


def reference_vifb(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return sum(structural_similarity(f.astype(float), x.astype(float), **wang) for x in (a, b))


def reference_tang(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """MATLAB's documented defaults: σ 1.5 cut at 5 pixels, replicated border, range 1 for doubles, mean of the map."""
    across = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(across, across) / across.sum() ** 2
    scores = []
    for x in (a.astype(float), b.astype(float)):
        y = f.astype(float)
        mx, my, xx, yy, xy = (correlate(z, window, mode="nearest") for z in (x, y, x * x, y * y, x * y))
        top = (2 * mx * my + 0.01**2) * (2 * (xy - mx * my) + 0.03**2)
        scores.append(np.mean(top / ((mx**2 + my**2 + 0.01**2) * (xx - mx**2 + yy - my**2 + 0.03**2))))
    return float(np.mean(scores))


def test_agrees_with_scikit_image(triple) -> None:
    assert evaluate(*triple, "SSIM")["SSIM"].item() == pytest.approx(reference(*triple), rel=1e-10)


def test_agrees_in_strips_and_for_sources_between_grey_levels(triple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: 1000)
    f, a, b = triple
    a, b = a * 0.97 + 1.3, b * 0.93 + 2.1
    expected = np.mean([structural_similarity(source, f.astype(float), data_range=255) for source in (a, b)])
    assert evaluate(f, a, b, "SSIM")["SSIM"].item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("pixels", [1 << 17, 1000])
@pytest.mark.parametrize(
    ("function", "expected", "tolerance"),
    [
        (summed_ssim_of_range_two, reference_cddfuse, 1e-12),
        (summed_gaussian_ssim, reference_vifb, 1e-10),
        # Constants as for range 1 on levels to 255: in flat areas rounding errors count for more.
        (matlab_ssim, reference_tang, 1e-7),
    ],
)
def test_public_evaluators_forms(triple, function, expected, tolerance, pixels, monkeypatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: pixels)
    assert score(function, *triple) == pytest.approx(expected(*triple), rel=tolerance)


@pytest.mark.parametrize(
    ("function", "convention", "metric"),
    [(summed_ssim_of_range_two, "cddfuse", "SSIM"), (summed_gaussian_ssim, "vifb", "Ssim")],
)
def test_gives_the_public_evaluators_numbers(evaluators: Path, function, convention: str, metric: str) -> None:
    table = pd.read_csv(evaluators / "values.csv").query("convention == @convention and metric == @metric")
    assert len(table) == 16
    for row in table.itertuples():
        images = [imread(evaluators / "images" / f"{row.task}__{row.stem}__{i}.png") for i in (row.method, "a", "b")]
        assert score(function, *images) == pytest.approx(row.value, rel=1e-8)


def test_is_one_only_for_both_sources_kept(triple) -> None:
    _, a, b = triple
    assert evaluate(a, a, a, "SSIM")["SSIM"].item() == pytest.approx(1, abs=1e-12)
    assert evaluate(a, a, b, "SSIM")["SSIM"].item() < 0.99


@pytest.mark.parametrize("form", VARIANTS)
def test_a_copy_has_the_highest_score(triple, form: str) -> None:
    function, highest = VARIANTS[form]
    _, a, b = triple
    assert score(function, a, a, a) == pytest.approx(highest, abs=1e-9)
    assert score(function, a, a, b) < 0.995 * highest


@pytest.mark.parametrize("form", VARIANTS)
@pytest.mark.parametrize("level", [0, 80, 255])
def test_flat_images_have_a_score(form: str, level: int) -> None:
    function, highest = VARIANTS[form]
    flat = np.full((12, 12), level)
    assert score(function, flat, flat, flat) == pytest.approx(highest, abs=1e-9)
    assert score(function, flat, 255 - flat, 255 - flat) <= highest * (1 + 1e-9)


def test_only_matlabs_form_takes_images_smaller_than_its_window() -> None:
    assert score(matlab_ssim, np.array([[70]]), np.array([[70]]), np.array([[70]])) == pytest.approx(1)
    assert -1 <= score(matlab_ssim, np.array([[70, 90]]), np.array([[90, 70]]), np.array([[1, 200]])) <= 1
    square, wide = np.arange(49).reshape(7, 7), np.arange(121).reshape(11, 11)
    assert score(mean_ssim, square, square, square) == pytest.approx(1)
    assert score(summed_ssim_of_range_two, square, square, square) == pytest.approx(2)
    assert score(summed_gaussian_ssim, wide, wide, wide) == pytest.approx(2)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), form=st.sampled_from(sorted(VARIANTS)), flip=st.sampled_from([0, 1]))
def test_symmetries_and_bounds(seed: int, form: str, flip: int) -> None:
    function, highest = VARIANTS[form]
    f, a, b = np.random.default_rng(seed).integers(0, 256, (3, 13, 15))
    got = score(function, f, a, b)
    assert -highest <= got <= highest
    assert score(function, f, b, a) == pytest.approx(got, abs=1e-12)
    # In float32 (cddfuse) the order of the sums shows.
    tolerance = 1e-4 if form == "cddfuse" else 1e-9
    assert score(function, *(np.flip(x, flip) for x in (f, a, b))) == pytest.approx(got, abs=tolerance)


@pytest.mark.parametrize("form", VARIANTS)
def test_each_image_of_a_batch_has_its_own_score(pair_of_triples, form: str) -> None:
    function, _ = VARIANTS[form]
    first, second = pair_of_triples
    f, a, b = (
        torch.from_numpy(np.stack([*pictures, pictures[0]])).double() for pictures in zip(*pair_of_triples, strict=True)
    )
    f[2, 5, 5] = torch.nan
    batch = function(f, torch.stack([a, b]))
    assert function(f[:0], torch.stack([a, b])[:, :0]).shape == (0,)
    assert batch.shape == (3,) and batch.dtype == torch.float64
    assert batch[:2].tolist() == pytest.approx([score(function, *first), score(function, *second)], abs=1e-12)
    assert batch[2].isnan()


def test_the_gaussian_form_agrees_with_torchmetrics_inside_its_border(triple) -> None:
    f, a, b = (torch.from_numpy(image).double()[None, None] for image in triple)
    expected = 0.0
    for source in (a, b):
        _, similarity = structural_similarity_index_measure(f, source, data_range=255.0, return_full_image=True)
        expected += similarity[..., 5:-5, 5:-5].mean().item()
    assert evaluate(*triple, "SSIM", "vifb")["SSIM"].item() == pytest.approx(expected, rel=1e-6)
