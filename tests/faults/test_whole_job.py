"""A job that is killed outright, the next ones after it, and two that want the same run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from broken.jobs import LIMIT, Place, train, wait_for
from mlflow import MlflowClient

from refusion.runtime.lifetime.claims import CLAIM_FILE
from refusion.runtime.storage import Folder
from refusion.training.epochs.sound import listed_checkpoints

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A job of its own process and its own Ray."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["RAY_ADDRESS"] = "local"
    command = [sys.executable, str(ROOT / "jobs" / "train_all_tasks.py"), *arguments]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def epochs(task: Path, least: int) -> Callable[[], bool]:
    return lambda: sum((folder / "metrics.json").exists() for folder in task.glob("epoch_*")) >= least


def kill(process: subprocess.Popen[bytes]) -> None:
    for member in (*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)):
        member.kill()
    process.wait()


def test_a_killed_job_is_refused_while_it_lives_closed_by_the_next_and_resumed_past_a_damaged_checkpoint(
    place: Place, tmp_path: Path
) -> None:
    task = place.task("killed")
    first = start(place.arguments("killed"), tmp_path / "first.txt")
    wait_for(lambda: epochs(task, 3)() or first.poll() is not None)
    second = start(["--resume", "killed"], tmp_path / "second.txt")
    assert second.wait(timeout=300) == 2
    said = (tmp_path / "second.txt").read_text()
    assert said.startswith(f"error: --resume killed: process {first.pid} on ") and said.count("\n") == 1
    assert first.poll() is None
    kill(first)
    assert (task.parent / CLAIM_FILE).exists()

    # Another job, which has nothing to do with it.
    other = train(place.arguments("other", schedule__epochs="1"), lambda: None, lambda: True, tmp_path / "other.txt")
    assert other.status == 0 and "run killed: its job is gone; it is closed as killed in MLflow" in other.text
    assert {run.info.status for run in place.runs("killed")} == {"KILLED"}

    # One that was written when the job was killed may not be on Ray's record yet, and is trained again.
    newest = int(listed_checkpoints(Folder(str(task)))[-1][6:])
    file = task / f"epoch_{newest:05d}" / "loss_proposal.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    again = ["--resume", "killed", "--schedule.epochs", str(newest + 4)]
    ended = train(again, lambda: None, lambda: True, tmp_path / "again.txt")
    assert ended.status == 0
    assert "is gone; taken over" in ended.text
    assert f"{file}: is damaged" in ended.text.replace("\n", "")
    assert (task / f"damaged_epoch_{newest:05d}").is_dir()
    assert not (task.parent / CLAIM_FILE).exists()
    parent, child = place.runs("killed")
    assert {parent.info.status, child.info.status} == {"FINISHED"}
    store = MlflowClient(tracking_uri=f"sqlite:///{place.home / 'mlflow.db'}")
    steps = [point.step for point in store.get_metric_history(child.info.run_id, "rate")]
    assert sorted(steps) == list(range(1, newest + 5)), "none is missing, none twice"


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_job_with_their_status_and_without_a_line_of_rays(
    place: Place, tmp_path: Path, ending: signal.Signals, status: int
) -> None:
    name = f"ended-{status}"
    process = start(place.arguments(name), tmp_path / "log.txt")
    wait_for(lambda: epochs(place.task(name), 1)() or process.poll() is not None)
    before = len((tmp_path / "log.txt").read_text())
    process.send_signal(ending)
    left = process.wait(timeout=300)
    text = (tmp_path / "log.txt").read_text()
    assert left == status, text
    said = text[before:]
    assert f"--resume {name}" in said and said.rstrip().endswith("interrupted")
    assert not [line for line in said.splitlines() if "pid=" in line or "WARNING" in line or "Traceback" in line]
    assert {run.info.status for run in place.runs(name)} == {"KILLED"}
