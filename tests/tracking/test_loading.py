from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import safetensors.torch
import torch
import yaml
from foreign_networks import Tiny
from mlflow import MlflowClient

from refusion.errors import UserError
from refusion.networks import FusionModule
from refusion.tracking.loading import find_checkpoint, find_model, load_module
from refusion.tracking.models.version import Version
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import start_job_run, start_task_run

SIZES = {"width": 8, "heads": 2, "blocks": 1, "expansion": 2}

MakeVersion = Callable[..., Version]


@pytest.fixture
def module(checkpoint: Path) -> FusionModule:
    """A module whose weights and sizes the checkpoint holds."""
    torch.manual_seed(0)
    module = FusionModule(**SIZES)
    safetensors.torch.save_file(module.state_dict(), str(checkpoint / "fusion.safetensors"))
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump({"network": SIZES}))
    return module


def record(uri: str, experiment: str, checkpoint: Path, version: MakeVersion) -> str:
    run_id = start_job_run(uri, experiment, "loading", {}, {})
    TaskRecorder(uri, run_id).model(checkpoint, version("MIF", run_id))
    return run_id


def test_a_folder_a_file_and_mlflows_addresses_give_the_same_module(
    uri: str, experiment: str, checkpoint: Path, module: FusionModule, version: MakeVersion
) -> None:
    run_id = record(uri, experiment, checkpoint, version)
    addresses = (checkpoint, checkpoint / "fusion.safetensors", "models:/refusion-MIF@best", f"runs:/{run_id}")
    for address in addresses:
        loaded = load_module(address, tracking_uri=uri)
        torch.testing.assert_close(loaded.state_dict(), module.state_dict(), rtol=0, atol=0)
        assert not loaded.training


def test_a_checkpoint_says_which_epoch_of_which_run_it_is(uri: str, checkpoint: Path, module: FusionModule) -> None:
    assert find_checkpoint(checkpoint).about == str(checkpoint)
    (checkpoint / "metrics.json").write_text('{"epoch": 3, "Qabf": 0.5, "EN": 7.0}')
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump({"network": SIZES, "validation": {"best_by": "Qabf"}}))
    for given in (checkpoint, checkpoint / "fusion.safetensors"):
        assert find_checkpoint(given).about == f"{given}, epoch 3 (Qabf 0.5000)"
    assert "the module that comes along for IVIF" in find_checkpoint("pretrained", "IVIF").about


def test_what_is_not_there_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no model models:/refusion-NONE@best"):
        load_module("models:/refusion-NONE@best", tracking_uri=uri)
    with pytest.raises(UserError, match=r"there is no fusion\.safetensors"):
        load_module(tmp_path / "nothing")


def test_a_registered_models_code_runs_only_when_it_is_trusted(
    uri: str, experiment: str, checkpoint: Path, version: MakeVersion
) -> None:
    safetensors.torch.save_file(Tiny().state_dict(), str(checkpoint / "fusion.safetensors"))
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump({"network": {"kind": "foreign_networks:Tiny"}}))
    record(uri, experiment, checkpoint, version)
    address = "models:/refusion-MIF/latest"
    with pytest.raises(UserError, match="its network is foreign_networks:Tiny"):
        load_module(address, tracking_uri=uri)
    for trust in (True, ["foreign_networks:Tiny"]):
        assert isinstance(load_module(address, tracking_uri=uri, trust_code=trust), Tiny)


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


@pytest.fixture(scope="module")
def run_id(uri: str, experiment: str) -> str:
    return start_job_run(uri, experiment, "job", {}, {})


def test_checkpoint_comes_back_by_every_address(
    uri: str, run_id: str, client: MlflowClient, checkpoint: Path, version: MakeVersion
) -> None:
    job_run = client.get_run(run_id)
    own = start_task_run(uri, job_run.info.experiment_id, run_id, "FOUND", "by address", {})
    recorder = TaskRecorder(uri, own)
    recorder.model(checkpoint, version("FOUND", own, 1, 0.5))
    second_job = start_job_run(uri, job_run.info.experiment_id, "second job", {}, {})
    later = start_task_run(uri, job_run.info.experiment_id, second_job, "FOUND", "later", {})
    (checkpoint / "fusion.safetensors").write_bytes(b"later weights")
    TaskRecorder(uri, later).model(checkpoint, version("FOUND", later, 2, 0.4))
    (output,) = client.get_run(own).outputs.model_outputs
    model_id, first, second = output.model_id, "epoch 1 of run by address", "epoch 2 of run later"
    expected = {
        "models:/refusion-FOUND@best": (b"weights", f"refusion-FOUND version 1, {first} (Qabf 0.5000 on 2 val pairs)"),
        "models:/refusion-FOUND/1": (b"weights", f"refusion-FOUND version 1, {first} (Qabf 0.5000 on 2 val pairs)"),
        "models:/refusion-FOUND/2": (b"later weights", f"version 2, {second} (Qabf 0.4000 on 2 val pairs)"),
        "models:/refusion-FOUND/latest": (b"later weights", f"version 2, {second}"),
        f"models:/{model_id}": (b"weights", f"model {model_id}, {first}"),
        f"runs:/{own}": (b"weights", first),
        f"runs:/{later}/fusion": (b"later weights", second),
    }
    for address, (weights, about) in expected.items():
        found = find_model(address, uri)
        assert about in found.about
        folder = found.folder
        assert (folder / "fusion.safetensors").read_bytes() == weights, address
        assert sorted(path.name for path in folder.iterdir()) == ["fusion.safetensors", "settings.yaml"]
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        "models:/refusion-NONE@best",
        "models:/refusion-NONE/latest",
        "models:/refusion-NONE/3",
        "models:/m-0123456789abcdef0123456789abcdef",
        "models:/refusion-IVIF",
        "runs:/0123456789abcdef0123456789abcdef",
        "runs:/",
        "s3://bucket/x",
    ],
)
def test_unknown_models_are_the_users_to_correct(uri: str, experiment: str, address: str) -> None:
    assert experiment
    with pytest.raises(UserError) as caught:
        find_model(address, uri)
    assert "refusion-" in str(caught.value) or address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_run_without_a_model(uri: str, experiment: str) -> None:
    job = start_job_run(uri, experiment, "empty", {}, {})
    with pytest.raises(UserError, match="has no logged model 'fusion'"):
        find_model(f"runs:/{job}", uri)


def test_foreign_model_is_told_apart(uri: str, experiment: str, client: MlflowClient) -> None:
    model = client.create_logged_model(experiment, "other")
    (folder := Path.cwd() / "other").mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    client.log_model_artifacts(model.model_id, str(folder))
    with pytest.raises(UserError, match=model.model_id):
        find_model(f"models:/{model.model_id}", uri)


def test_absent_store_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no MLflow store"):
        find_model("models:/refusion-IVIF@best", f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()


def test_remote_artifacts_are_downloaded_once(
    uri: str,
    run_id: str,
    client: MlflowClient,
    checkpoint: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: MakeVersion,
) -> None:
    TaskRecorder(uri, run_id).model(checkpoint, version("REMOTE", run_id))
    real, asked = mlflow.artifacts.download_artifacts, []
    local = client.get_model_version_download_uri("refusion-REMOTE", "1")

    def download(artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        asked.append(artifact_uri)
        return real(
            artifact_uri=artifact_uri.replace("s3://bucket", local), dst_path=dst_path, tracking_uri=tracking_uri
        )

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    monkeypatch.setattr(MlflowClient, "get_model_version_download_uri", lambda *_: "s3://bucket")
    first, second = (find_model("models:/refusion-REMOTE@best", uri).folder for _ in range(2))
    assert first == second
    assert first.is_relative_to(home)
    assert (first / "fusion.safetensors").read_bytes() == b"weights"
    assert asked == ["s3://bucket/artifacts/checkpoint"]
    assert [path.name for path in first.parent.iterdir()] == [first.name]
