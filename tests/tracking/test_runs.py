from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from refusion.tracking import runs


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


def test_job_with_a_task_below_it(uri: str, experiment: str, client: MlflowClient) -> None:
    job = runs.start_job_run(uri, experiment, "night", {"schedule": {"epochs": 5}}, {"mlflow.user": "ada", "note": 3})
    task = runs.start_task_run(uri, experiment, job, "IVIF", "night/IVIF", {"network": {"width": 16}}, {"trial": 1})

    parent, child = client.get_run(job), client.get_run(task)
    assert parent.info.run_name == "night"
    assert parent.data.params == {"schedule.epochs": "5"}
    assert (parent.data.tags["mlflow.user"], parent.data.tags["note"]) == ("ada", "3")
    assert "version.torch" in parent.data.tags
    assert (child.info.run_name, child.info.status) == ("night/IVIF", "RUNNING")
    assert (child.data.tags["mlflow.parentRunId"], child.data.tags["task"]) == (job, "IVIF")
    assert (child.data.tags["mlflow.user"], child.data.tags["trial"]) == ("ada", "1")
    assert child.data.params == {"network.width": "16"}
    assert "note" not in child.data.tags


def test_resume_finds_and_reopens_both(uri: str, experiment: str, client: MlflowClient) -> None:
    job = runs.start_job_run(uri, experiment, "day's run", {"workers": 1}, {})
    task = runs.start_task_run(uri, experiment, job, "MIF", "MIF", {"schedule": {"epochs": 5}})
    client.set_terminated(task, "FAILED")
    client.set_terminated(job, "KILLED")
    assert (client.get_run(task).info.status, client.get_run(job).info.status) == ("FAILED", "KILLED")

    assert runs.find_job_run(uri, experiment, "day's run") == job
    runs.reopen_run(uri, job, {"workers": 4}, {"note": "again"})
    assert runs.start_task_run(uri, experiment, job, "MIF", "MIF", {"schedule": {"epochs": 9}}) == task
    parent, child = client.get_run(job), client.get_run(task)
    assert (parent.info.status, child.info.status) == ("RUNNING", "RUNNING")
    assert (parent.data.params["workers"], parent.data.tags["resumed.workers"]) == ("1", "4")
    assert parent.data.tags["note"] == "again"
    assert (child.data.params["schedule.epochs"], child.data.tags["resumed.schedule.epochs"]) == ("5", "9")
    client.set_terminated(task, "FINISHED")
    assert client.get_run(task).info.status == "FINISHED"


def test_searches_take_the_right_run(uri: str, experiment: str) -> None:
    job = runs.start_job_run(uri, experiment, "same", {}, {})
    other = runs.start_job_run(uri, experiment, "other", {}, {})
    first = runs.start_task_run(uri, experiment, other, "MEIF", "same", {}, which={"trial": 1})
    second = runs.start_task_run(uri, experiment, other, "MEIF", "trial 2", {}, which={"trial": 2})
    assert runs.find_job_run(uri, experiment, "same") == job
    assert runs.find_job_run(uri, experiment, "sam") is None
    assert runs.find_task_run(uri, experiment, other, "MEIF") == second
    assert runs.find_task_run(uri, experiment, other, "MEIF", {"trial": 1}) == first
    assert runs.find_task_run(uri, experiment, other, "MFIF") is None
    assert runs.find_task_run(uri, experiment, job, "MEIF") is None


def test_deleted_runs_are_not_found(uri: str, experiment: str, client: MlflowClient) -> None:
    job = runs.start_job_run(uri, experiment, "dropped", {}, {})
    client.delete_run(job)
    assert runs.find_job_run(uri, experiment, "dropped") is None
    with pytest.raises(MlflowException):
        runs.reopen_run(uri, job)


def test_a_text_becomes_an_artifact_of_that_name(uri: str, experiment: str, client: MlflowClient) -> None:
    job = runs.start_job_run(uri, experiment, "noted", {}, {})
    runs.log_text(uri, job, "α = 1\n", "notes/summary.md")
    assert Path(client.download_artifacts(job, "notes/summary.md")).read_text(encoding="utf-8") == "α = 1\n"
    assert list(Path.cwd().iterdir()) == []


def test_runs_whose_job_is_gone_are_closed_with_all_below_and_others_stay(
    uri: str, experiment: str, client: MlflowClient
) -> None:
    gone = runs.start_job_run(uri, experiment, "gone", {}, {"storage": "/runs/gone"})
    below = runs.start_task_run(uri, experiment, gone, "MIF", "gone-MIF", {})
    ended = runs.start_task_run(uri, experiment, gone, "IVIF", "gone-IVIF", {})
    client.set_terminated(ended, "FINISHED")
    alive = runs.start_job_run(uri, experiment, "alive", {}, {"storage": "/runs/alive"})
    unknown = runs.start_job_run(uri, experiment, "unknown", {}, {})
    assert runs.close_abandoned(uri, experiment, lambda folder: folder == "/runs/gone") == ["gone"]
    states = [client.get_run(run).info.status for run in (gone, below, ended, alive, unknown)]
    assert states == ["KILLED", "KILLED", "FINISHED", "RUNNING", "RUNNING"]
    assert runs.close_abandoned(uri, experiment, lambda folder: folder == "/runs/gone") == []


def test_a_reopened_run_does_not_go_on_saying_what_stopped_it(uri: str, experiment: str, client: MlflowClient) -> None:
    job = runs.start_job_run(uri, experiment, "lost", {}, {"error": "the actor is dead"})
    client.set_terminated(job, "FAILED")
    runs.reopen_run(uri, job)
    assert "error" not in client.get_run(job).data.tags
