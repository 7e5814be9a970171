"""A small MLflow store as two trainings and a sweep leave it, with pictures; and its server on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from refusion.images.writing import write_image
from refusion.runtime.ports import free_ports
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import start_job_run, start_task_run
from refusion.tracking.store import open_store
from refusion.tracking.sweeps import start_sweep_run, start_trial_run
from refusion.tracking.views.write import write_views

SIZE = 240, 180
"""Width and height of the fused pictures."""
SHEET_SIZE = 1376, 460
"""Of the sheets."""
SCORES = {"Qabf": 0.6123, "SSIM": 0.7234, "VIF": 0.4345, "SCD": 1.2456, "EN": 7.1567}
"""Means of the last epoch of the first run; those of the second are higher by a hundredth."""


def small_store(folder: Path) -> tuple[str, str]:
    """Writes the store; returns its address and the experiment's id."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    experiment = open_store(uri, "study")
    runs = []
    for job, (name, more) in enumerate((("night", 0.0), ("day", 0.01))):
        scores = {metric: score + more for metric, score in SCORES.items()}
        parent = start_job_run(uri, experiment, name, {}, {"kind": "train"})
        task = start_task_run(uri, experiment, parent, "MIF", f"MIF · {name}", {}, {"kind": "task"})
        recorder = TaskRecorder(uri, task)
        for epoch in (1, 2):
            measured = {metric: score - 0.1 * (2 - epoch) for metric, score in scores.items()}
            best = {f"best/{metric}": score for metric, score in measured.items()}
            recorder.epoch(epoch, {**measured, **best, "best/epoch": float(epoch), "loss/fusion": 1 / epoch})
            file = folder / f"{job}-{epoch}.png"
            write_image(file, _picture(job, epoch))
            sheet = folder / f"sheet-{job}-{epoch}.png"
            write_image(sheet, _picture(job, epoch, SHEET_SIZE))
            recorder.pictures(epoch, {"fused/head": file, "sheet/MIF": sheet})
        recorder.finish("FINISHED")
        job_recorder = TaskRecorder(uri, parent)
        job_recorder.summary({f"MIF/{metric}": score for metric, score in scores.items()})
        job_recorder.finish("FINISHED")
        runs.append(task)
    sweep = start_sweep_run(uri, experiment, "rates", {}, {"task": "MIF"}, {})
    trial = start_trial_run(uri, experiment, sweep, "rates", "MIF", 1, {}, {"ended": "finished"})
    for run in (trial, sweep):
        TaskRecorder(uri, run).finish("FINISHED")
    assert write_views(uri, experiment, varied=["schedule.rate"], pictures_of=runs) is None
    return uri, experiment


def _picture(job: int, epoch: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    width, height = size
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.dstack([across, down, np.full_like(across, 60 * epoch + 80 * job)]).astype(np.uint8)


@contextmanager
def server(uri: str, log: Path) -> Iterator[str]:
    """MLflow's server of that store at a free port of loopback; yields its address."""
    (port,) = free_ports(1)
    with serving(uri, log, port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def serving(uri: str, log: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server at that port of loopback, in a session of its own, from when it answers on."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    arguments = [*command, "--port", str(port), "--workers", "1"]
    with log.open("w") as out, subprocess.Popen(
        arguments, env=environment, stdout=out, stderr=out, cwd=log.parent, start_new_session=True
    ) as served:  # fmt: skip
        try:
            _wait(f"http://127.0.0.1:{port}/health", served, log)
            yield served
        finally:
            with suppress(ProcessLookupError):
                os.killpg(served.pid, signal.SIGKILL)


def _wait(address: str, served: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and served.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"MLflow's server did not answer:\n{log.read_text()[-2000:]}")
