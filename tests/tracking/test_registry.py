from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from refusion.tracking.models.version import Version, origin, registered_name
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.registry import register_version, registered_as
from refusion.tracking.runs import start_job_run, start_task_run


def version(task: str, run_id: str, epoch: int = 1, score: float = 0.5, **changes: Any) -> Version:
    """A version measured on two real pairs, with some of its facts changed."""
    made = Version(task, run_id, epoch, "Qabf", {"Qabf": score, "SSIM": 0.25}, "authors", "pairs", 2, "folder")
    return replace(made, **changes)


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


@pytest.fixture(scope="module")
def run_id(uri: str, experiment: str) -> str:
    job = start_job_run(uri, experiment, "job", {}, {})
    return start_task_run(uri, experiment, job, "IVIF", "IVIF", {"network": {"width": 16}})


def _run(uri: str, parent: str, name: str) -> TaskRecorder:
    """A task's run of another job in that run's experiment."""
    experiment = MlflowClient(tracking_uri=uri).get_run(parent).info.experiment_id
    job = start_job_run(uri, experiment, name, {}, {})
    return TaskRecorder(uri, start_task_run(uri, experiment, job, "IVIF", name, {"network": {"width": 16}}))


def _log(recorder: TaskRecorder, checkpoint: Path, task: str, epoch: int, score: float, **other: Any) -> str | None:
    return recorder.model(checkpoint, version(task, recorder.run_id, epoch, score, **other))


def test_versions_and_alias_move_by_the_rule(uri: str, run_id: str, client: MlflowClient, checkpoint: Path) -> None:
    scenes = {"data": "builtin", "dataset_digest": "scenes"}
    score = 0.1 + 0.2 + 1e-9
    given: list[tuple[float, dict[str, Any], int]] = [
        (0.4, scenes, 1),
        (0.3, {}, 2),
        (0.2, {}, 2),
        (score, {}, 4),
        (0.9, scenes, 4),
        (0.9, {"dataset_digest": "one", "pairs": 1}, 4),
    ]
    for number, (value, other, best) in enumerate(given, start=1):
        recorder = _run(uri, run_id, f"rule {number}")
        assert _log(recorder, checkpoint, "IVIF", 3, value, **other) == str(number)
        assert recorder.unsent == 0
        assert client.get_registered_model("refusion-IVIF").aliases == {"best": best, "candidate": number}
    found = client.get_model_version("refusion-IVIF", "4")
    assert {**found.tags, "entry": ""} == version("IVIF", found.run_id, 3, score).tags() | {
        "run_name": "rule 4",
        "entry": "",
    }
    assert float(found.tags["score"]) == float(found.tags["score.Qabf"]) == score
    assert found.tags["score.SSIM"] == "0.25"
    for said in ("epoch 3 of run rule 4", "2 val pairs", "digest pairs", "Qabf 0.3000, SSIM 0.2500"):
        assert said in found.description
    assert "one version per run" in client.get_registered_model("refusion-IVIF").description
    (output,) = client.get_run(found.run_id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert str(model.status) == "READY"
    assert model.params == {"network.width": "16"}
    assert {metric.key: metric.value for metric in model.metrics or []} == {"Qabf": score, "SSIM": 0.25}
    last = f"models:/refusion-IVIF/6; models:/refusion-IVIF@best stays version 4, {origin(found.tags)}"
    assert registered_as(uri, "IVIF", recorder.run_id) == last
    assert registered_as(uri, "MEIF", found.run_id) == ""


def test_a_run_has_one_version_its_best(uri: str, run_id: str, client: MlflowClient, checkpoint: Path) -> None:
    recorder = _run(uri, run_id, "one")
    numbers = [_log(recorder, checkpoint, "ONE", epoch, epoch / 10) for epoch in (1, 2, 4)]
    assert numbers == ["1", "2", "3"]
    (only,) = client.search_model_versions("name = 'refusion-ONE'")
    assert (str(only.version), only.tags["epoch"]) == ("3", "4")
    assert (
        registered_as(uri, "ONE", recorder.run_id) == "models:/refusion-ONE/3, which is also models:/refusion-ONE@best"
    )


def test_score_of_the_same_step_is_stored_once(uri: str, run_id: str, client: MlflowClient, checkpoint: Path) -> None:
    recorder = TaskRecorder(uri, run_id)
    recorder.epoch(50, {"SSIM": 0.7})
    recorder.model(checkpoint, version("MEIF", run_id, 50, scores={"Qabf": 0.5, "SSIM": 0.7}))
    assert [point.value for point in client.get_metric_history(run_id, "SSIM")] == [0.7]


def test_alias_returns_after_its_holder_was_deleted(
    uri: str, run_id: str, client: MlflowClient, checkpoint: Path
) -> None:
    recorder = TaskRecorder(uri, run_id)
    _log(recorder, checkpoint, "MFIF", 0, 0.9)
    client.delete_model_version("refusion-MFIF", "1")
    assert _log(recorder, checkpoint, "MFIF", 1, 0.1) == "2"
    assert client.get_model_version_by_alias("refusion-MFIF", "best").version == 2


def test_upload_that_fails_leaves_a_model_marked_failed(
    run_id: str, client: MlflowClient, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", full)
    with pytest.raises(OSError, match="disk full"):
        register_version(client, checkpoint, version("FULL", run_id))
    experiment = client.get_run(run_id).info.experiment_id
    newest = client.search_logged_models(
        [experiment], order_by=[{"field_name": "creation_timestamp", "ascending": False}]
    )
    assert str(newest[0].status) == "FAILED"
    with pytest.raises(MlflowException):
        client.get_registered_model(registered_name("FULL"))


def test_a_version_is_registered_in_silence(
    uri: str, run_id: str, client: MlflowClient, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A training registers each better epoch, and MLflow has news of each."""
    register_version(client, checkpoint, version("IVIF", run_id, 3))
    said = capfd.readouterr()
    assert "Validating" not in said.out + said.err and "INFO" not in said.err
