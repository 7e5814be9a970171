from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

from refusion.tracking import recorder as module
from refusion.tracking.models.version import Version
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import start_job_run, start_task_run

MakeVersion = Callable[..., Version]


@pytest.fixture
def run_id(uri: str, experiment: str, request: pytest.FixtureRequest) -> str:
    job = start_job_run(uri, experiment, request.node.name, {}, {})
    return start_task_run(uri, experiment, job, "IVIF", "IVIF", {"network": {"width": 16}})


@pytest.fixture
def recorder(uri: str, run_id: str) -> TaskRecorder:
    return TaskRecorder(uri, run_id)


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


def _history(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, name)]


def test_metrics_with_their_steps(recorder: TaskRecorder, client: MlflowClient) -> None:
    recorder.epoch(0, {"Qabf": 0.4, "loss/fusion": float("nan"), "odd: name": 1})
    recorder.epoch(1, {"Qabf": np.float32(0.5)})
    assert _history(client, recorder.run_id, "Qabf") == [(0, 0.4), (1, 0.5)]
    assert np.isnan(_history(client, recorder.run_id, "loss/fusion")[0][1])
    assert len(client.get_run(recorder.run_id).data.metrics) == 3
    assert recorder.unsent == 0


def test_more_metrics_than_one_batch_takes(recorder: TaskRecorder, client: MlflowClient) -> None:
    recorder.epoch(7, {f"m{number}": number for number in range(1203)})
    assert len(client.get_run(recorder.run_id).data.metrics) == 1203
    assert recorder.unsent == 0


def _save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_pictures_keep_pixels_and_steps(recorder: TaskRecorder, client: MlflowClient, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    colour = draw.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    grey = draw.integers(10, 60, (9, 12), dtype=np.uint8)
    deep = np.full((4, 4), 257 * 200, dtype=np.uint16)
    paths = {"fused/scene 1": _save(tmp_path / "c.png", colour), "weights/grün": _save(tmp_path / "g.png", grey)}
    recorder.pictures(3, {**paths, "deep": _save(tmp_path / "d.png", deep)})
    recorder.pictures(4, {"fused/scene 1": tmp_path / "g.png"})
    assert recorder.unsent == 0

    names = [Path(entry.path).name for entry in client.list_artifacts(recorder.run_id, "images")]
    full = {name.rsplit("+timestamp", 1)[0]: name for name in names if name.endswith(".png")}
    weights = next(key for key in full if key.startswith("weights~gr_n-"))
    assert set(full) == {"fused~scene 1+step+3", "fused~scene 1+step+4", "deep+step+3", weights}
    assert weights.endswith("+step+3")
    stored = {
        key: np.asarray(Image.open(client.download_artifacts(recorder.run_id, f"images/{name}")))
        for key, name in full.items()
    }
    assert np.array_equal(stored["fused~scene 1+step+3"], colour)
    assert np.array_equal(stored["fused~scene 1+step+4"], grey)
    assert np.array_equal(stored[weights], grey)
    assert (stored["deep+step+3"] == 200).all()


def test_missing_and_broken_pictures_are_counted_not_raised(recorder: TaskRecorder, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    recorder.pictures(0, {"a": tmp_path / "missing.png", "b": tmp_path / "broken.png"})
    recorder.artifact(tmp_path / "missing.csv")
    assert recorder.unsent == 3


def test_datasets_with_their_digests(recorder: TaskRecorder, client: MlflowClient) -> None:
    digest = "0123456789abcdef" * 4
    recorder.dataset("IVIF pairs", digest, "/data/IVIF/train", 7, "training")
    recorder.dataset("IVIF pairs", digest, "builtin", 3, "validation")
    recorder.dataset("IVIF pairs", digest, "builtin", 3, "validation")
    inputs = client.get_run(recorder.run_id).inputs.dataset_inputs
    found = {entry.dataset.name: entry for entry in inputs}
    assert set(found) == {"IVIF pairs/training", "IVIF pairs/validation"}
    training = found["IVIF pairs/training"]
    assert training.dataset.digest == digest[:36]
    assert json.loads(training.dataset.profile) == {"num_rows": 7}
    assert {tag.key: tag.value for tag in training.tags} == {"mlflow.data.context": "training", "pairs_digest": digest}
    assert mlflow.data.get_source(training).to_dict() == {"uri": "/data/IVIF/train"}
    assert recorder.unsent == 0


def test_artifacts_and_finish(recorder: TaskRecorder, client: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "validation.csv").write_text("name,EN\n")
    recorder.artifact(tmp_path / "tables", "tables")
    recorder.artifact(tmp_path / "tables" / "validation.csv", "latest")
    recorder.finish("FAILED", {"stopped_at": 4, "reason": "x" * 9000})
    run = client.get_run(recorder.run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["stopped_at"] == "4"
    assert [entry.path for entry in client.list_artifacts(recorder.run_id, "tables")] == ["tables/validation.csv"]
    assert [entry.path for entry in client.list_artifacts(recorder.run_id, "latest")] == ["latest/validation.csv"]
    assert recorder.unsent == 0
    assert list(Path.cwd().iterdir()) == []


class Flaky:
    """Client of MLflow whose calls fail while it is switched off."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client
        self.shut = False

    def __getattr__(self, name: str) -> Any:
        if self.shut:
            raise MlflowException("the store is away")
        return getattr(self.client, name)


def test_outage_loses_nothing(
    recorder: TaskRecorder,
    client: MlflowClient,
    tmp_path: Path,
    checkpoint: Path,
    caplog: pytest.LogCaptureFixture,
    version: MakeVersion,
) -> None:
    flaky = Flaky(client)
    recorder.writer.store.client = flaky
    picture = _save(tmp_path / "p.png", np.zeros((4, 4), dtype=np.uint8))
    recorder.epoch(0, {"Qabf": 0.1})
    flaky.shut = True
    recorder.epoch(1, {"Qabf": 0.2})
    recorder.pictures(1, {"fused/p": picture})
    recorder.dataset("pairs", "d" * 64, "/data", 2, "training")
    assert recorder.model(checkpoint, version("MIF", recorder.run_id, 1, 0.2)) is None
    assert recorder.unsent == 4
    warnings = [record for record in caplog.records if record.name.startswith("refusion")]
    assert [record.levelno for record in warnings] == [logging.WARNING]
    # What is retried must not need files that training has removed in the meantime.
    picture.unlink()
    (checkpoint / "fusion.safetensors").unlink()

    flaky.shut = False
    recorder.epoch(2, {"Qabf": 0.3})
    assert recorder.unsent == 0
    points = client.get_metric_history(recorder.run_id, "Qabf")
    assert sorted({(point.step, point.value) for point in points}) == [(0, 0.1), (1, 0.2), (2, 0.3)]
    stamps = [point.timestamp for point in sorted(points, key=lambda point: point.step)]
    assert stamps == sorted(stamps)
    assert len(client.list_artifacts(recorder.run_id, "images")) == 2
    assert client.get_model_version_by_alias("refusion-MIF", "best").tags["epoch"] == "1"


def test_store_that_stays_away_is_reported_at_finish(
    recorder: TaskRecorder, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FINISH_PAUSES", (0.0, 0.0))
    flaky = Flaky(client)
    flaky.shut = True
    recorder.writer.store.client = flaky
    recorder.epoch(0, {"Qabf": 0.1})
    recorder.finish("FINISHED", {"a": 1})
    assert recorder.unsent == 3
    assert "3 writes to MLflow's run" in caplog.records[-1].getMessage()


def test_store_that_cannot_be_opened_does_not_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FINISH_PAUSES", ())
    recorder = TaskRecorder("http://127.0.0.1:9", "0" * 32)
    recorder.epoch(0, {"Qabf": 0.1})
    recorder.pictures(0, {"p": _save(tmp_path / "p.png", np.zeros((4, 4), dtype=np.uint8))})
    recorder.finish()
    assert recorder.unsent == 3


def test_recorder_can_be_sent_to_its_process(recorder: TaskRecorder, client: MlflowClient) -> None:
    pickle.loads(pickle.dumps(recorder)).epoch(0, {"EN": 7.0})
    assert _history(client, recorder.run_id, "EN") == [(0, 7.0)]


WRITER = """
import sys
from refusion.tracking.recorder import TaskRecorder
uri, run_id = sys.argv[1:]
recorder = TaskRecorder(uri, run_id)
print("ready", flush=True)
sys.stdin.readline()
for step in range(25):
    recorder.epoch(step, {f"m{number}": step for number in range(20)})
sys.exit(recorder.unsent)
"""


@pytest.mark.slow
def test_two_processes_write_to_one_file_at_once(uri: str, experiment: str, client: MlflowClient) -> None:
    job = start_job_run(uri, experiment, "two", {}, {})
    ids = [start_task_run(uri, experiment, job, task, task, {}) for task in ("MFIF", "MEIF")]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, uri, one], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for one in ids
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    for one in ids:
        assert _history(client, one, "m3") == [(step, step) for step in range(25)]
