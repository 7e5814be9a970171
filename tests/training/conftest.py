"""Tiny settings and a folder of small pairs, for everything that training does in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from written_pairs import write_pairs

from refusion.config.settings import Settings
from refusion.images.pair_check import find_and_check
from refusion.images.store import PairStore
from refusion.runtime.distributed import Shard
from refusion.training import loop
from refusion.training.loop import TaskTraining
from refusion.training.validation import Measured


@pytest.fixture(scope="session")
def tiny() -> Settings:
    """Two epochs of two meta-iterations and three fusion updates on small modules and crops."""
    return Settings.model_validate(
        {
            "tasks": ["IVIF"],
            "schedule": {"epochs": 2, "meta_iterations": 2, "fusion_steps": 3, "rate": 1e-3},
            "images": {"crop": 16, "batch": 2},
            "network": {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8},
            "validation": {"pictures": 1},
        }
    )


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IVIF with 5 train and 2 val pairs. Tests only read it."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder, "IVIF", "train", 5)
    write_pairs(folder, "IVIF", "val", 2, seed=1)
    return folder


@pytest.fixture(scope="session")
def train_store(pair_folder: Path) -> PairStore:
    return PairStore(find_and_check(pair_folder, "IVIF", "train")[0])


@pytest.fixture(scope="session")
def val_store(pair_folder: Path) -> PairStore:
    return PairStore(find_and_check(pair_folder, "IVIF", "val")[0])


@pytest.fixture
def training(tiny: Settings, train_store: PairStore, val_store: PairStore) -> TaskTraining:
    return TaskTraining(tiny, "IVIF", train_store, val_store, Shard(), torch.device("cpu"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Validation that takes no time; the scores that it returns, one per epoch, are put into the list."""
    scores: list[float] = []

    def validate(*_: Any, **__: Any) -> Measured:
        return Measured({"scene_0": {"EN": 7.0, "Qabf": scores.pop(0) if scores else 0.5}})

    monkeypatch.setattr(loop, "validate", validate)
    monkeypatch.setattr(loop, "average_baseline", lambda *_: Measured({"scene_0": {"EN": 6.0, "Qabf": 0.1}}))
    return scores


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of each test's own, so that nothing reaches the user's."""
    folder = tmp_path / "home"
    monkeypatch.setenv("REFUSION_HOME", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder
