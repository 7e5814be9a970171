"""Sweeps of which everything is killed, or a trial's process, or a trial's node, and damaged checkpoints of trials."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from broken.jobs import LIMIT, Place, says, wait_for
from clusters.nodes import TwoNodes
from mlflow import MlflowClient
from sweep_jobs import job, recorded, records, scores

from refusion.runtime.storage import Folder
from refusion.search.callbacks import Events
from refusion.search.trials.records import Journal, TrialRecord

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 6
BASE = {
    "schedule": {
        "epochs": EPOCHS,
        "meta_iterations": 1,
        "fusion_steps": 3,
        "rate": {"kind": "constant", "value": 1e-3},
    },
    "images": {"crop": 16, "batch": 2},
    "network": {"width": 8, "reconstruction_width": 8, "heads": 4, "blocks": 1},
    "validation": {"images": 1, "pictures": 1},
    "threads": 1,
}
SPACE = {"schedule.rate.value": {"low": 1e-4, "high": 1e-2, "log": True}, "objective.beta": {"low": 0.5, "high": 2.0}}

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]


def arguments(place: Place, name: str, trials: int, search: str) -> list[str]:
    """A sweep of two trials at a time, of which none is stopped."""
    file = place.faults / "space.yaml"
    options = {"task": ["IVIF"], "max_concurrent": 2, "scheduler": "none", "held_out": 0}
    file.write_text(yaml.safe_dump({"base": BASE | {"compile": False}, "space": SPACE, "sweep": options}))
    own = ["--search", search, "--trials", str(trials), "--run-name", name]
    return ["--config", str(file), "--data", str(place.data), *own]


def journal(place: Place, name: str) -> dict[int, TrialRecord]:
    folder = place.home / "sweeps" / name
    return Journal(Folder(str(folder))).read() if (folder / "trials").exists() else {}


def damage(checkpoint: str) -> Path:
    file = Path(checkpoint) / "IVIF" / "reconstruction.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    return file


def suggested(trials: dict[int, TrialRecord]) -> list[dict[str, Any]]:
    return [trials[number].values for number in sorted(trials)]


def assert_each_epoch_is_in_mlflow_once(place: Place, name: str) -> None:
    store = MlflowClient(tracking_uri=f"sqlite:///{place.home / 'mlflow.db'}")
    (experiment,) = (found for found in store.search_experiments() if found.name == "refusion")
    parent = recorded(place.home, name).run_id
    runs = store.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent}'")
    assert runs
    for run in runs:
        steps = [point.step for point in store.get_metric_history(run.info.run_id, "rate")]
        assert sorted(steps) == list(range(1, EPOCHS + 1)), run.info.run_name


def kill_once(place: Place, name: str, ready: Callable[[dict[int, TrialRecord]], bool], log: Path) -> None:
    """Starts a sweep with a Ray of its own, and kills all of it once its records are as they should be."""
    kept = {name for name in os.environ if not name.startswith("RAY_") or name == "RAY_worker_niceness"}
    environment = {name: os.environ[name] for name in kept}
    environment["RAY_ADDRESS"] = "local"
    command = [sys.executable, str(ROOT / "jobs" / "sweep.py"), *arguments(place, name, 4, "optuna")]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    whole = psutil.Process(process.pid)
    try:
        wait_for(lambda: ready(journal(place, name)) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
    finally:
        for member in (whole, *whole.children(recursive=True)) if process.poll() is None else ():
            member.kill()
        process.wait()


def test_a_sweep_that_is_killed_whole_suggests_the_same_and_goes_on_past_a_damaged_checkpoint(
    place: Place, tmp_path: Path
) -> None:
    job(*arguments(place, "unbroken", 4, "optuna"))
    unbroken = records(place.home, "unbroken")

    def under_way(record: TrialRecord) -> bool:
        return not record.ended and len(record.checkpoints) > 1

    kill_once(
        place,
        "killed",
        lambda found: any(one.ended for one in found.values()) and any(map(under_way, found.values())),
        tmp_path / "log.txt",
    )
    before = journal(place, "killed")
    ended = {number for number, record in before.items() if record.ended}
    going = next(record for record in before.values() if under_way(record))
    newest = max(going.checkpoints)
    file = damage(going.checkpoints[newest])
    text = job("--resume", "killed")
    after = records(place.home, "killed")
    assert says(text, f"trial {going.number}: {file}: is damaged")
    assert says(text, f"goes on from its epoch {newest - 1}")
    assert {number: after[number].plain() for number in ended} == {number: before[number].plain() for number in ended}
    assert suggested(after) == suggested(unbroken)
    assert scores(after) == scores(unbroken)
    assert {record.ended for record in after.values()} == {"finished"}
    assert_each_epoch_is_in_mlflow_once(place, "killed")


def test_a_trial_whose_process_is_lost_goes_on_past_a_damaged_checkpoint(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, spoilt = Events.on_checkpoint, list[Path]()

    def kill(events: Events, trial: Any, checkpoint: Any, **info: Any) -> None:
        heard(events, trial=trial, checkpoint=checkpoint, **info)
        if not spoilt and trial.last_result["epoch"] == 2:
            # Tune's loop waits meanwhile, so that no further checkpoint comes.
            os.kill(trial.last_result["pid"], signal.SIGKILL)
            spoilt.append(damage(checkpoint.path))

    monkeypatch.setattr(Events, "on_checkpoint", kill)
    text = job(*arguments(place, "lost", 1, "random"), "--max-concurrent", 1)
    assert says(text, "failed and is tried again")
    assert says(text, f"{spoilt[0]}: is damaged") and says(text, "goes on from its epoch 1")
    trials = records(place.home, "lost")
    assert {record.ended for record in trials.values()} == {"finished"}
    assert sum(record.restarts for record in trials.values()) == 1
    assert_each_epoch_is_in_mlflow_once(place, "lost")


def test_trials_of_a_node_that_is_lost_go_on_on_what_is_left(
    cluster_place: tuple[Place, TwoNodes], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, nodes = cluster_place
    nodes.add()
    heard, lost = Events.on_checkpoint, list[int]()

    def lose(events: Events, trial: Any, **info: Any) -> None:
        heard(events, trial=trial, **info)
        if not lost and len(events.state.running) == 2:
            lost.append(trial.last_result["epoch"])
            nodes.lose()

    monkeypatch.setattr(Events, "on_checkpoint", lose)
    text = job(*arguments(place, "node", 2, "random"))
    assert lost
    assert says(text, "failed and is tried again")
    trials = records(place.home, "node")
    assert {record.ended for record in trials.values()} == {"finished"}
    assert sum(record.restarts for record in trials.values()) == 1
    assert_each_epoch_is_in_mlflow_once(place, "node")
