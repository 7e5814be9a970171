"""Small images and modules to be scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from refusion.config.layers import check
from refusion.evaluation.scenes import pairs_of_folders
from refusion.images.pairs import Pair
from refusion.images.writing import write_image
from refusion.meta.state import TrainingState
from refusion.networks import FusionModule
from refusion.training.checkpoints import save_checkpoint


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    """Three pairs of 48×56 pixels, a grey and b in colour, as folders a and b of ``tmp_path``."""
    random = np.random.default_rng(0)
    for name in ("one", "three", "two"):
        ramp = np.add.outer(np.arange(48), np.arange(56)) * 2.0
        for side, shape in (("a", (48, 56)), ("b", (48, 56, 3))):
            (tmp_path / side).mkdir(exist_ok=True)
            values = (ramp if side == "a" else ramp[..., None]) + random.normal(0, 20, shape)
            write_image(tmp_path / side / f"{name}.png", np.clip(values, 0, 255).astype(np.uint8))
    return pairs_of_folders(tmp_path / "a", tmp_path / "b", "IVIF")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUN/IVIF/final of a small module that nobody has trained."""
    folder = tmp_path_factory.mktemp("runs") / "night" / "IVIF" / "final"
    folder.mkdir(parents=True)
    settings = check([{"network": {"width": 8, "blocks": 1}}])
    save_checkpoint(folder, TrainingState(settings, "IVIF"), settings, "IVIF", {})
    return folder


@pytest.fixture
def module() -> FusionModule:
    torch.manual_seed(0)
    return FusionModule(width=8, blocks=1).eval()
