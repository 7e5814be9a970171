from __future__ import annotations

from pathlib import Path

import pytest
from stored.runs import MakeRun, listed

from refusion.runtime.lifetime.claims import Claim


def test_states_are_what_the_folders_tell(make_run: MakeRun, gone: Claim) -> None:
    make_run("done", [0.5, 0.6])
    make_run("half", [0.5])
    make_run("begun", [])
    make_run("alive", [0.5], owner=Claim.mine())
    make_run("lost", [0.5], owner=gone)
    found = listed()
    states = {name: entry.state for name, entry in found.items()}
    assert states == {
        "done": "finished", "half": "stopped", "begun": "stopped", "alive": "running", "lost": "abandoned",
    }  # fmt: skip
    assert not found["done"].resume and not found["alive"].resume
    assert found["half"].resume[-2:] == ["--resume", "half"]
    assert found["lost"].resume[-2:] == ["--resume", "lost"] and found["lost"].owner == gone.owner


def test_the_best_epoch_and_the_size_are_those_on_the_disk(make_run: MakeRun) -> None:
    folder: Path = make_run("done", [0.7, 0.6])
    entry = listed()["done"]
    score = entry.scores["MIF"]
    assert (score.metric, score.value, score.number) == ("Qabf", 0.7, 1)
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert entry.size == sum(file.stat().st_size for file in files)
    assert entry.at == pytest.approx(max(file.stat().st_mtime for file in files), abs=0.01)
    assert entry.trained and entry.age < 600


def test_a_run_without_a_checkpoint_is_not_trained(make_run: MakeRun) -> None:
    make_run("begun", [])
    assert not listed()["begun"].trained


def test_a_manifest_that_cannot_be_read_is_listed_with_the_reason(make_run: MakeRun) -> None:
    (make_run("odd", []) / "job.yaml").write_text("settings: {unknown: 1}\ntracking_uri: sqlite:///x.db\n")
    entry = listed()["odd"]
    assert entry.state == "unreadable" and entry.fault.startswith("job.yaml: ") and not entry.resume
