"""A node that is lost under a training, and a checkpoint that is damaged under one: it goes on on what is left."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch
from broken.jobs import LIMIT, Place, says, train, wait_for
from clusters.nodes import TwoNodes
from mlflow import MlflowClient
from safetensors.torch import load_file

from refusion.runtime.storage import Folder
from refusion.training import task_run
from refusion.training.epochs.sound import listed_checkpoints

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]

MODULES = ("fusion", "loss_proposal", "reconstruction")


def weights(task: Path, name: str) -> torch.Tensor:
    return torch.cat([value.flatten() for value in load_file(task / "final" / f"{name}.safetensors").values()])


def recorded_epochs(place: Place, name: str) -> list[int]:
    _, child = place.runs(name)
    store = MlflowClient(tracking_uri=f"sqlite:///{place.home / 'mlflow.db'}")
    return sorted(point.step for point in store.get_metric_history(child.info.run_id, "rate"))


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(place: Place, tmp_path: Path) -> None:
    """Within a job: a worker is lost, and the newest checkpoint turns out to be damaged."""
    task = place.task("damaged")
    spoilt: list[str] = []

    def strike() -> None:
        # First stopped, so that no further checkpoint comes meanwhile.
        (worker, *_) = [one for one in psutil.Process().children(recursive=True) if "RayTrainWorker" in one.name()]
        worker.send_signal(signal.SIGSTOP)
        time.sleep(2)
        spoilt.append(listed_checkpoints(Folder(str(task)))[-1])
        file = task / spoilt[0] / "fusion.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
        os.kill(worker.pid, signal.SIGKILL)

    ended = train(
        place.arguments("damaged", schedule__epochs="60"),
        strike,
        lambda: len(listed_checkpoints(Folder(str(task)))) > 1,
        tmp_path / "log.txt",
    )
    assert ended.status == 0, ended.text
    before = f"epoch_{int(spoilt[0][6:]) - 1:05d}"
    assert says(ended.text, f"{spoilt[0]}/fusion.safetensors: is damaged")
    assert says(ended.text, f"goes on from {before}")
    assert (task / f"damaged_{spoilt[0]}").is_dir()
    assert recorded_epochs(place, "damaged") == list(range(1, 61))


def test_a_training_goes_on_with_fewer_workers_then_with_more_and_ends_as_it_would_have(
    cluster_place: tuple[Place, TwoNodes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_run, "LOOK_FOR_ROOM", 3.0)
    place, nodes = cluster_place
    nodes.add()
    lost, whole, log = place.task("lost"), place.task("whole"), tmp_path / "log.txt"
    again = {"schedule__epochs": "12", "workers": "1..2", "objective__kind": "broken.parts:holding"}

    def strike() -> None:
        # No step is done from here on until there are two workers again.
        (place.faults / "hold").touch()
        nodes.lose()
        wait_for(lambda: "goes on with 1 worker of" in log.read_text(encoding="utf-8"))
        nodes.add()
        wait_for(lambda: "goes on with 2 workers of" in log.read_text(encoding="utf-8"))
        (place.faults / "hold").unlink()

    ended = train(place.arguments("lost", **again), strike, lambda: len(listed_checkpoints(Folder(str(lost)))) > 1, log)
    assert ended.status == 0, ended.text
    assert "IVIF: restarting" in ended.text
    assert re.search(r"epoch \d goes on with 1 worker of --workers 1\.\.2", ended.text), ended.text
    assert re.search(r"epoch \d goes on with 2 workers of --workers 1\.\.2", ended.text), ended.text
    assert "Traceback" not in ended.text
    assert recorded_epochs(place, "lost") == list(range(1, 13))
    other = place.arguments("whole", **again | {"workers": "1"})
    assert train(other, lambda: None, whole.exists, tmp_path / "whole.txt").status == 0
    for name in MODULES:
        expected = weights(whole, name)
        assert (weights(lost, name) - expected).norm() < 1e-5 * expected.norm(), name


def test_too_little_room_is_said_until_a_node_comes(cluster_place: tuple[Place, TwoNodes], tmp_path: Path) -> None:
    place, nodes = cluster_place
    nodes.add()
    log, task = tmp_path / "log.txt", place.task("waits")

    def strike() -> None:
        nodes.lose()
        wait_for(lambda: "has waited" in log.read_text(encoding="utf-8"))
        nodes.add()

    arguments = place.arguments("waits", schedule__epochs="12", workers="2..4", images__batch="4")
    ended = train(arguments, strike, lambda: len(listed_checkpoints(Folder(str(task)))) > 1, log)
    assert ended.status == 0, ended.text
    assert says(ended.text, "s for room for 2 workers of 1 CPU; the cluster's 1 machine has room for 1")
    assert says(ended.text, "goes on with 2 workers of --workers 2..4")
    assert recorded_epochs(place, "waits") == list(range(1, 13))
