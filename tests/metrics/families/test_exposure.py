from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from skimage.io import imread

from refusion.metrics import filters
from refusion.metrics.families.exposure import SMALLEST_SIDE, SMALLEST_SIDE_OF_SCALES, mef_ssim, multi_scale_mef_ssim


def score(function, f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    fused, *sources = (torch.from_numpy(np.array(image, float))[None] for image in (f, a, b))
    return function(fused, torch.stack(sources)).item()


def reference(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Computes MEF-SSIM patch by patch, after Ma, Zeng & Wang 2015, with the guards of their code."""
    across = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(across, across).ravel() / across.sum() ** 2
    patches = [sliding_window_view(x.astype(float), (11, 11)).reshape(-1, 121) for x in (f, a, b)]
    return float(np.mean([of_patch(window, *three) for three in zip(*patches, strict=True)]))


def of_patch(window: np.ndarray, f: np.ndarray, *sources: np.ndarray) -> float:
    eps = np.finfo(float).eps
    structures = [x - x.mean() for x in sources]
    norms = [float(np.linalg.norm(x)) for x in structures]
    consistency = (np.linalg.norm(sum(structures)) + eps) / (sum(norms) + eps)
    power = min(10.0, np.tan(np.pi / 2 * min(1.0, consistency)))
    contrasts = [norm + 0.001 for norm in norms]
    weights = [(contrast / 11) ** power + eps for contrast in contrasts]
    wanted = sum(w / sum(weights) * x / c for w, x, c in zip(weights, structures, contrasts, strict=True))
    length = float(np.linalg.norm(wanted))
    wanted = wanted / length * max(contrasts) if length > 1e-9 else np.zeros_like(f)
    mean_w, mean_f = window @ wanted, window @ f
    own = window @ (wanted - mean_w) ** 2 + window @ (f - mean_f) ** 2
    c = (0.03 * 255) ** 2
    return (2 * (window @ ((wanted - mean_w) * (f - mean_f))) + c) / (own + c)


def reference_of_scales(*images: np.ndarray) -> float:
    weights = np.array([0.0448, 0.2856, 0.3001])
    product = 1.0
    for weight in weights / weights.sum():
        product *= max(reference(*images), 0.0) ** weight
        padded = [np.pad(x.astype(float), [(0, side % 2) for side in x.shape], mode="symmetric") for x in images]
        images = tuple((x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4 for x in padded)
    return product


@pytest.mark.parametrize("pixels", [1 << 17, 1000])
def test_agrees_with_the_definition(triple, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: pixels)
    f, a, b = (image[:46, :49] for image in triple)
    assert score(mef_ssim, f, a, b) == pytest.approx(reference(f, a, b), rel=1e-9)
    between = f, a * 0.97 + 1.3, b * 0.93 + 2.1
    assert score(mef_ssim, *between) == pytest.approx(reference(*between), rel=1e-6)


def test_agrees_over_three_scales(triple) -> None:
    images = [image[:47, :45] for image in triple]
    assert score(multi_scale_mef_ssim, *images) == pytest.approx(reference_of_scales(*images), rel=1e-9)


@pytest.mark.parametrize(("function", "metric"), [(mef_ssim, "MEF_SSIM"), (multi_scale_mef_ssim, "MS_SSIM")])
def test_gives_the_public_evaluators_numbers(evaluators: Path, function, metric: str) -> None:
    table = pd.read_csv(evaluators / "values.csv").query("convention == 'tang' and metric == @metric")
    assert len(table) == 16
    for row in table.itertuples():
        images = [imread(evaluators / "images" / f"{row.task}__{row.stem}__{i}.png") for i in (row.method, "a", "b")]
        assert score(function, *images) == pytest.approx(row.value, rel=1e-8)


def test_a_copy_scores_one_and_luminance_does_not_count(triple) -> None:
    _, a, b = triple
    copy = score(mef_ssim, a, a, a)
    # The guard of 0.001 makes the wanted contrast a little higher than the source's.
    assert copy == pytest.approx(1, abs=1e-5)
    assert score(mef_ssim, a.astype(float) + 17, a, a) == pytest.approx(copy, abs=1e-9)
    assert score(mef_ssim, a, a, b) < 0.9999


def test_the_opposite_structure_scores_below_zero_and_nothing_over_scales() -> None:
    a = np.random.default_rng(0).integers(0, 256, (50, 50))
    assert score(mef_ssim, 255 - a, a, a) < -0.9
    assert score(multi_scale_mef_ssim, 255 - a, a, a) == 0


@pytest.mark.parametrize("level", [0, 90, 255])
def test_flat_sources_ask_for_nothing(level: int) -> None:
    flat = np.full((44, 44), level)
    textured = np.random.default_rng(1).integers(0, 256, (44, 44))
    for function in (mef_ssim, multi_scale_mef_ssim):
        assert score(function, flat, flat, flat) == pytest.approx(1, abs=1e-9)
        assert score(function, flat, 255 - flat, flat) == pytest.approx(1, abs=1e-9)
        assert 0 < score(function, textured, flat, flat) < 0.3
    assert score(mef_ssim, textured, flat, flat) == pytest.approx(reference(textured, flat, flat), rel=1e-9)
    assert score(mef_ssim, textured, flat, textured) == pytest.approx(1, abs=1e-5)


def test_sources_that_cancel_each_other_ask_for_nothing() -> None:
    a = np.random.default_rng(1).integers(0, 256, (30, 30))
    flat = np.full_like(a, 127)
    assert score(mef_ssim, flat, a, 255 - a) == pytest.approx(1, abs=1e-9)
    assert score(mef_ssim, a, a, 255 - a) == pytest.approx(reference(a, flat, flat), rel=1e-9)


def test_works_from_one_window_on() -> None:
    f, a, b = np.random.default_rng(2).integers(0, 256, (3, SMALLEST_SIDE, SMALLEST_SIDE))
    assert SMALLEST_SIDE == 11
    assert score(mef_ssim, f, a, b) == pytest.approx(reference(f, a, b), rel=1e-9)
    wide = np.kron(np.stack([f, a, b]) // 2 + a // 2, np.ones((4, 4)))
    assert wide.shape[1:] == (SMALLEST_SIDE_OF_SCALES, SMALLEST_SIDE_OF_SCALES)
    assert score(multi_scale_mef_ssim, *wide) == pytest.approx(reference_of_scales(*wide), rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 7, 256]), flip=st.sampled_from([0, 1]))
def test_symmetries_and_bounds(seed: int, levels: int, flip: int) -> None:
    f, a, b = np.random.default_rng(seed).integers(0, levels, (3, 15, 14))
    got = score(mef_ssim, f, a, b)
    assert -1 <= got <= 1
    assert score(mef_ssim, f, b, a) == pytest.approx(got, abs=1e-9)
    assert score(mef_ssim, *(np.flip(x, flip) for x in (f, a, b))) == pytest.approx(got, abs=1e-9)


@pytest.mark.parametrize("function", [mef_ssim, multi_scale_mef_ssim])
def test_each_image_of_a_batch_has_its_own_score(pair_of_triples, function) -> None:
    first, second = pair_of_triples
    f, a, b = (
        torch.from_numpy(np.stack([*pictures, pictures[0]])).double() for pictures in zip(*pair_of_triples, strict=True)
    )
    f[2, 5, 5] = torch.nan
    batch = function(f, torch.stack([a, b]))
    assert function(f[:0], torch.stack([a, b])[:, :0]).shape == (0,)
    assert batch[:2].tolist() == pytest.approx([score(function, *first), score(function, *second)], abs=1e-12)
    assert batch[2].isnan()
    f[2, 5, 5], a[2, 9, 9] = 1, torch.nan
    assert function(f, torch.stack([a, b])).isnan().tolist() == [False, False, True]
