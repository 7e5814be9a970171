from __future__ import annotations

import json

import numpy as np
from mlflow import MlflowClient

from refusion.tracking.views.state import TAG, view_states
from refusion.tracking.views.write import NOTE_TAG, pages, view_address, write_views


def tags_of(uri: str, experiment: str) -> dict[str, str]:
    return dict(MlflowClient(tracking_uri=uri).get_experiment(experiment).tags)


def test_the_views_and_a_description_with_their_links_are_written(uri: str, experiment: str) -> None:
    assert write_views(uri, experiment, tags={"metric.EN": "entropy"}) is None
    tags = tags_of(uri, experiment)
    for name, state in view_states().items():
        assert json.loads(tags[TAG + name]) == state
        assert f"experiments/{experiment}/runs?viewStateShareKey={name}" in tags[NOTE_TAG]
    assert tags["metric.EN"] == "entropy"


def test_a_persons_own_description_stays(uri: str, experiment: str) -> None:
    MlflowClient(tracking_uri=uri).set_experiment_tag(experiment, NOTE_TAG, "mine")
    write_views(uri, experiment)
    assert tags_of(uri, experiment)[NOTE_TAG] == "mine"


def test_a_training_leaves_the_columns_of_the_newest_sweep(uri: str, experiment: str) -> None:
    write_views(uri, experiment, varied=["outer.ratio"])
    write_views(uri, experiment)
    assert "params.`outer.ratio`" in tags_of(uri, experiment)[f"{TAG}sweep"]
    write_views(uri, experiment, varied=["images.crop"])
    assert "outer.ratio" not in tags_of(uri, experiment)[f"{TAG}sweep"]


def test_a_store_that_is_away_stops_nothing(uri: str) -> None:
    assert "no experiment" in str(write_views(uri, "999")).lower()


def test_the_address_opens_the_charts_where_the_view_is_one_of_charts() -> None:
    assert view_address("http://server:5000", "3", "pictures") == (
        "http://server:5000/#/experiments/3/runs?viewStateShareKey=pictures&compareRunsMode=CHART"
    )
    assert view_address("sqlite:////a.db", "3", "tasks").endswith("/#/experiments/3/runs?viewStateShareKey=tasks")


def test_a_database_needs_a_command_before_its_pages_and_a_server_none() -> None:
    local = pages("sqlite:////a.db", "3", ["tasks", "jobs"], "run").splitlines()
    assert "mlflow ui" in local[0]
    assert [line.rpartition("/")[2] for line in local[1:]] == [
        "runs?viewStateShareKey=tasks",
        "runs?viewStateShareKey=jobs",
        "run",
    ]
    assert pages("http://server", "3", ["tasks"]) == view_address("http://server", "3", "tasks")


def test_a_jobs_pictures_are_shown_at_their_last_epoch_without_params(uri: str, experiment: str) -> None:
    client = MlflowClient(tracking_uri=uri)
    run = client.create_run(experiment).info.run_id
    for step in (1, 2):
        client.log_image(run, np.zeros((8, 8, 3), np.uint8), key="fused/01_a b", step=step, synchronous=True)
    for key in ("weights/01_a b", "sheet/MIF"):
        client.log_image(run, np.zeros((8, 8, 3), np.uint8), key=key, step=2, synchronous=True)
    assert write_views(uri, experiment, pictures_of=[run]) is None
    charts = json.loads(tags_of(uri, experiment)[f"{TAG}pictures"])["compareRunCharts"]
    tiles = [(chart["imageKeys"], chart["step"], chart["showRunParams"]) for chart in charts if "imageKeys" in chart]
    assert tiles == [(["fused/01_a b"], 2, False), (["sheet/MIF"], 2, False)]
    # A job that begins leaves them.
    write_views(uri, experiment)
    assert json.loads(tags_of(uri, experiment)[f"{TAG}pictures"])["compareRunCharts"] == charts
