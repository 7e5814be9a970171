"""Sweep states with trials that report given scores, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refusion.search.state import SweepState
from refusion.search.trials.records import TrialRecord
from refusion.tracking.sweeps import RecordedTrial, read_sweep

Begin = Callable[..., SweepState]
VALUES = {"schedule.rate.value": 3e-3, "schedule.inner_steps": 2, "objective.alpha": 0.5}


def trials_of(state: SweepState) -> dict[int, RecordedTrial]:
    """Trials as they stand in MLflow."""
    found = read_sweep(state.manifest.tracking_uri, state.manifest.experiment, state.manifest.name)
    return {trial.number: trial for trial in found.trials}


def journal_of(state: SweepState) -> dict[int, TrialRecord]:
    return state.manifest.journal.read()


def train(state: SweepState, number: int, *scores: float, values: dict[str, Any] | None = None) -> None:
    """A trial is begun, and reports these from epoch 1 on."""
    state.begin(number, VALUES if values is None else values)
    state.started(number)
    for epoch, score in enumerate(scores, start=1):
        state.reported(number, epoch, {"Qabf": score, "loss/fusion": 1 / epoch}, 0.25)
        state.saved(number, epoch, f"/trial{number}/epoch{epoch}")
