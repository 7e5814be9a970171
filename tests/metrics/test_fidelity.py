from __future__ import annotations

import numpy as np
import pytest
from sewar.full_ref import vifp

from refusion.metrics import evaluate, filters


def reference(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return float(vifp(a, f) + vifp(b, f)) / 2


def test_agrees_with_sewar(triple) -> None:
    assert evaluate(*triple, "VIF")["VIF"].item() == pytest.approx(reference(*triple), rel=1e-8)


def test_agrees_in_strips_and_for_sources_between_grey_levels(triple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "pixels_at_once", lambda _on_cpu: 1000)
    f, a, b = triple
    a, b = a * 0.97 + 1.3, b * 0.93 + 2.1
    expected = reference(f.astype(float), a, b)
    assert evaluate(f, a, b, "VIF")["VIF"].item() == pytest.approx(expected, rel=1e-8)


def test_is_one_for_a_copy_and_more_for_higher_contrast() -> None:
    a = np.random.default_rng(0).integers(60, 190, (48, 48), dtype=np.uint8)
    stretched = np.round((a - 125.0) * 1.8 + 125).astype(np.uint8)
    assert evaluate(a, a, a, "VIF")["VIF"].item() == pytest.approx(1, abs=1e-9)
    assert evaluate(stretched, a, a, "VIF")["VIF"].item() > 1


@pytest.mark.parametrize("level", [0, 90, 100.3, 255])
def test_a_flat_source_gives_nan(triple, level: float) -> None:
    f, a, b = triple
    assert evaluate(f, np.full(a.shape, level), b, "VIF")["VIF"].isnan()


def test_a_flat_fused_image_keeps_nothing(triple) -> None:
    f, a, b = triple
    assert evaluate(np.full_like(f, 90), a, b, "VIF")["VIF"].item() == 0
