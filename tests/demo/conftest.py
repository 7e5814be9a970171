from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refusion.images.writing import write_image


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, without runs."""
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A grey picture of 16 bits and a coloured one of 8, of one scene, 48 × 40."""
    across = np.linspace(0, 1, 48)[None] * np.ones((40, 1))
    down = np.linspace(0, 1, 40)[:, None] * np.ones((1, 48))
    a, b = tmp_path / "ir.png", tmp_path / "vis.png"
    write_image(a, np.rint(across * 65535).astype(np.uint16))
    write_image(b, np.rint(np.dstack([down, down * across, 1 - down]) * 255).astype(np.uint8))
    return a, b
