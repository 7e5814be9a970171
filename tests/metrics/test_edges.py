from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from refusion.metrics import evaluate, filters
from refusion.metrics.edges import edge_preservation

SOBEL_X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
SOBEL_Y = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])


def edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sx = convolve2d(image.astype(float), SOBEL_X, mode="same")
    sy = convolve2d(image.astype(float), SOBEL_Y, mode="same")
    angles = [math.pi / 2 if x == 0 else math.atan(y / x) for x, y in zip(sx.ravel(), sy.ravel(), strict=True)]
    return np.hypot(sx, sy).ravel(), np.array(angles)


def reference(fused: np.ndarray, *sources: np.ndarray) -> float:
    """Pixel by pixel, as METRICS.md puts it."""
    kept = available = 0.0
    strength_f, angle_f = edges(fused)
    for source in sources:
        for gf, af, gs, angle in zip(strength_f, angle_f, *edges(source), strict=True):
            relative = gf if gs == gf else min(gs, gf) / max(gs, gf)
            alignment = 1 - abs(angle - af) / (math.pi / 2)
            strength = 0.9994 / (1 + math.exp(-15 * (relative - 0.5)))
            kept += gs * strength * 0.9879 / (1 + math.exp(-22 * (alignment - 0.8)))
            available += gs
    return kept / available


@pytest.mark.parametrize("pixels", [1 << 17, 1000])
def test_agrees_with_the_definition(triple, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: pixels)
    assert evaluate(*triple, "Qabf")["Qabf"].item() == pytest.approx(reference(*triple), rel=1e-10)


def test_where_strengths_tie_the_relative_strength_is_the_strength_itself() -> None:
    dot = np.zeros((9, 9))
    dot[4, 4] = 0.125
    weak = edge_preservation(torch.from_numpy(dot)[None], torch.from_numpy(np.stack([dot, dot]))[:, None]).item()
    assert weak == pytest.approx(reference(dot, dot, dot), rel=1e-10)
    assert weak < 0.1
    picture = np.random.default_rng(0).integers(0, 255, (20, 20), dtype=np.uint8)
    best = 0.9994 * 0.9879 / (1 + math.exp(-22 * 0.2))
    assert evaluate(picture, picture, picture, "Qabf")["Qabf"].item() == pytest.approx(best, rel=1e-6)


def test_the_angle_difference_is_not_wrapped() -> None:
    """A slight slope one way counts as far from π/2 and the other way as near it: mirroring is not neutral."""
    rng = np.random.default_rng(4)
    rows = np.repeat(rng.integers(0, 255, (24, 1), dtype=np.uint8), 24, axis=1)
    tilted = np.clip(rows + np.arange(24), 0, 255).astype(np.uint8)
    plain = evaluate(rows, tilted, tilted, "Qabf")["Qabf"].item()
    mirrored = evaluate(rows[:, ::-1], tilted[:, ::-1], tilted[:, ::-1], "Qabf")["Qabf"].item()
    assert abs(plain - mirrored) > 1e-3
    assert plain == pytest.approx(reference(rows, tilted, tilted), rel=1e-10)


def test_black_sources_give_nan(triple) -> None:
    f, a, _ = triple
    assert evaluate(f, a * 0, a * 0, "Qabf")["Qabf"].isnan()
