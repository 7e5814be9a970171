"""Preparation of a training: steps are timed, and the untrained modules are measured as epoch 0."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from refusion.config.layers import check
from refusion.meta.state import TrainingState
from refusion.training.loop import TaskTraining
from refusion.training.reports import Progress


def weights(state: TrainingState) -> torch.Tensor:
    return torch.cat([value.flatten() for module in state.modules().values() for value in module.state_dict().values()])


def test_before_the_first_step_the_modules_are_measured_and_stay_as_they_are(training: TaskTraining) -> None:
    notes: list[str] = []
    said: list[str] = []
    seen: list[Progress] = []
    training = replace(training, note=notes.append, starting=said.append, watch=seen.append)
    state = TrainingState(training.settings, "IVIF")
    fresh = weights(state)
    report = training.begin(state)
    assert report is not None
    assert report.epoch == 0 and report.validated and not report.is_best
    assert {"Qabf", "baseline/Qabf"} < set(report.numbers)
    assert len(said) == 2
    assert torch.equal(weights(state), fresh)
    assert (state.steps, state.best_score) == (0, None)
    (note,) = notes
    assert "to go, by the first steps (meta-iteration" in note
    assert all(progress.seconds_left and progress.done == 0 for progress in seen)
    # Nor does it change the training that follows.
    list(training.epochs(state))
    without = TrainingState(training.settings, "IVIF")
    list(training.epochs(without))
    assert torch.equal(weights(state), weights(without))
    assert seen[-1].seconds_left == pytest.approx(0)
    assert training.begin(state) is None


@pytest.mark.usefixtures("quick")
def test_epoch_0_is_measured_once_and_only_if_asked_for(training: TaskTraining) -> None:
    state = TrainingState(training.settings, "IVIF")
    next(training.epochs(state))
    assert training.begin(state) is None
    training = replace(training, settings=check([{"validation": {"at_start": False}}], training.settings))
    assert training.begin(TrainingState(training.settings, "IVIF")) is None
