from __future__ import annotations

import math

import numpy as np
import pytest

from refusion.metrics import evaluate


def test_sf_from_its_definition(triple) -> None:
    f = triple[0].astype(float)
    height, width = f.shape
    rows = sum((f[i, j] - f[i, j - 1]) ** 2 for i in range(height) for j in range(1, width)) / (height * (width - 1))
    columns = sum((f[i, j] - f[i - 1, j]) ** 2 for i in range(1, height) for j in range(width)) / ((height - 1) * width)
    assert evaluate(*triple, "SF")["SF"].item() == pytest.approx(math.sqrt(rows + columns), rel=1e-12)


def test_ag_from_its_definition(triple) -> None:
    dy, dx = np.gradient(triple[0].astype(float))
    assert evaluate(*triple, "AG")["AG"].item() == pytest.approx(np.sqrt((dx**2 + dy**2) / 2).mean(), rel=1e-12)


def test_a_ramp_has_its_slope() -> None:
    ramp = np.tile(np.arange(0, 60, 3, dtype=np.uint8), (10, 1))
    scores = evaluate(ramp, ramp, ramp, ["SF", "AG"])
    assert scores["SF"].item() == pytest.approx(3, rel=1e-12)
    assert scores["AG"].item() == pytest.approx(3 / math.sqrt(2), rel=1e-12)
