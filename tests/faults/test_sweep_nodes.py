"""A node that is lost under the trials of a sweep: they go on on what is left, and end as they would have."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from broken.jobs import LIMIT, Place, says, wait_for
from clusters.nodes import TwoNodes
from mlflow import MlflowClient
from sweep_jobs import job, recorded, records, scores

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]

EPOCHS = 5
BASE = {
    "schedule": {"epochs": EPOCHS, "meta_iterations": 1, "fusion_steps": 3},
    "images": {"crop": 16, "batch": 2},
    "network": {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8},
    "validation": {"images": 1, "pictures": 0},
    "compile": False,
}
SPACE = {"schedule.rate.value": {"low": 1e-4, "high": 1e-2, "log": True}}


@pytest.fixture
def space(tmp_path: Path) -> Path:
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump({"base": BASE, "space": SPACE, "sweep": {"task": ["IVIF"]}}))
    return file


def torn(place: Place, strike: Callable[[], None], *arguments: object) -> str:
    """A sweep with a fault that happens meanwhile; what it printed."""
    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    text = job(*arguments, "--data", place.data, "--scheduler", "none", "--run-name", "torn")
    assert not thread.is_alive(), f"the sweep ended before its fault: {text}"
    assert "Traceback" not in text
    return text


def trains(place: Place, name: str, trials: int, epoch: int) -> bool:
    """Tells if so many trials train at the same time and have come to that epoch."""
    known = (place.home / "sweeps" / name / "trials").exists()
    found = records(place.home, name).values() if known else ()
    return sum(not record.ended and record.epoch >= epoch for record in found) >= trials


def check_all_closed(place: Place, name: str) -> None:
    """Nothing says that it runs, in the sweep's folder or in MLflow."""
    assert {record.ended for record in records(place.home, name).values()} == {"finished"}
    sweep = recorded(place.home, name)
    assert {trial.ended for trial in sweep.trials} == {"finished"}
    client = MlflowClient(tracking_uri=f"sqlite:///{place.home / 'mlflow.db'}")
    for run_id in (sweep.run_id, *(trial.run_id for trial in sweep.trials)):
        assert client.get_run(run_id).info.status == "FINISHED"
    for trial in sweep.trials:
        steps = [point.step for point in client.get_metric_history(trial.run_id, "rate")]
        assert steps == list(range(1, EPOCHS + 1)), trial.number


def test_trials_of_a_lost_node_go_on_on_what_is_left(
    roomy_cluster: tuple[Place, TwoNodes], space: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, nodes = roomy_cluster

    def strike() -> None:
        wait_for(lambda: trains(place, "torn", 2, 1) and nodes.trials() > 0)
        nodes.lose()

    # A trial takes a whole node. The values of the last one are learned from the others.
    arguments = ("--config", space, "--trials", 5, "--threads", 2)
    text = torn(place, strike, *arguments)
    again = {number: record.restarts for number, record in records(place.home, "torn").items()}
    assert sum(again.values()) == 1, text
    (lost,) = [number for number, restarts in again.items() if restarts]
    assert says(text, f"trial {lost} failed and is tried again: ")
    assert not [entry for entry in caplog.records if entry.name.startswith("ray.") and entry.exc_info]
    check_all_closed(place, "torn")
    nodes.add()
    job(*arguments, "--data", place.data, "--scheduler", "none", "--run-name", "whole")
    whole, found = records(place.home, "whole"), records(place.home, "torn")
    assert {n: record.values for n, record in found.items()} == {n: record.values for n, record in whole.items()}
    assert scores(found) == scores(whole)
