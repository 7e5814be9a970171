"""Record of a job whose store is away from before it begins to after it ends, without a training."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console
from stand_ins.progress_board import ProgressBoard
from written_pairs import write_pairs

from refusion.cli.train import read_request
from refusion.config.layers import for_task
from refusion.runtime.ports import free_ports
from refusion.tracking.store import open_store
from refusion.tracking.waiting.spool import Spool
from refusion.tracking.waiting.writer import Writer
from refusion.training.display.beginning import check_and_tell
from refusion.training.manifest import RunManifest, open_manifest
from refusion.training.record.job_record import JOB, JobRecord
from refusion.training.record.recording import RecordingCallback


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_pairs(tmp_path / "pairs", "IVIF", "train", 2)
    write_pairs(tmp_path / "pairs", "IVIF", "val", 2, seed=1)
    return tmp_path


def _manifest(home: Path, *more: str) -> RunManifest:
    arguments = ["--data", str(home / "pairs"), "--schedule.epochs", "2", "--images.crop", "16"]
    return open_manifest(read_request([*arguments, "--run-name", "night", *more]))


def _job(record: JobRecord, *epochs: int) -> None:
    """All that a job records, its trainings and checkpoints aside."""
    settings = record.manifest.settings
    record.connect()
    record.begin(settings)
    record.manifest.save(settings, {})
    progress_board = ProgressBoard()
    (pairs,) = check_and_tell(settings, Console(quiet=True))
    recording = record.begin_task(pairs, for_task(settings, "IVIF"), progress_board)
    callback = RecordingCallback(recording, progress_board)
    for epoch in epochs:
        callback.after_report(None, [{"epoch": epoch, "is_best": False, "validated": False, "rate": 0.1 / epoch}], None)
    record.results({"IVIF": {"Qabf": 0.5}}, [{"task": "IVIF", "Qabf": 0.5}])
    record.finish("FINISHED", ())
    record.describe("night")


@pytest.mark.slow
def test_what_a_job_without_a_store_records_is_written_later_by_command_or_resume(home: Path) -> None:
    said: list[str] = []
    record = JobRecord(_manifest(home, "--tracking-uri", f"http://127.0.0.1:{free_ports(1)[0]}"), said.append)
    _job(record, 1, 2)
    assert record.pages() is None and record.registered("IVIF") == "" and not record.online
    record.close()
    waiting = record.waiting
    assert waiting > 8
    text = "\n".join(said)
    assert "(it does not answer)" in said[0] and "the training begins without it" in said[0]
    assert f"MLflow does not have {waiting} writes of this run yet (" in text
    assert said[-1].endswith("--write-waiting")

    uri = f"sqlite:///{home / 'mlflow.db'}"
    again: list[str] = []
    resumed = JobRecord(open_manifest(read_request(["--resume", "night", "--tracking-uri", uri])), again.append)
    # As a job that trains the second epoch again, which it could not know to be recorded.
    _job(resumed, 2)
    resumed.close()
    assert again[0].startswith(f"{waiting} writes to MLflow wait since") and resumed.waiting == 0
    client = MlflowClient(tracking_uri=uri)
    task, job = (client.get_run(resumed.run_id(run)) for run in ("IVIF", JOB))
    assert {task.info.status, job.info.status} == {"FINISHED"}
    assert [point.step for point in client.get_metric_history(task.info.run_id, "rate")] == [1, 2]
    assert len(client.search_runs([open_store(uri, "refusion")])) == 2
    assert job.data.tags["mlflow.note.content"] == "night" and job.data.metrics == {"IVIF/Qabf": 0.5}
    assert resumed.pages() and Spool(home / "home" / "runs" / "night" / "waiting").left_out == []


@pytest.mark.slow
def test_a_store_that_is_there_has_all_when_the_job_ends(home: Path) -> None:
    uri = f"sqlite:///{home / 'mlflow.db'}"
    said: list[str] = []
    record = JobRecord(_manifest(home, "--tracking-uri", uri), said.append)
    _job(record, 1, 2)
    record.close()
    assert said == [] and record.waiting == 0 and record.online
    assert Writer(uri, Spool(home / "home" / "runs" / "night" / "waiting")).flush()
    client = MlflowClient(tracking_uri=uri)
    run = client.get_run(record.run_id("IVIF"))
    assert sorted(one.dataset.name for one in run.inputs.dataset_inputs) == ["IVIF/training", "IVIF/validation"]
    assert run.data.tags["mlflow.parentRunId"] == record.run_id(JOB)
    assert [file.path for file in client.list_artifacts(record.run_id(JOB))] == ["results.csv"]
