from __future__ import annotations

import pickle
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import mlflow
import numpy as np
import pytest
import safetensors.torch
import yaml
from foreign_networks import Tiny
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from refusion.errors import UserError
from refusion.fuse import fuse_pair, load_module
from refusion.networks import FusionModule
from refusion.tracking.loading import find_model
from refusion.tracking.models import logging
from refusion.tracking.models.version import Version
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import start_job_run

MakeVersion = Callable[..., Version]


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module with the two functions that the logged model calls."""
    module = types.ModuleType("refusion.fuse")
    module.load_module = lambda folder, **_: yaml.safe_load((Path(folder) / "settings.yaml").read_text())  # type: ignore[attr-defined]
    module.fuse_pair = lambda loaded, a, b: np.full(np.shape(a), loaded["network"]["width"] + b.max(), np.uint8)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "refusion.fuse", module)
    return module


@pytest.fixture
def logged(uri: str, experiment: str, checkpoint: Path, version: MakeVersion) -> str:
    # MLflow's own modules warn while they are imported.
    assert mlflow.pyfunc.save_model
    run_id = start_job_run(uri, experiment, "model", {}, {})
    recorder = TaskRecorder(uri, run_id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registered = recorder.model(checkpoint, version("IVIF", recorder.run_id, 0, 0.5))
    assert recorder.unsent == 0
    return str(registered)


@pytest.mark.usefixtures("logged")
def test_the_code_of_a_model_that_was_logged_is_no_module_of_this_process() -> None:
    assert not [name for name, module in sys.modules.items() if getattr(module, "__file__", None) == str(logging._CODE)]


@pytest.mark.usefixtures("logged", "fuse")
def test_loads_from_the_registry_without_unpickling(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for module in (pickle, cloudpickle):
        monkeypatch.setattr(module, "load", refuse)
        monkeypatch.setattr(module, "loads", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = mlflow.pyfunc.load_model("models:/refusion-IVIF@best")
    finally:
        mlflow.set_tracking_uri(before)
    b = np.full((5, 6, 3), 4.0)
    fused = model.predict({"a": np.zeros((5, 6, 3), np.uint8), "b": b})
    assert fused.dtype == np.uint8
    assert fused.shape == (5, 6, 3)
    assert (fused == 20).all()
    assert model.predict({"a": np.zeros((5, 6)), "b": b}).shape == (5, 6)
    with pytest.raises(MlflowException, match="'b'"):
        model.predict({"a": b})


def test_fuses_as_the_checkpoint_itself(uri: str, experiment: str, checkpoint: Path, version: MakeVersion) -> None:
    shape = {"width": 8, "heads": 2, "blocks": 1, "expansion": 2}
    safetensors.torch.save_file(FusionModule(**shape).state_dict(), str(checkpoint / "fusion.safetensors"))
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump({"task": "MFIF", "network": shape}))
    recorder = TaskRecorder(uri, start_job_run(uri, experiment, "real", {}, {}))
    recorder.model(checkpoint, version("MFIF", recorder.run_id, 0, 0.5))
    model = mlflow.pyfunc.load_model(str(find_model("models:/refusion-MFIF@best", uri).folder.parents[1]))
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 256, (24, 32), dtype=np.uint8), draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    fused = model.predict({"a": a, "b": b})
    assert fused.shape == (24, 32, 3)
    assert np.array_equal(fused, fuse_pair(load_module(checkpoint), a, b))


def test_runs_a_users_network_only_where_the_environment_names_it(
    uri: str, experiment: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, version: MakeVersion
) -> None:
    safetensors.torch.save_file(Tiny().state_dict(), str(checkpoint / "fusion.safetensors"))
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump({"network": {"kind": "foreign_networks:Tiny"}}))
    recorder = TaskRecorder(uri, start_job_run(uri, experiment, "foreign", {}, {}))
    recorder.model(checkpoint, version("MEIF", recorder.run_id, 0, 0.5))
    model = str(find_model("models:/refusion-MEIF@best", uri).folder.parents[1])
    for trusted in ("", "0", "other:Net"):
        monkeypatch.setenv("REFUSION_TRUST_CODE", trusted)
        with pytest.raises(UserError, match="its network is foreign_networks:Tiny"):
            mlflow.pyfunc.load_model(model)
    image = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)
    for trusted in ("1", "other:Net,foreign_networks:Tiny"):
        monkeypatch.setenv("REFUSION_TRUST_CODE", trusted)
        assert mlflow.pyfunc.load_model(model).predict({"a": image, "b": image}).shape == (24, 32)


def test_holds_code_weights_and_settings_only(uri: str, logged: str) -> None:
    client = MlflowClient(tracking_uri=uri)
    place = client.get_model_version_download_uri("refusion-IVIF", logged)
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=place))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files - {"registered_model_meta"} == {
        "MLmodel",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "logged_model.py",
        "artifacts/checkpoint/fusion.safetensors",
        "artifacts/checkpoint/settings.yaml",
        "input_example.json",
        "serving_input_example.json",
    }
    assert "python_model:" not in (folder / "MLmodel").read_text()
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert any(line.startswith("refusion-platform==") for line in requirements)
    assert f"mlflow=={mlflow.__version__}" in requirements
