"""A home that was moved or copied: its registry, its runs' artifacts and what is written later all follow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from mlflow import MlflowClient

from refusion.networks import FusionModule
from refusion.tracking.database import sqlite_address
from refusion.tracking.loading import find_model, load_module
from refusion.tracking.models.version import Version
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.relocation import followed_store
from refusion.tracking.runs import start_job_run
from refusion.tracking.store import open_store, resolve_tracking_uri

SIZES = {"width": 8, "heads": 2, "blocks": 1, "expansion": 2}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    safetensors.torch.save_file(FusionModule(**SIZES).state_dict(), str(folder / "fusion.safetensors"))
    (folder / "settings.yaml").write_text(yaml.safe_dump({"network": SIZES}))
    return folder


@pytest.mark.parametrize("how", ["moved", "copied", "read-only"])
def test_models_and_new_artifacts_follow(
    tmp_path: Path, checkpoint: Path, version: Callable[..., Version], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("REFUSION_HOME", str(old))
    uri = resolve_tracking_uri(None)
    run_id = start_job_run(uri, open_store(uri, "one"), "job", {}, {})
    TaskRecorder(uri, run_id).model(checkpoint, version("MIF", run_id))
    if how == "copied":
        shutil.copytree(old, new)
    else:
        shutil.move(old, new)
    monkeypatch.setenv("REFUSION_HOME", str(new))
    uri = resolve_tracking_uri(None)
    if how == "read-only":
        # Root may write anywhere: only the reading commands run here, which write nothing.
        assert find_model("models:/refusion-MIF@best", uri).folder.is_relative_to(new)
        return
    assert load_module("models:/refusion-MIF@best", tracking_uri=uri)(torch.rand(1, 2, 8, 8)).shape == (1, 1, 8, 8)
    assert find_model(f"runs:/{run_id}", uri).folder.is_relative_to(new)
    before = sorted(path for path in old.rglob("*"))
    open_store(uri, "one")
    client = MlflowClient(uri)
    assert client.get_run(run_id).info.artifact_uri.startswith((new / "mlartifacts").as_uri())
    client.log_text(run_id, "later", "note.txt")
    assert [path.is_relative_to(new) for path in tmp_path.rglob("note.txt")] == [True]
    assert sorted(path for path in old.rglob("*")) == before


def test_the_store_of_a_run_follows_its_home_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, other = (tmp_path / name for name in ("old", "new", "other"))
    for folder in (old, new, other):
        folder.mkdir()
        (folder / "mlflow.db").touch()
    monkeypatch.setenv("REFUSION_HOME", str(new))
    here = sqlite_address(new / "mlflow.db")
    assert followed_store(sqlite_address(old / "mlflow.db"), str(old)) == here
    assert followed_store(sqlite_address(other / "mlflow.db"), str(old)) == sqlite_address(other / "mlflow.db")
    assert followed_store("http://server:5000", str(old)) == "http://server:5000"
    (old / "mlflow.db").unlink()
    assert followed_store(sqlite_address(old / "mlflow.db"), None) == here
