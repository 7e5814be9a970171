"""Sweeps run in the test's process, and their records."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from refusion.cli.sweep import read_requests
from refusion.reporting.sweep_files import write_sweep_report
from refusion.runtime.storage import Folder
from refusion.search.sweep import run_sweep
from refusion.search.trials.records import Journal, TrialRecord
from refusion.tracking.sweeps import RecordedSweep, read_sweep

SPACE = {
    "schedule.rate.value": {"low": 1e-4, "high": 1e-2, "log": True},
    "schedule.inner_steps": {"low": 1, "high": 2},
    "objective.beta": {"low": 0.5, "high": 2.0},
}
BASE = {
    "schedule": {"epochs": 3, "meta_iterations": 1, "fusion_steps": 3, "rate": {"kind": "constant", "value": 1e-3}},
    "images": {"crop": 32, "batch": 2},
    "network": {"blocks": 1},
    # Drawing takes longer than the epoch.
    "validation": {"images": 1, "pictures": 0},
    "threads": 1,
}


def job(*arguments: object) -> str:
    """Run a sweep in this process; what it printed."""
    (request,) = read_requests([str(argument) for argument in arguments])
    text = io.StringIO()
    assert run_sweep(request, Console(file=text, width=160), write_sweep_report) == 0, text.getvalue()
    return text.getvalue()


def records(home: Path, name: str) -> dict[int, TrialRecord]:
    return Journal(Folder(str(home / "sweeps" / name))).read()


def recorded(home: Path, name: str) -> RecordedSweep:
    return read_sweep(f"sqlite:///{home / 'mlflow.db'}", "refusion", name)


def scores(trials: dict[int, TrialRecord]) -> dict[int, list[float]]:
    return {
        number: [record.history[epoch]["SSIM"] for epoch in sorted(record.history)] for number, record in trials.items()
    }
