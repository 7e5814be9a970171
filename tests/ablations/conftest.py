"""Tiny settings and a folder of small pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from written_pairs import write_pairs


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Two epochs of two meta-iterations and two fusion updates on small modules and crops."""
    return {
        "schedule": {"epochs": 2, "meta_iterations": 2, "fusion_steps": 2, "rate": 1e-3},
        "images": {"crop": 16, "batch": 2},
        "network": {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8},
        "compile": False,
    }


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MFIF with 4 train and 2 val pairs. Tests only read it."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder, "MFIF", "train", 4)
    write_pairs(folder, "MFIF", "val", 2, seed=1)
    return folder
