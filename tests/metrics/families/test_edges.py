from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from skimage.io import imread

from refusion.metrics import evaluate, filters
from refusion.metrics.families.edges import corrected_edge_preservation, edge_preservation, sobel

SOBEL_X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
SOBEL_Y = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])


def score(function, f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    fused, *sources = (torch.from_numpy(np.array(image, float))[None] for image in (f, a, b))
    return function(fused, torch.stack(sources)).item()


def edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sx = convolve2d(image.astype(float), SOBEL_X, mode="same")
    sy = convolve2d(image.astype(float), SOBEL_Y, mode="same")
    angles = [math.pi / 2 if x == 0 else math.atan(y / x) for x, y in zip(sx.ravel(), sy.ravel(), strict=True)]
    return np.hypot(sx, sy).ravel(), np.array(angles)


def reference(fused: np.ndarray, *sources: np.ndarray, corrected: bool = False) -> float:
    """Computes Qabf pixel by pixel, from the definition in docs/metrics.md."""
    kept = available = 0.0
    strength_f, angle_f = edges(fused)
    for source in sources:
        for gf, af, gs, angle in zip(strength_f, angle_f, *edges(source), strict=True):
            tie = 1 if corrected else gf
            relative = tie if gs == gf else min(gs, gf) / max(gs, gf)
            difference = abs(angle - af)
            if corrected and difference > math.pi / 2:
                difference = math.pi - difference
            alignment = 1 - difference / (math.pi / 2)
            strength = 0.9994 / (1 + math.exp(-15 * (relative - 0.5)))
            kept += gs * strength * 0.9879 / (1 + math.exp(-22 * (alignment - 0.8)))
            available += gs
    return kept / available


def test_sobel_is_a_true_convolution() -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 12)).astype(float)
    sx, sy = sobel(torch.from_numpy(image))
    np.testing.assert_array_equal(sx.numpy(), convolve2d(image, SOBEL_X, mode="valid"))
    np.testing.assert_array_equal(sy.numpy(), convolve2d(image, SOBEL_Y, mode="valid"))


@pytest.mark.parametrize("pixels", [1 << 17, 1000])
def test_agrees_with_the_definition(triple, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: pixels)
    assert evaluate(*triple, "Qabf")["Qabf"].item() == pytest.approx(reference(*triple), rel=1e-10)
    assert score(corrected_edge_preservation, *triple) == pytest.approx(reference(*triple, corrected=True), rel=1e-10)


@pytest.mark.parametrize(
    ("convention", "tolerance"),
    # CDDFuse's evaluator keeps strengths and angles in float32.
    [("cddfuse", 5e-7), ("vifb", 1e-8), ("tang", 1e-8)],
)
def test_gives_the_public_evaluators_numbers(evaluators: Path, convention: str, tolerance: float) -> None:
    table = pd.read_csv(evaluators / "values.csv").query("convention == @convention and metric == 'Qabf'")
    assert len(table) == 16
    for row in table.itertuples():
        images = [imread(evaluators / "images" / f"{row.task}__{row.stem}__{i}.png") for i in (row.method, "a", "b")]
        assert score(edge_preservation, *images) == pytest.approx(row.value, rel=tolerance)


def test_where_strengths_tie_the_relative_strength_is_the_strength_itself() -> None:
    dot = np.zeros((9, 9))
    dot[4, 4] = 0.125
    weak = score(edge_preservation, dot, dot, dot)
    assert weak == pytest.approx(reference(dot, dot, dot), rel=1e-10)
    assert weak < 0.1
    picture = np.random.default_rng(0).integers(0, 255, (20, 20), dtype=np.uint8)
    best = 0.9994 * 0.9879 / (1 + math.exp(-22 * 0.2))
    assert evaluate(picture, picture, picture, "Qabf")["Qabf"].item() == pytest.approx(best, rel=1e-6)


def test_mended_ties_count_as_fully_kept_at_any_scale(triple) -> None:
    _, a, b = triple
    best = 0.9994 * 0.9879 / (1 + math.exp(-7.5)) / (1 + math.exp(-22 * 0.2))
    for scale in (1, 0.125, 2**-10):
        assert score(corrected_edge_preservation, a * scale, a * scale, a * scale) == pytest.approx(best, rel=1e-12)
    assert score(corrected_edge_preservation, a, a, b) < best


def test_the_angle_difference_is_not_wrapped() -> None:
    """A slight slope one way counts as far from π/2 and the other way as near it: mirroring is not neutral."""
    rng = np.random.default_rng(4)
    rows = np.repeat(rng.integers(0, 255, (24, 1), dtype=np.uint8), 24, axis=1)
    tilted = np.clip(rows + np.arange(24), 0, 255).astype(np.uint8)
    plain = evaluate(rows, tilted, tilted, "Qabf")["Qabf"].item()
    mirrored = evaluate(rows[:, ::-1], tilted[:, ::-1], tilted[:, ::-1], "Qabf")["Qabf"].item()
    assert abs(plain - mirrored) > 1e-3
    assert plain == pytest.approx(reference(rows, tilted, tilted), rel=1e-10)
    corrected = score(corrected_edge_preservation, rows, tilted, tilted)
    assert corrected > max(plain, mirrored)
    assert score(corrected_edge_preservation, rows[:, ::-1], tilted[:, ::-1], tilted[:, ::-1]) == pytest.approx(
        corrected
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 5, 256]), flip=st.sampled_from([0, 1]))
def test_symmetries_and_bounds(seed: int, levels: int, flip: int) -> None:
    f, a, b = np.random.default_rng(seed).integers(0, levels, (3, 9, 11))
    for function in (edge_preservation, corrected_edge_preservation):
        got = score(function, f, a, b)
        assert 0 <= got <= 1
        assert score(function, f, b, a) == pytest.approx(got, rel=1e-12)
    assert score(corrected_edge_preservation, *(np.flip(x, flip) for x in (f, a, b))) == pytest.approx(got, rel=1e-12)
    assert score(corrected_edge_preservation, f / 4, a / 4, b / 4) == pytest.approx(got, rel=1e-12)


@pytest.mark.parametrize("function", [edge_preservation, corrected_edge_preservation])
def test_black_sources_give_nan(triple, function) -> None:
    f, a, _ = triple
    assert np.isnan(score(function, f, a * 0, a * 0))
    assert np.isnan(score(function, f * 0, a * 0, a * 0))
    assert score(function, f, a * 0, a) > 0


@pytest.mark.parametrize("function", [edge_preservation, corrected_edge_preservation])
def test_flat_and_tiny_images_have_a_score(function) -> None:
    """The frame of zeros gives even one pixel a border, though no edge (its own differences cancel)."""
    flat = np.full((5, 5), 90)
    best = 0.9994 * 0.9879 / (1 + math.exp(-7.5)) / (1 + math.exp(-22 * 0.2))
    assert score(function, flat, flat, flat) == pytest.approx(best, rel=2e-3)
    assert score(function, flat * 0, flat, flat) < 0.001
    assert np.isnan(score(function, *3 * [np.array([[9]])]))
    assert score(function, *3 * [np.array([[9, 9]])]) > 0.9


@pytest.mark.parametrize("function", [edge_preservation, corrected_edge_preservation])
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
