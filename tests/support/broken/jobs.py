"""Jobs of two workers on small pairs, with faults that happen at a moment of the test's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broken.records import runs_of
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.console import Console

from refusion.cli.train import read_request
from refusion.training.job import train_all

_SMALL = {
    "tasks": "IVIF",
    "workers": "2",
    "threads": "1",
    "retries": "3",
    "schedule.epochs": "400",
    "schedule.meta_iterations": "2",
    "schedule.fusion_steps": "3",
    "schedule.rate": "1e-3",
    "images.crop": "16",
    "images.batch": "2",
    "images.cache_mb": "0",
    "network.width": "8",
    "network.reconstruction_width": "8",
    "network.heads": "4",
    "network.blocks": "1",
    "validation.pictures": "0",
    "validation.every": "4",
    "validation.at_start": "false",
}
# Ends a test that hangs long before the suite would.
LIMIT = 1500


@dataclass(frozen=True)
class Ended:
    """End of a job: its status, what it printed, and the seconds from the fault to there."""

    status: int
    text: str
    seconds: float


@dataclass
class Place:
    """Home of a file's jobs, and their pairs."""

    home: Path
    data: Path
    faults: Path

    def task(self, name: str) -> Path:
        """Folder of the task in a run."""
        return self.home / "runs" / name / "IVIF"

    def arguments(self, name: str, **changes: str) -> list[str]:
        """Command line of a small run of two workers; settings' dots are written as two underscores."""
        given = _SMALL | {key.replace("__", "."): value for key, value in changes.items()}
        words = [word for key, value in given.items() for word in (f"--{key}", value)]
        return [*words, "--no-compile", "--data", str(self.data), "--run-name", name]

    def runs(self, name: str) -> tuple[Run, Run]:
        """The job's run in MLflow and its task's."""
        return runs_of(MlflowClient(tracking_uri=f"sqlite:///{self.home / 'mlflow.db'}"), name)


def says(text: str, sentence: str) -> bool:
    """Tells if a sentence is in a console's text, however that was wrapped."""
    return "".join(sentence.split()) in "".join(text.split())


def wait_for(condition: Callable[[], bool], seconds: float = 1200) -> None:
    """Waits until it is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def train(arguments: list[str], fault: Callable[[], None], ready: Callable[[], bool], log: Path) -> Ended:
    """Train with a fault that happens once the job is ``ready``."""
    happened: list[float] = []
    over = threading.Event()

    def strike() -> None:
        wait_for(lambda: ready() or over.is_set())
        fault()
        happened.append(time.monotonic())

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    with log.open("w", encoding="utf-8") as file:
        status = train_all(read_request(arguments), Console(file=file, width=200))
    ended = time.monotonic()
    came_too_late = not happened
    over.set()
    thread.join()
    text = log.read_text(encoding="utf-8")
    assert not came_too_late, f"the job ended before its fault: {text}"
    return Ended(status, text, ended - happened[0])
