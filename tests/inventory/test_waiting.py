from __future__ import annotations

import pytest
from mlflow import MlflowClient
from stored.runs import MakeRun, listed

from refusion.cli.looking.runs import runs
from refusion.errors import UserError
from refusion.inventory import waiting as module
from refusion.inventory.show import notes
from refusion.inventory.waiting import write_waiting
from refusion.runtime.lifetime.claims import CLAIM_FILE, Claim
from refusion.runtime.lifetime.waiting import waiting_folder
from refusion.runtime.storage import Folder
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.store import open_store
from refusion.tracking.waiting.opening import description


def test_what_a_killed_job_has_left_is_written_and_its_run_closed(
    make_run: MakeRun, gone: Claim, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(str(make_run("lost", [0.5], owner=gone)))
    uri = listed()["lost"].tracking_uri
    open_store(uri, "study")
    recorder = TaskRecorder(uri, "job", waiting_folder(folder), once=True)
    recorder.begin(description("study", "lost", {}, {"kind": "train"}, 1000, resumed=False))
    recorder.epoch(1, {"Qabf": 0.5})
    assert listed()["lost"].waiting == 2
    assert any("2 writes wait for MLflow; --write-waiting writes them" in line for line in notes([listed()["lost"]]))
    assert runs(["--write-waiting"], "") == 0
    assert "run lost: 3 writes are in sqlite:" in capsys.readouterr().out.replace("\n", "")
    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("study").experiment_id])
    assert (run.info.status, run.data.metrics) == ("KILLED", {"Qabf": 0.5})
    assert (listed()["lost"].waiting, listed()["lost"].state) == (0, "stopped")
    assert not Folder(f"{folder.uri}/{CLAIM_FILE}").exists()


def test_a_store_that_stays_away_is_said_and_nothing_is_lost(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    folder = Folder(str(make_run("away", [0.5])))
    TaskRecorder("", "1" * 32, waiting_folder(folder)).epoch(1, {"Qabf": 0.5})
    said: list[str] = []
    assert write_waiting(listed()["away"], "http://127.0.0.1:9", said.append) == 1
    assert "run away: 0 writes are in http://127.0.0.1:9 now; 1 still wait (it does not answer)" in said
    assert listed()["away"].waiting == 1


def test_an_address_without_its_option_is_refused() -> None:
    with pytest.raises(UserError, match="--tracking-uri says where --write-waiting writes"):
        runs(["--tracking-uri", "http://127.0.0.1:9"], "")
