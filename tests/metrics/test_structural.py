from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from refusion.metrics import evaluate, filters


def reference(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return (structural_similarity(a, f) + structural_similarity(b, f)) / 2


def test_agrees_with_scikit_image(triple) -> None:
    assert evaluate(*triple, "SSIM")["SSIM"].item() == pytest.approx(reference(*triple), rel=1e-10)


def test_agrees_in_strips_and_for_sources_between_grey_levels(triple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: 1000)
    f, a, b = triple
    a, b = a * 0.97 + 1.3, b * 0.93 + 2.1
    expected = np.mean([structural_similarity(source, f.astype(float), data_range=255) for source in (a, b)])
    assert evaluate(f, a, b, "SSIM")["SSIM"].item() == pytest.approx(expected, rel=1e-10)


def test_is_one_only_for_both_sources_kept(triple) -> None:
    _, a, b = triple
    assert evaluate(a, a, a, "SSIM")["SSIM"].item() == pytest.approx(1, abs=1e-12)
    assert evaluate(a, a, b, "SSIM")["SSIM"].item() < 0.99


def test_flat_images_have_a_score() -> None:
    flat = np.full((12, 12), 80, np.uint8)
    assert evaluate(flat, flat, flat, "SSIM")["SSIM"].item() == 1
