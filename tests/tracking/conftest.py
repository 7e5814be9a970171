"""One SQLite schema for all tests here (creating it takes seconds), copied for each file of tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from refusion.tracking.models.version import Version
from refusion.tracking.store import open_store


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("schema") / "mlflow.db"
    open_store(f"sqlite:///{file}", "schema")
    return file


@pytest.fixture(scope="module")
def uri(schema: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An SQLite store of this file of tests."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    shutil.copy(schema, file)
    return f"sqlite:///{file}"


@pytest.fixture(scope="module")
def experiment(uri: str) -> str:
    return open_store(uri, "study")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing may reach the user's own store, nor the working directory."""
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "home"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint's folder, as far as tracking looks into it."""
    folder = tmp_path / "epoch_0003"
    folder.mkdir()
    (folder / "fusion.safetensors").write_bytes(b"weights")
    (folder / "state.pt").write_bytes(b"optimisers")
    (folder / "settings.yaml").write_text("task: IVIF\nnetwork: {width: 16, heads: 8, blocks: 2, expansion: 2}\n")
    return folder


@pytest.fixture(scope="session")
def version() -> Callable[..., Version]:
    """Makes a version that was measured on two real pairs, with some of its facts changed."""

    def make(task: str, run_id: str, epoch: int = 1, score: float = 0.5, **changes: Any) -> Version:
        scores = {"Qabf": score, "SSIM": 0.25}
        return replace(Version(task, run_id, epoch, "Qabf", scores, "authors", "pairs", 2, "folder"), **changes)

    return make
