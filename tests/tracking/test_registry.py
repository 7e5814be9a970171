from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from refusion.errors import UserError
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.registry import Version, model_checkpoint, register_version, registered_name, takes_best
from refusion.tracking.runs import start_job_run, start_task_run

NEW = Version("IVIF", "0" * 32, 3, "Qabf", 0.5, "luminance", "pairs", "folder")


@pytest.mark.parametrize(
    ("holder", "new", "takes"),
    [
        (None, NEW, True),
        (None, replace(NEW, data="builtin", score=float("nan")), True),
        (replace(NEW, score=0.4), NEW, True),
        (NEW, NEW, False),
        (replace(NEW, score=0.6), NEW, False),
        (replace(NEW, score=0.6, dataset_digest="others"), NEW, True),
        (replace(NEW, score=0.6, score_name="SSIM"), NEW, True),
        (replace(NEW, score=0.6, convention="rgb"), NEW, True),
        (replace(NEW, score=0.6, data="builtin", dataset_digest="scenes"), NEW, True),
        (NEW, replace(NEW, score=0.9, data="builtin", dataset_digest="scenes"), False),
        (replace(NEW, data="builtin"), replace(NEW, data="builtin", score=0.6), True),
        (replace(NEW, score=float("nan")), NEW, True),
        (NEW, replace(NEW, score=float("nan")), False),
        (NEW, replace(NEW, score=float("nan"), dataset_digest="others"), False),
    ],
)
def test_who_takes_the_alias(holder: Version | None, new: Version, takes: bool) -> None:
    assert takes_best(holder and holder.tags(), new) is takes


def test_version_that_someone_registered_by_hand_can_be_displaced() -> None:
    assert takes_best({}, NEW)
    assert takes_best({**NEW.tags(), "score": "good"}, NEW)
    # Whatever it is, it may be real data.
    assert not takes_best({}, replace(NEW, data="builtin"))


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


@pytest.fixture(scope="module")
def run_id(uri: str, experiment: str) -> str:
    job = start_job_run(uri, experiment, "job", {}, {})
    return start_task_run(uri, experiment, job, "IVIF", "IVIF", {"network": {"width": 16}})


def _log(recorder: TaskRecorder, checkpoint: Path, task: str, step: int, score: float, **other: str) -> str | None:
    facts = {"dataset_digest": "pairs", "convention": "luminance", "data": "folder"} | other
    return recorder.model(checkpoint, task, step, "Qabf", score, **facts)  # type: ignore[arg-type]


def test_versions_and_alias_move_by_the_rule(uri: str, run_id: str, client: MlflowClient, checkpoint: Path) -> None:
    recorder = TaskRecorder(uri, run_id)
    steps = [
        (_log(recorder, checkpoint, "IVIF", 0, 0.4, data="builtin", dataset_digest="scenes"), "1"),
        (_log(recorder, checkpoint, "IVIF", 1, 0.3), "2"),
        (_log(recorder, checkpoint, "IVIF", 2, 0.2), "2"),
        (_log(recorder, checkpoint, "IVIF", 3, 0.1 + 0.2 + 1e-9), "4"),
        (_log(recorder, checkpoint, "IVIF", 4, 0.9, data="builtin", dataset_digest="scenes"), "4"),
    ]
    assert recorder.unsent == 0
    assert [number for number, _ in steps] == ["1", "2", "3", "4", "5"]
    assert client.get_registered_model("refusion-IVIF").aliases == {"best": 4}
    tags = client.get_model_version("refusion-IVIF", "4").tags
    assert tags == Version("IVIF", run_id, 3, "Qabf", 0.1 + 0.2 + 1e-9, "luminance", "pairs", "folder").tags()
    assert float(tags["score"]) == 0.1 + 0.2 + 1e-9

    models = [client.get_logged_model(output.model_id) for output in client.get_run(run_id).outputs.model_outputs]
    assert {str(model.status) for model in models} == {"READY"}
    assert models[0].params == {"network.width": "16"}
    assert sorted(metric.value for model in models for metric in model.metrics or []) == [
        0.2, 0.3, 0.1 + 0.2 + 1e-9, 0.4, 0.9
    ]  # fmt: skip


def test_score_of_the_same_step_is_stored_once(uri: str, run_id: str, client: MlflowClient, checkpoint: Path) -> None:
    recorder = TaskRecorder(uri, run_id)
    recorder.epoch(50, {"SSIM": 0.7})
    recorder.model(checkpoint, "MEIF", 50, "SSIM", 0.7, "d", "c", "folder")
    assert [point.value for point in client.get_metric_history(run_id, "SSIM")] == [0.7]


def test_alias_returns_after_its_holder_was_deleted(
    uri: str, run_id: str, client: MlflowClient, checkpoint: Path
) -> None:
    recorder = TaskRecorder(uri, run_id)
    _log(recorder, checkpoint, "MFIF", 0, 0.9)
    client.delete_model_version("refusion-MFIF", "1")
    assert _log(recorder, checkpoint, "MFIF", 1, 0.1) == "2"
    assert client.get_model_version_by_alias("refusion-MFIF", "best").version == 2


def test_checkpoint_comes_back_by_every_address(uri: str, run_id: str, client: MlflowClient, checkpoint: Path) -> None:
    job_run = client.get_run(run_id)
    own = start_task_run(uri, job_run.info.experiment_id, run_id, "MIF", "by address", {})
    recorder = TaskRecorder(uri, own)
    _log(recorder, checkpoint, "MIF", 0, 0.5)
    (checkpoint / "fusion.safetensors").write_bytes(b"later weights")
    _log(recorder, checkpoint, "MIF", 1, 0.4)
    (model_id,) = (output.model_id for output in client.get_run(own).outputs.model_outputs if output.step == 0)
    expected = {
        "models:/refusion-MIF@best": b"weights",
        "models:/refusion-MIF/1": b"weights",
        "models:/refusion-MIF/2": b"later weights",
        "models:/refusion-MIF/latest": b"later weights",
        f"models:/{model_id}": b"weights",
        f"runs:/{own}": b"later weights",
        f"runs:/{own}/fusion": b"later weights",
    }
    for address, weights in expected.items():
        folder = model_checkpoint(address, uri)
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
        model_checkpoint(address, uri)
    assert "refusion-" in str(caught.value) or address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_run_without_a_model(uri: str, experiment: str) -> None:
    job = start_job_run(uri, experiment, "empty", {}, {})
    with pytest.raises(UserError, match="has no logged model 'fusion'"):
        model_checkpoint(f"runs:/{job}", uri)


def test_foreign_model_is_told_apart(uri: str, experiment: str, client: MlflowClient) -> None:
    model = client.create_logged_model(experiment, "other")
    (folder := Path.cwd() / "other").mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    client.log_model_artifacts(model.model_id, str(folder))
    with pytest.raises(UserError, match=model.model_id):
        model_checkpoint(f"models:/{model.model_id}", uri)


def test_absent_store_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no MLflow store"):
        model_checkpoint("models:/refusion-IVIF@best", f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()


def test_remote_artifacts_are_downloaded_once(
    uri: str, run_id: str, client: MlflowClient, checkpoint: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _log(TaskRecorder(uri, run_id), checkpoint, "REMOTE", 0, 0.5)
    real, asked = mlflow.artifacts.download_artifacts, []
    local = client.get_model_version_download_uri("refusion-REMOTE", "1")

    def download(artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        asked.append(artifact_uri)
        return real(
            artifact_uri=artifact_uri.replace("s3://bucket", local), dst_path=dst_path, tracking_uri=tracking_uri
        )

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    monkeypatch.setattr(MlflowClient, "get_model_version_download_uri", lambda *_: "s3://bucket")
    first, second = (model_checkpoint("models:/refusion-REMOTE@best", uri) for _ in range(2))
    assert first == second
    assert first.is_relative_to(home)
    assert (first / "fusion.safetensors").read_bytes() == b"weights"
    assert asked == ["s3://bucket/artifacts/checkpoint"]
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_upload_that_fails_leaves_a_model_marked_failed(
    run_id: str, client: MlflowClient, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", full)
    version = replace(NEW, task="FULL", run_id=run_id)
    with pytest.raises(OSError, match="disk full"):
        register_version(client, checkpoint, version)
    experiment = client.get_run(run_id).info.experiment_id
    newest = client.search_logged_models(
        [experiment], order_by=[{"field_name": "creation_timestamp", "ascending": False}]
    )
    assert str(newest[0].status) == "FAILED"
    with pytest.raises(MlflowException):
        client.get_registered_model(registered_name("FULL"))
