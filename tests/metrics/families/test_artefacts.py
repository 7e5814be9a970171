from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate
from skimage.io import imread

from refusion.metrics import filters
from refusion.metrics.families.artefacts import artefacts_of_first_source, fusion_artefacts

KERNEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8


def score(function, f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    fused, *sources = (torch.from_numpy(np.array(image, float))[None] for image in (f, a, b))
    return function(fused, torch.stack(sources)).item()


def edges(image: np.ndarray) -> list[tuple[float, float]]:
    across, down = (correlate(image.astype(float), kernel, mode="mirror").ravel() for kernel in (KERNEL, KERNEL.T))
    with np.errstate(divide="ignore", invalid="ignore"):
        angles = np.where((across == 0) & (down == 0), 0, np.arctan(across / down))
    return list(zip(np.sqrt(across**2 + down**2), angles, strict=True))


def reference(f: np.ndarray, *sources: np.ndarray) -> float:
    """Computes Nabf pixel by pixel: Petrović & Xydeas 2005 with Shreyamsha Kumar's modification."""
    added = available = 0.0
    for (gf, af), *pixels in zip(edges(f), *(edges(source) for source in sources), strict=True):
        for gs, angle in pixels:
            relative = 0 if gs == 0 or gf == 0 else min(gs, gf) / max(gs, gf)
            alignment = abs(abs(angle - af) - np.pi / 2) * 2 / np.pi
            kept = 0.9999 / (1 + np.exp(-19 * (relative - 0.5))) * 0.9995 / (1 + np.exp(-22 * (alignment - 0.5)))
            weight = gs**1.5 if gs >= 2 else 0.001
            available += weight
            if all(gf > strength for strength, _ in pixels):
                added += (1 - np.sqrt(kept)) * weight
    return added / available


@pytest.mark.parametrize("pixels", [1 << 17, 1000])
def test_agrees_with_the_definition(triple, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: pixels)
    f, a, b = triple
    assert score(fusion_artefacts, f, a, b) == pytest.approx(reference(f, a, b), rel=1e-10)
    assert score(artefacts_of_first_source, f, a, b) == pytest.approx(reference(a, b, f), rel=1e-10)
    # Quarters of grey levels: without rounding errors, which would decide where strengths tie.
    between = f, a * 0.75 + 1.5, b * 0.75 + 2.25
    assert score(fusion_artefacts, *between) == pytest.approx(reference(*between), rel=1e-10)


def test_gives_the_public_evaluators_numbers(evaluators: Path) -> None:
    table = pd.read_csv(evaluators / "values.csv").query("convention == 'tang' and metric == 'Nabf'")
    assert len(table) == 16
    for row in table.itertuples():
        images = [imread(evaluators / "images" / f"{row.task}__{row.stem}__{i}.png") for i in (row.method, "a", "b")]
        assert score(artefacts_of_first_source, *images) == pytest.approx(row.value, rel=1e-8)
        # Handed over in the right order it is another number.
        assert score(fusion_artefacts, *images) != pytest.approx(row.value, rel=0.01)


def test_noise_and_ringing_add_edges_and_a_copy_adds_none(triple) -> None:
    _, a, b = triple
    noisy = a + np.random.default_rng(0).normal(0, 20, a.shape)
    assert score(fusion_artefacts, a, a, a) == 0
    assert score(fusion_artefacts, a, a, b) == 0
    assert score(fusion_artefacts, noisy, a, a) > 0.02


@pytest.mark.parametrize("function", [fusion_artefacts, artefacts_of_first_source])
@pytest.mark.parametrize("level", [0, 90, 255])
def test_flat_images_have_a_score(function, level: int) -> None:
    flat = np.full((6, 7), level)
    assert score(function, flat, flat, flat) == 0
    assert score(function, flat, 255 - flat, flat) == 0


def test_what_f_adds_to_flat_sources_is_all_artefacts() -> None:
    flat = np.full((2, 2), 90)
    edge = np.array([[0, 255], [0, 255]])
    # Mirrored about its border pixels an image two pixels wide has no slope across.
    assert score(fusion_artefacts, edge, flat, flat) == 0
    wide, slope = np.full((8, 8), 90), np.tile(np.arange(8) * 30, (8, 1))
    assert score(fusion_artefacts, slope, wide, wide) == pytest.approx(reference(slope, wide, wide), rel=1e-10)
    assert 0.7 < score(fusion_artefacts, slope, wide, wide) < 0.75


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 5, 256]), flip=st.sampled_from([0, 1]))
def test_symmetries_and_bounds(seed: int, levels: int, flip: int) -> None:
    f, a, b = np.random.default_rng(seed).integers(0, levels, (3, 9, 11))
    got = score(fusion_artefacts, f, a, b)
    assert 0 <= got <= 1
    assert score(fusion_artefacts, f, b, a) == pytest.approx(got, rel=1e-12)
    assert score(fusion_artefacts, *(np.flip(x, flip) for x in (f, a, b))) == pytest.approx(got, rel=1e-12)
    assert score(fusion_artefacts, 255 - f, 255 - a, 255 - b) == pytest.approx(got, rel=1e-12)


@pytest.mark.parametrize("function", [fusion_artefacts, artefacts_of_first_source])
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
