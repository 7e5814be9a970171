"""`make train` as its user runs it: what it prints, and what Ctrl-C does to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from data_sets.scenes import put_scenes
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[2]
# The first epoch lasts until it is interrupted.
LONG = [
    *("--tasks", "IVIF", "--run-name", "one", "--schedule.meta_iterations", "10000", "--images.crop", "32"),
    *("--network.blocks", "1", "--validation.images", "1", "--checkpoints.every_minutes", "0.01", "--threads", "1"),
]

pytestmark = pytest.mark.ray


def test_ctrl_c_ends_the_job_and_says_how_to_go_on(builtin: Path, tmp_path: Path) -> None:
    put_scenes(builtin, tmp_path)
    environment = {
        **os.environ,
        "REFUSION_HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    process = subprocess.Popen(
        ["bash", "jobs/try_it.sh", *LONG],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    stuck = threading.Timer(300, os.killpg, (process.pid, signal.SIGKILL))
    stuck.start()
    lines: list[str] = []
    latest = tmp_path / "runs" / "one" / "IVIF" / "latest"
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        # Epoch 0 is recorded, and a state within the first epoch is kept.
        if "epoch 0 (untrained): Qabf" in line and (latest / "metrics.json").exists():
            # As a terminal does, to the whole foreground group.
            os.killpg(process.pid, signal.SIGINT)
    stuck.cancel()
    text = "\n".join(lines)
    assert process.wait() == 130, text
    assert "interrupted" in lines
    assert "Traceback" not in text
    # Nothing of Ray's own: its commands would find no cluster any more.
    assert "ray job" not in text and "raysubmit" not in text
    after = text.partition("look at it in MLflow (scores, pictures, this run):")[2]
    assert "python jobs/train_all_tasks.py --resume one" in after
    assert f"--checkpoint {latest}" in after
    # Commands and paths, and nothing else, are as long as they are.
    assert [line for line in lines if len(line) > 100 and str(tmp_path) not in line] == []
    store = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("refusion")
    runs = store.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["KILLED", "KILLED"]
    child = next(run for run in runs if "task" in run.data.tags)
    assert child.data.metrics["Qabf"] > 0
