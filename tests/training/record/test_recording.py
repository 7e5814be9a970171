"""Record of an epoch, and what a job that was killed meanwhile has made up when it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken.records import files_of
from mlflow import MlflowClient
from stand_ins.progress_board import ProgressBoard

from refusion.config.settings import Settings
from refusion.images.pair_check import find_and_check
from refusion.images.writing import write_image
from refusion.meta.state import TrainingState
from refusion.metrics import METRICS
from refusion.runtime.storage import Folder
from refusion.tracking.epochs import NUMBERING
from refusion.tracking.store import open_store
from refusion.tracking.waiting.spool import LANES, Spool, waiting_epochs
from refusion.tracking.waiting.writer import Writer
from refusion.training.checkpoints import EPOCH, PICTURES, SCORES_FILE, save_checkpoint
from refusion.training.record.recording import Recording, RecordingCallback

pytestmark = pytest.mark.slow

SCORES = dict.fromkeys(METRICS, 0.5)
MACHINE = {"system/process_memory_megabytes": 300.0}


@dataclass(frozen=True)
class Stored:
    """A checkpoint as Ray Train hands it over."""

    folder: Path

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """Its folder."""
        yield str(self.folder)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def recording(tmp_path: Path, pair_folder: Path, uri: str) -> Recording:
    return Recording(
        task="IVIF",
        tracking_uri=uri,
        run="IVIF",
        waiting=str(tmp_path / "waiting"),
        folder=Folder(str(tmp_path / "IVIF")).uri,
        epochs=9,
        best_by="Qabf",
        val=find_and_check(pair_folder, "IVIF", "val")[0],
        data_kind="folder",
    )


@pytest.fixture
def record_epoch(recording: Recording, tmp_path: Path, tiny: Settings) -> Callable[[], None]:
    """Stores the first epoch's checkpoint as a worker does, and records it."""

    def record() -> None:
        folder = tmp_path / "IVIF" / f"{EPOCH}00001"
        (folder / PICTURES / "fused").mkdir(parents=True)
        write_image(folder / PICTURES / "fused" / "scene_0.png", np.zeros((32, 32), dtype=np.uint8))
        (folder / SCORES_FILE).write_text("name,method,Qabf\nscene_0,trained,0.5\n", encoding="utf-8")
        state = TrainingState(tiny, "IVIF")
        state.epoch = 1
        save_checkpoint(folder, state, tiny, "IVIF", {"rate": 0.1, **SCORES, **MACHINE})
        report = {"epoch": 1, "validated": True, "is_best": True, "rate": 0.1, **SCORES, **MACHINE}
        RecordingCallback(recording, ProgressBoard()).after_report(None, [report], Stored(folder))

    return record


def _cut(spool: Spool, kept: int) -> None:
    """Leaves the entries that were added first, as a kill in their midst does."""
    folders = sorted((folder for lane in LANES for folder in spool.folders(lane)), key=lambda folder: folder.name)
    assert len(folders) > kept
    for folder in folders[kept:]:
        spool.remove(folder)


def _written(recording: Recording) -> dict[str, Any]:
    """All that MLflow has of the run once nothing waits."""
    spool = Spool(Path(recording.waiting))
    client = MlflowClient(tracking_uri=recording.tracking_uri)
    if not spool.ids:
        spool.add_id("IVIF", client.create_run(open_store(recording.tracking_uri, "x"), tags=NUMBERING).info.run_id)
    writer = Writer(recording.tracking_uri, spool)
    assert writer.flush(), writer.trouble
    assert spool.left_out == []
    run_id = spool.ids["IVIF"]
    metrics = client.get_run(run_id).data.metrics
    return {
        "values": {name: [(p.step, p.value) for p in client.get_metric_history(run_id, name)] for name in metrics},
        "files": files_of(client, run_id),
        "versions": len(client.search_model_versions(f"run_id = '{run_id}'")),
    }


def _resumed(recording: Recording) -> Recording:
    """The recording as a later part of its job has it."""
    waiting = waiting_epochs(Spool(Path(recording.waiting)), recording.run)
    return RecordingCallback(replace(recording, recorded=frozenset(waiting)), ProgressBoard()).made_up()


@pytest.fixture
def whole(recording: Recording, tmp_path: Path, record_epoch: Callable[[], None]) -> dict[str, Any]:
    """Record in MLflow of an epoch that nothing disturbed; the same epoch is recorded then, and waits."""
    record_epoch()
    waiting = Path(recording.waiting)
    shutil.copytree(waiting, tmp_path / "again")
    found = _written(recording)
    shutil.rmtree(waiting)
    (tmp_path / "again").rename(waiting)
    assert found["values"]["rate"] == [(1, 0.1)] and found["versions"] == 1
    assert set(found["values"]) >= {*METRICS, *MACHINE} and found["files"]["images/fused~scene_0+step+1.png"] == 1
    return found


@pytest.mark.parametrize("kept", [0, 1, 3, 5])
def test_an_epoch_is_recorded_whole_and_once_wherever_a_kill_cut_its_record(
    recording: Recording, whole: dict[str, Any], kept: int
) -> None:
    _cut(Spool(Path(recording.waiting)), kept)
    assert _resumed(recording).recorded == {1}
    assert _written(recording) == whole


@pytest.mark.usefixtures("whole")
def test_an_epoch_before_the_newest_is_not_recorded_again(recording: Recording, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "IVIF" / f"{EPOCH}00001", tmp_path / "IVIF" / f"{EPOCH}00002")
    spool = Spool(Path(recording.waiting))
    _cut(spool, 1)
    assert _resumed(recording).recorded == {1, 2}
    assert {entry.data["epoch"] for entry in spool.entries("pictures") if "epoch" in entry.data} == {2}
