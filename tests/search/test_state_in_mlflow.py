"""Late entries of a sweep's state in MLflow: pictures, and what the store or the sweep itself missed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from sweep_states import VALUES, Begin, train, trials_of

from refusion.images.writing import write_image
from refusion.search.state import SweepState
from refusion.search.trials.records import TrialRecord


@pytest.mark.parametrize(("tasks", "prefix"), [(["IVIF"], ""), (["IVIF", "MIF"], "IVIF/")])
def test_the_pictures_of_the_last_checkpoint_are_recorded(
    recorded: Begin, tmp_path: Path, tasks: list[str], prefix: str
) -> None:
    state = recorded(task=tasks)
    state.begin(1, VALUES)
    state.started(1)
    numbers = {f"{prefix}Qabf": 0.5, "MIF/Qabf": 0.5}
    state.reported(1, 1, numbers, 0.5)
    folder = tmp_path / "checkpoint"
    for name in ("fused/scene.1.png", "weights/scene.1.png"):
        path = folder / "IVIF" / "pictures" / name
        path.parent.mkdir(parents=True)
        write_image(path, np.zeros((8, 8), dtype=np.uint8))
    state.saved(1, 1, str(folder))
    state.ended(1)
    client = MlflowClient(tracking_uri=state.manifest.tracking_uri)
    found = [entry.path for entry in client.list_artifacts(state.recorder(1).run_id, "images")]
    assert len([path for path in found if "fused" in path and path.endswith(".png")]) == 1
    assert all(("IVIF" in path) == bool(prefix) for path in found)


def test_a_checkpoint_that_is_gone_has_no_pictures(recorded: Begin) -> None:
    state = recorded()
    train(state, 1, 0.5)
    state.ended(1)
    client = MlflowClient(tracking_uri=state.manifest.tracking_uri)
    assert client.list_artifacts(state.recorder(1).run_id) == []


def test_a_store_that_is_away_delays_what_it_is_told_and_stops_nothing(recorded: Begin) -> None:
    state = recorded()
    database = Path(state.manifest.tracking_uri.removeprefix("sqlite:///"))
    away = database.with_suffix(".away")
    database.rename(away)
    database.mkdir()
    train(state, 1, 0.5, 0.6)
    train(state, 2, 0.7)
    state.ended(2)
    database.rmdir()
    away.rename(database)
    train(state, 3, 0.8)
    state.reported(1, 3, {"Qabf": 0.9}, 0.25)
    state.close("interrupted")
    trials = trials_of(state)
    assert {number: [trial.history[epoch]["Qabf"] for epoch in trial.history] for number, trial in trials.items()} == {
        1: [0.5, 0.6, 0.9],
        2: [0.7],
        3: [0.8],
    }
    assert {number: trial.ended for number, trial in trials.items()} == {
        1: "interrupted",
        2: "stopped",
        3: "interrupted",
    }


def test_what_a_killed_sweep_had_not_told_mlflow_is_made_up(recorded: Begin) -> None:
    state = recorded()
    train(state, 1, 0.5)
    killed = TrialRecord.of(state.records[1].plain())
    killed.history[2] = {"Qabf": 0.6, "rate": 1e-3}
    killed.ended = "stopped"
    state.manifest.journal.write(killed)
    later = SweepState(state.manifest, state.scoreboard, state.parent, state.experiment_id)
    later.records = state.manifest.journal.read()
    later.scoreboard.add(1, 2, killed.history[2])
    later.make_up()
    trial = trials_of(later)[1]
    assert trial.ended == "stopped"
    assert trial.history[2]["Qabf"] == 0.6
