"""Sweeps whose driver or trials are killed or interrupted, and how they go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from broken.jobs import LIMIT
from mlflow import MlflowClient
from sweep_jobs import job, recorded, records, scores

from refusion.runtime.storage import Folder
from refusion.search.callbacks import Events
from refusion.search.trials.records import Journal

ROOT = Path(__file__).resolve().parents[2]

# On a busy machine each start of Ray takes minutes.
pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]


@pytest.fixture(scope="module")
def data(builtin: Path) -> Path:
    return builtin


def test_a_killed_sweep_goes_on_where_it_was(home: Path, data: Path, sweep_file: Path) -> None:
    """SIGKILL to the driver and its Ray while trials train; what had ended stays, the rest ends as it would have."""
    arguments = [
        "--config", str(sweep_file), "--data", str(data), "--trials", "3", "--search", "random", "--scheduler", "none",
        "--schedule.epochs", "4",
    ]  # fmt: skip
    job(*arguments, "--run-name", "whole")
    whole = records(home, "whole")
    command = [sys.executable, str(ROOT / "jobs" / "sweep.py"), *arguments, "--run-name", "killed"]
    # Its own Ray, so that killing it leaves ours alone.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["RAY_ADDRESS"] = "local"
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    journal = Journal(Folder(str(home / "sweeps" / "killed")))
    deadline = time.monotonic() + 900
    try:
        while time.monotonic() < deadline:
            found = journal.read() if (home / "sweeps" / "killed" / "trials").exists() else {}
            if any(record.ended for record in found.values()) and any(
                not record.ended and record.checkpoints for record in found.values()
            ):
                break
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.05)
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for member in (psutil.Process(process.pid), *family) if process.poll() is None else ():
            member.kill()
        process.wait()
    before = journal.read()
    ended = {number for number, record in before.items() if record.ended}
    assert ended
    assert ended != set(range(4))
    text = job("--resume", "killed")
    after = records(home, "killed")
    assert "go on from their checkpoints" in text
    assert {number: after[number].plain() for number in ended} == {number: before[number].plain() for number in ended}
    assert scores(after) == scores(whole)
    assert {record.ended for record in after.values()} == {"finished"}
    assert {trial.ended for trial in recorded(home, "killed").trials} == {"finished"}


# After its first checkpoint a process trains on; after the end of its trial it turns to the next one.
@pytest.mark.parametrize("event", ["on_checkpoint", "on_trial_complete"])
def test_a_trial_whose_process_is_lost_goes_on_from_its_checkpoint(
    home: Path, data: Path, sweep_file: Path, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    heard, lost = getattr(Events, event), list[int]()

    def kill(events: Events, trial: Any, **info: Any) -> None:
        heard(events, trial=trial, **info)
        if not lost:
            # Tune's loop waits meanwhile, so that the process cannot do anything else before.
            lost.append(trial.last_result["pid"])
            os.kill(lost[0], signal.SIGKILL)

    monkeypatch.setattr(Events, event, kill)
    text = job(
        "--config", sweep_file, "--data", data, "--trials", 1, "--search", "random", "--scheduler", "none",
        "--max-concurrent", 1, "--schedule.epochs", 2, "--run-name", f"lost_{event}",
    )  # fmt: skip
    trials = records(home, f"lost_{event}")
    assert {record.ended for record in trials.values()} == {"finished"}
    assert sum(record.restarts for record in trials.values()) == 1
    assert "failed and is tried again" in text


def test_an_interrupted_sweep_says_how_to_go_on(home: Path, data: Path, sweep_file: Path) -> None:
    command = [
        sys.executable, str(ROOT / "jobs" / "sweep.py"), "--config", str(sweep_file), "--data", str(data),
        "--trials", "9", "--schedule.epochs", "9", "--scheduler", "none", "--run-name", "cut",
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["RAY_ADDRESS"] = "local"
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    folder = home / "sweeps" / "cut" / "trials"
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline and process.poll() is None:
        if folder.exists() and any("SSIM" in file.read_text() for file in folder.glob("*.json")):
            break
        time.sleep(0.1)
    process.terminate()
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 143, text
    assert "--resume cut" in text
    sweep = recorded(home, "cut")
    assert all(trial.ended == "interrupted" for trial in sweep.trials)
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    assert client.get_run(sweep.run_id).info.status == "KILLED"
    assert json.loads(next(folder.glob("*.json")).read_text())["ended"] == ""
