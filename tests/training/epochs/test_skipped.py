"""Steps that are left out are counted, told with their pictures, and stop the training once they are too many."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from refusion.config.layers import check
from refusion.errors import TrainingDivergedError
from refusion.meta.state import TrainingState
from refusion.objectives import FusionWeights, fusion_loss
from refusion.training import loop
from refusion.training.epochs.skipped import SkippedSteps
from refusion.training.loop import TaskTraining
from refusion.training.reports import EpochReport


def told(training: TaskTraining, changes: dict[str, Any]) -> TaskTraining:
    return replace(training, settings=check([changes], training.settings))


def run(training: TaskTraining) -> tuple[TrainingState, list[EpochReport]]:
    state = TrainingState(training.settings, "IVIF")
    return state, list(training.epochs(state))


def test_counts_and_last_steps_come_back_from_plain_values() -> None:
    steps = SkippedSteps()
    for number, skipped in enumerate([0.0, 1.0, 0.0, 1.0, 0.0]):
        steps.add("fusion", number, torch.tensor(skipped))
    steps.add("meta", 7, torch.tensor(0.0))
    again = SkippedSteps()
    again.restore(steps.plain(), torch.device("cpu"))
    for found in (steps, again):
        assert (found.counted("fusion"), found.counted("meta"), found.count) == ((2, 3), (0, 0), 2)


def nan_once(fused: torch.Tensor, sources: torch.Tensor, weights: FusionWeights) -> torch.Tensor:
    """A loss of the user's own that is not finite at the steps that the test names."""
    nan_once.calls += 1
    loss = fusion_loss(fused, sources, weights)
    return loss * torch.nan if nan_once.calls in nan_once.bad else loss


nan_once.calls, nan_once.bad = 0, set()


@pytest.mark.usefixtures("quick")
def test_a_step_that_is_not_finite_is_left_out_counted_and_told(
    training: TaskTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "loss_at", lambda *_: nan_once)
    notes: list[str] = []
    monkeypatch.setattr(nan_once, "calls", 0)
    # Two meta-iterations, then three fusion updates; there is one inner step.
    monkeypatch.setattr(nan_once, "bad", {4})
    state, reports = run(replace(told(training, {"schedule": {"epochs": 1}}), note=notes.append))
    assert state.is_finite() and state.skipped == 1
    (report,) = reports
    assert report.numbers["skipped_steps"] == 1
    assert all(math.isfinite(value) for name, value in report.numbers.items() if name.startswith("loss/"))
    (note,) = [note for note in notes if "left out" in note]
    pictures = re.search(r"pictures: (scene_\d), (scene_\d)\)", note)
    assert pictures and note.startswith("fusion step 2 of 3 in epoch 1 was left out")
    assert note.endswith("; 1 of at most 10 so far")
    batches = training._batches(0)
    assert list(pictures.groups()) == batches.pictures("fusion", 1, 1)
    assert len(batches.pictures("meta", 0, 2)) == 4


@pytest.mark.usefixtures("quick")
def test_too_many_steps_that_are_not_finite_stop_the_training_also_across_epochs(
    training: TaskTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "loss_at", lambda *_: nan_once)
    monkeypatch.setattr(nan_once, "calls", 0)
    monkeypatch.setattr(nan_once, "bad", {1, 5, 8})
    with pytest.raises(
        TrainingDivergedError,
        match=r"^IVIF: fusion step 1 of 3 in epoch 2 was left out, .*\(pictures: scene.*3 such steps are more than "
        r"--schedule\.max_skipped 2 allows",
    ):
        run(told(training, {"schedule": {"max_skipped": 2}}))


@pytest.mark.usefixtures("quick")
def test_an_epoch_that_leaves_most_of_its_steps_out_stops_the_training_however_few_they_are(
    training: TaskTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "loss_at", lambda *_: nan_once)
    monkeypatch.setattr(nan_once, "calls", 0)
    monkeypatch.setattr(nan_once, "bad", {4, 5})
    with pytest.raises(
        TrainingDivergedError, match=r"2 such steps are more than half of the epoch's fusion steps: look at these"
    ):
        run(told(training, {"schedule": {"epochs": 1}}))
