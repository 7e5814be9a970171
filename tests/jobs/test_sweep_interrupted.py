"""Sweeps whose driver or trials are killed or interrupted, and how they go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from broken.jobs import LIMIT
from mlflow import MlflowClient
from sweep_jobs import job, recorded, records, scores

from refusion.search.callbacks import Events
from refusion.search.manifest import SweepRequest, open_manifest
from refusion.search.suggest.samplers import suggest_random
from refusion.search.trials.records import TrialRecord

ROOT = Path(__file__).resolve().parents[2]

# On a busy machine each start of Ray takes minutes.
pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]


@pytest.fixture(scope="module")
def data(builtin: Path) -> Path:
    return builtin


def killed(home: Path, name: str, arguments: list[str], due: Callable[[dict[int, TrialRecord]], bool]) -> None:
    """SIGKILL to the driver of a sweep and its Ray once the records of its trials are due."""
    command = [sys.executable, str(ROOT / "jobs" / "sweep.py"), *arguments, "--run-name", name]
    # Its own Ray, so that killing it leaves ours alone.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["RAY_ADDRESS"] = "local"
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 900
    try:
        while time.monotonic() < deadline:
            if (home / "sweeps" / name / "trials").exists() and due(records(home, name)):
                break
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.05)
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for member in (psutil.Process(process.pid), *family) if process.poll() is None else ():
            member.kill()
        process.wait()


def test_a_killed_sweep_goes_on_where_it_was(home: Path, data: Path, sweep_file: Path) -> None:
    """While trials train; what had ended stays, the rest ends as it would have."""
    arguments = [
        "--config", str(sweep_file), "--data", str(data), "--trials", "3", "--search", "random", "--scheduler", "none",
        "--schedule.epochs", "4",
    ]  # fmt: skip
    job(*arguments, "--run-name", "whole")
    whole = records(home, "whole")

    def due(found: dict[int, TrialRecord]) -> bool:
        going = [record for record in found.values() if not record.ended]
        return len(going) < len(found) and any(record.checkpoints for record in going)

    killed(home, "killed", arguments, due)
    before = records(home, "killed")
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


def test_a_killed_sweep_that_learns_goes_on_with_the_same_suggestions(home: Path, data: Path, sweep_file: Path) -> None:
    """By default TPE suggests and ASHA stops; trials one after the other, which makes both exact."""
    arguments = ["--config", str(sweep_file), "--data", str(data), "--trials", "6", "--max-concurrent", "1"]
    job(*arguments, "--run-name", "learned")
    whole = records(home, "learned")
    manifest = open_manifest(SweepRequest({}, (), resume="learned"))
    drawn = {number: suggest_random(manifest.space, manifest.base, manifest.base.seed, number) for number in whole}
    # Of the fourth the others are drawn at random; the last two are suggested after the kill.
    assert [number for number in whole if number and whole[number].values != drawn[number]] == [5, 6]
    killed(home, "cut_short", arguments, lambda found: 4 in found)
    assert max(records(home, "cut_short")) == 4
    job("--resume", "cut_short")
    after = records(home, "cut_short")
    assert {n: record.values for n, record in after.items()} == {n: record.values for n, record in whole.items()}
    assert scores(after) == scores(whole)
    assert {n: record.ended for n, record in after.items()} == {n: record.ended for n, record in whole.items()}


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
