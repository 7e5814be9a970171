"""PostgreSQL as MLflow's store: a job that records in it, while it goes away and comes back, and what reads from it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from broken.jobs import LIMIT, Place, train
from broken.records import record
from mlflow import MlflowClient
from stored.postgresql import Database, binaries, postgresql

from refusion.cli.looking.compare import compare_runs
from refusion.cli.looking.runs import runs
from refusion.errors import UserError
from refusion.tracking.loading import find_model
from refusion.tracking.store import open_store

pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.timeout(LIMIT),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="its driver is not installed ([postgres])"),
]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgresql() as started:
        yield started


def arguments(place: Place, database: Database, name: str) -> list[str]:
    own = place.arguments(name, workers="1", schedule__epochs="3", checkpoints__keep="4", validation__every="1")
    return [*own, "--tracking-uri", database.uri]


def test_a_job_records_in_it_also_while_it_is_away(
    place: Place, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = train(arguments(place, database, "plain"), lambda: None, lambda: True, tmp_path / "plain.txt")
    assert plain.status == 0, plain.text
    assert "models:/refusion-IVIF@best" in plain.text and "topsecret" not in plain.text
    expected = record(database.uri, "plain")
    assert expected["task"]["steps"]["rate"] == [1, 2, 3] and expected["job"]["status"] == "FINISHED"

    def epochs() -> bool:
        return any((folder / "metrics.json").exists() for folder in place.task("away").glob("epoch_*"))

    away = train(arguments(place, database, "away"), database.stop, epochs, tmp_path / "away.txt")
    assert away.status == 0, away.text
    assert "--write-waiting" in away.text and "topsecret" not in away.text
    with pytest.raises(UserError, match=r"//refusion:\*\*\*@127.* cannot be opened .*Connection refused"):
        open_store(database.uri, "refusion")
    database.start()
    capsys.readouterr()
    assert runs(["--write-waiting"], "") == 0
    assert record(database.uri, "away") == expected

    assert runs(["--json"], "") == 0
    said = capsys.readouterr().out
    listed = {one["name"]: one for one in json.loads(said[said.index("[\n") :])}
    assert [(listed[name]["state"], listed[name]["waiting"]) for name in ("plain", "away")] == [("finished", 0)] * 2
    assert compare_runs(["--experiment", "refusion", "--tracking-uri", database.uri, "--out", str(tmp_path)], "") == 0
    assert (tmp_path / "report.html").stat().st_size > 1000
    assert find_model("models:/refusion-IVIF@best", database.uri)
    tags = MlflowClient(tracking_uri=database.uri).get_experiment_by_name("refusion").tags
    assert any("tasks" in tag for tag in tags)


def test_what_is_wrong_with_the_address_is_said_and_not_waited_for(database: Database) -> None:
    with pytest.raises(UserError, match="password authentication failed") as refused:
        open_store(database.uri.replace("topsecret", "wrong"), "refusion")
    assert type(refused.value) is UserError and "wrong" not in str(refused.value)
    with pytest.raises(UserError, match="does not exist") as missing:
        open_store(f"{database.uri}2", "refusion")
    assert type(missing.value) is UserError
