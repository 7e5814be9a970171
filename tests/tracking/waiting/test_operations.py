from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from refusion.tracking.models.version import Version
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.waiting.opening import description
from refusion.tracking.waiting.spool import LANES, Spool
from refusion.tracking.waiting.writer import Writer


class Job:
    """A job that records in a folder of writes that wait."""

    def __init__(self, uri: str, folder: Path, name: str) -> None:
        self.uri, self.folder, self.name = uri, folder, name
        self.client = MlflowClient(tracking_uri=uri)
        self.spool = Spool(folder)

    def recorder(self, run: str, **flags: bool) -> TaskRecorder:
        return TaskRecorder(self.uri, run, self.folder, once=True, **flags)

    def begin(self, *, resumed: bool = False) -> None:
        settings = {"network": {"width": 16}}
        self.recorder("job").begin(description("study", self.name, settings, {"kind": "train"}, 1000, resumed=resumed))
        own = description(
            "study", f"MIF {self.name}", settings, {"kind": "task"}, 2000, resumed=resumed, parent="job", task="MIF"
        )
        self.recorder("MIF").begin(own)

    def write(self) -> None:
        writer = Writer(self.uri, Spool(self.folder))
        assert writer.flush(), writer.trouble

    def found(self) -> dict[str, Any]:
        """All that MLflow has of the job, each thing as often as it is there."""
        experiment = self.client.get_experiment_by_name("study").experiment_id
        runs = self.client.search_runs([experiment])
        ours = [run for run in runs if str(run.info.run_name).endswith(self.name)]
        own: dict[str, Any] = {"runs": sorted((run.info.run_name, run.info.status) for run in ours)}
        for run in ours:
            history = {name: self.client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
            own[run.info.run_name] = {
                "points": {
                    name: sorted((one.step, repr(one.value), one.timestamp) for one in points)
                    for name, points in history.items()
                },
                "images": Counter(
                    file.path.partition("+timestamp")[0] + file.path.rpartition(".")[2]
                    for file in self.client.list_artifacts(run.info.run_id, "images")
                ),
                "files": sorted(file.path for file in self.client.list_artifacts(run.info.run_id)),
                "datasets": len(run.inputs.dataset_inputs),
                "outputs": len(run.outputs.model_outputs) if run.outputs else 0,
                "start": run.info.start_time,
                "tags": {name: tag for name, tag in run.data.tags.items() if "." not in name},
            }
        models = self.client.search_logged_models([experiment])
        ids = [run.info.run_id for run in ours]
        own["models"] = [(m.tags["epoch"], str(m.status)) for m in models if m.source_run_id in ids]
        versions = self.client.search_model_versions("name = 'refusion-MIF'")
        own["versions"] = [version.tags["epoch"] for version in versions if version.run_id in ids]
        return own


@pytest.fixture
def job(uri: str, experiment: str, tmp_path: Path, request: pytest.FixtureRequest) -> Job:
    assert experiment
    return Job(uri, tmp_path / "waiting", request.node.name)


def _record_all(job: Job, tmp_path: Path, checkpoint: Path, version: Callable[..., Version]) -> None:
    picture = tmp_path / "p.png"
    Image.fromarray(np.zeros((4, 6), dtype=np.uint8)).save(picture)
    job.begin()
    recorder = job.recorder("MIF")
    recorder.dataset("MIF", "d" * 64, "/data", 2, "training")
    recorder.epoch(1, {"Qabf": 0.5, "SSIM": 0.25, "loss": math.nan})
    recorder.within_epoch(7, {"rate": 0.1})
    recorder.pictures(1, {"fused/p": picture})
    recorder.image(np.zeros((4, 4, 3), dtype=np.uint8), "sources/p/a.png")
    recorder.model(checkpoint, version("MIF", "MIF", 1, 0.5))
    recorder.text("name,EN", "scores/last.csv")
    recorder.finish("FINISHED", {"error": "none"})
    job.recorder("job").summary({"MIF/Qabf": 0.5})
    job.recorder("job").views("study", {"metric.EN": "entropy"}, ["MIF"])
    job.recorder("job").finish("FINISHED")


def test_everything_is_written_later_with_its_own_times(
    job: Job, tmp_path: Path, checkpoint: Path, version: Callable[..., Version]
) -> None:
    _record_all(job, tmp_path, checkpoint, version)
    job.write()
    found = job.found()
    task = found[f"MIF {job.name}"]
    assert [status for _, status in found["runs"]] == ["FINISHED", "FINISHED"]
    assert [(step, value) for step, value, _ in task["points"]["Qabf"]] == [(1, "0.5")]
    assert [step for step, _, _ in task["points"]["within/rate"]] == [7]
    assert task["start"] == 2000 and task["tags"]["task"] == "MIF" and task["tags"]["error"] == "none"
    assert set(task["files"]) == {"images", "scores", "sources"} and task["images"].total() == 2
    assert (task["datasets"], task["outputs"], found["models"], found["versions"]) == (
        1, 1, [("1", "READY")], ["1"],
    )  # fmt: skip
    assert job.spool.left_out == []


@pytest.mark.slow
def test_a_kill_between_writing_and_removing_writes_nothing_twice(
    job: Job, tmp_path: Path, checkpoint: Path, version: Callable[..., Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    _record_all(job, tmp_path, checkpoint, version)
    remove = Spool.remove
    monkeypatch.setattr(Spool, "remove", lambda *_: True)
    # Whatever is done stays on the disk, as where the process is killed before it could remove it.
    Writer(job.uri, Spool(job.folder)).flush()
    monkeypatch.setattr(Spool, "remove", remove)
    before = job.found()
    assert job.spool.waiting == sum(len(job.spool.folders(lane)) for lane in LANES) > 10
    job.write()
    assert job.found() == before
    assert job.spool.waiting == 0


@pytest.mark.parametrize("cut", ["create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs",
                                 "create_model_version", "set_registered_model_alias"])  # fmt: skip
@pytest.mark.slow
def test_a_registration_that_was_cut_off_goes_on(
    job: Job, checkpoint: Path, version: Callable[..., Version], cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.begin()
    job.recorder("MIF").model(checkpoint, version("MIF", "MIF", 1, 0.5))
    done = getattr(MlflowClient, cut)

    def lost(self: MlflowClient, *arguments: Any, **named: Any) -> None:
        done(self, *arguments, **named)
        raise ConnectionError("the answer was lost")

    monkeypatch.setattr(MlflowClient, cut, lost)
    assert not Writer(job.uri, Spool(job.folder)).flush()
    monkeypatch.setattr(MlflowClient, cut, done)
    job.write()
    found = job.found()
    assert (found["models"], found["versions"]) == ([("1", "READY")], ["1"])
    assert found[f"MIF {job.name}"]["outputs"] == 1


def test_a_picture_that_was_cut_off_is_completed(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "p.png"
    Image.fromarray(np.zeros((4, 6), dtype=np.uint8)).save(picture)
    job.begin()
    job.recorder("MIF").pictures(1, {"fused/p": picture})
    log_artifact = MlflowClient._log_artifact_helper

    def cut(self: MlflowClient, run_id: str, file: str) -> Any:
        if file.endswith(".webp"):
            raise ConnectionError("gone")
        return log_artifact(self, run_id, file)

    monkeypatch.setattr(MlflowClient, "_log_artifact_helper", cut)
    assert not Writer(job.uri, Spool(job.folder)).flush()
    monkeypatch.setattr(MlflowClient, "_log_artifact_helper", log_artifact)
    job.write()
    names = [Path(file.path).name for file in job.client.list_artifacts(job.spool.ids["MIF"], "images")]
    assert len(names) == 2 and len({name.partition("+compressed")[0].removesuffix(".png") for name in names}) == 1


def test_a_resumed_job_that_could_not_ask_writes_nothing_twice(
    job: Job, tmp_path: Path, checkpoint: Path, version: Callable[..., Version]
) -> None:
    _record_all(job, tmp_path, checkpoint, version)
    job.write()
    before = job.found()
    shutil.rmtree(job.folder)
    job.begin(resumed=True)
    again = job.recorder("MIF", check=True)
    again.epoch(1, {"Qabf": 0.5, "SSIM": 0.25, "loss": math.nan})
    again.pictures(1, {"fused/p": tmp_path / "p.png"})
    again.model(checkpoint, version("MIF", "MIF", 1, 0.5))
    again.epoch(2, {"Qabf": 0.6})
    again.finish("FINISHED", {"error": "none"})
    job.recorder("job").finish("FINISHED")
    job.write()
    after = job.found()
    task = f"MIF {job.name}"
    assert [step for step, _, _ in after[task]["points"]["Qabf"]] == [1, 2]
    assert {**after, task: {**after[task], "points": 0}} == {**before, task: {**before[task], "points": 0}}


def test_a_run_is_not_closed_as_killed_where_it_has_ended(job: Job) -> None:
    job.begin()
    job.recorder("MIF").finish("FINISHED")
    for run in ("MIF", "job"):
        job.spool.add("records", run, "status", "end", {"status": "KILLED", "end": 9000, "if_running": True})
    job.write()
    assert dict(job.found()["runs"]) == {f"MIF {job.name}": "FINISHED", job.name: "KILLED"}


def test_what_belongs_to_a_run_that_was_refused_is_left_out(job: Job) -> None:
    job.recorder("MIF").epoch(1, {"Qabf": 0.5})
    job.write()
    assert len(job.spool.left_out) == 1 and "could not be begun" in job.spool.left_out[0]


def test_an_epoch_that_is_trained_again_has_its_pictures_and_its_model_once(
    job: Job, tmp_path: Path, checkpoint: Path, version: Callable[..., Version]
) -> None:
    picture = tmp_path / "p.png"
    Image.fromarray(np.zeros((4, 6), dtype=np.uint8)).save(picture)
    job.begin()
    for again in (False, True):
        recorder = job.recorder("MIF")
        recorder.pictures(1, {"fused/p": picture, "sheet/MIF": picture}, again=again)
        recorder.model(checkpoint, version("MIF", "MIF", 1, 0.5), again=again)
    job.write()
    found = job.found()
    assert set(found[f"MIF {job.name}"]["images"].values()) == {1} and found[f"MIF {job.name}"]["images"].total() == 4
    assert (found["models"], found["versions"]) == ([("1", "READY")], ["1"])
