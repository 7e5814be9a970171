from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from skimage import data

from refusion.metrics import filters
from refusion.metrics.families.multiscale import SMALLEST_SIDE, multi_scale_ssim


def score(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    fused, *sources = (torch.from_numpy(np.array(image, float))[None] for image in (f, a, b))
    return multi_scale_ssim(fused, torch.stack(sources)).item()


def reference(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return (reference_of_one(f.astype(float), a.astype(float)) + reference_of_one(f.astype(float), b.astype(float))) / 2


def reference_of_one(x: np.ndarray, y: np.ndarray) -> float:
    """Eq. 7 of Wang, Simoncelli & Bovik 2003, for α = β = γ on each scale."""
    across = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(across, across) / across.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    product = 1.0
    for scale, weight in enumerate([0.0448, 0.2856, 0.3001, 0.2363, 0.1333]):
        mx, my, xx, yy, xy = (convolve2d(z, window, mode="valid") for z in (x, y, x * x, y * y, x * y))
        structure = (2 * (xy - mx * my) + c2) / (xx - mx**2 + yy - my**2 + c2)
        luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        product *= max(0.0, float(np.mean(structure * luminance if scale == 4 else structure))) ** weight
        x, y = (np.pad(z, [(0, side % 2) for side in z.shape], mode="symmetric") for z in (x, y))
        x, y = ((z[::2, ::2] + z[1::2, ::2] + z[::2, 1::2] + z[1::2, 1::2]) / 4 for z in (x, y))
    return product


def pictures(height: int, width: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    scene = data.camera()[60 : 60 + height, 150 : 150 + width].astype(float)
    a, b = scene * 0.7 + 40, np.where(np.arange(width) < width // 2, scene, 255 - scene * 0.5)
    fused = np.clip((a + b) / 2 + rng.normal(0, 9, scene.shape), 0, 255)
    return [np.round(x) for x in (fused, a, b)]


@pytest.mark.parametrize("pixels", [1 << 17, 5000])
@pytest.mark.parametrize(("height", "width"), [(176, 176), (183, 209), (192, 240)])
def test_agrees_with_the_definition(height: int, width: int, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: pixels)
    images = pictures(height, width)
    assert 0.3 < reference(*images) < 0.95
    assert score(*images) == pytest.approx(reference(*images), rel=1e-10)


def test_a_copy_scores_one_and_a_negative_zero() -> None:
    _, a, b = pictures(SMALLEST_SIDE, SMALLEST_SIDE)
    assert score(a, a, a) == pytest.approx(1, abs=1e-12)
    assert score(a, a, b) < 0.999
    assert score(255 - a, a, a) == 0
    assert score(255 - b, a, b) == pytest.approx(reference_of_one(255 - b, a) / 2, rel=1e-10)


@pytest.mark.parametrize("level", [0, 80, 255])
def test_flat_images_have_a_score(level: int) -> None:
    flat = np.full((176, 176), level)
    other = 255.0 - level
    c1 = (0.01 * 255) ** 2
    luminance = (2 * level * other + c1) / (level**2 + other**2 + c1)
    assert score(flat, flat, flat) == pytest.approx(1, abs=1e-9)
    assert score(flat, np.full_like(flat, other), flat) == pytest.approx((1 + luminance**0.1333) / 2, rel=1e-7)


def test_the_smallest_side_leaves_one_window_on_the_coarsest_scale() -> None:
    image = torch.zeros(1, SMALLEST_SIDE, SMALLEST_SIDE)
    for _ in range(4):
        image = filters.halve(image)
    assert SMALLEST_SIDE == 176
    assert image.shape[-2:] == (11, 11)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 256]), flip=st.sampled_from([0, 1]))
def test_symmetries_and_bounds(seed: int, levels: int, flip: int) -> None:
    f, a, b = np.random.default_rng(seed).integers(0, levels, (3, 176, 176))
    f = (f + a + b) // 3
    got = score(f, a, b)
    assert 0 <= got <= 1
    assert score(f, b, a) == pytest.approx(got, rel=1e-12)
    assert score(*(np.flip(x, flip) for x in (f, a, b))) == pytest.approx(got, rel=1e-9)


def test_each_image_of_a_batch_has_its_own_score() -> None:
    first, second = pictures(176, 181, seed=1), pictures(176, 181, seed=2)
    f, a, b = (torch.from_numpy(np.stack(three)) for three in zip(first, second, first, strict=True))
    f[2, 5, 5] = torch.nan
    batch = multi_scale_ssim(f, torch.stack([a, b]))
    assert multi_scale_ssim(f[:0], torch.stack([a, b])[:, :0]).shape == (0,)
    assert batch[:2].tolist() == pytest.approx([score(*first), score(*second)], abs=1e-12)
    assert batch[2].isnan()
