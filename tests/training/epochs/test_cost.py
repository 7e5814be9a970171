"""Cost of an epoch by counting what an epoch of known size does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import psutil
import pytest

from refusion.meta.state import TrainingState
from refusion.training.epochs import cost as module
from refusion.training.epochs.cost import EpochCost
from refusion.training.epochs.plan import EpochPlan
from refusion.training.loop import TaskTraining

PLAN = EpochPlan(meta_iterations=2, fusion_updates=3, batch=4, crop=16, inner_steps=2, parts=3, val_pairs=1)


def test_pairs_are_those_of_all_batches() -> None:
    # 2 meta-iterations of 3 batches, 3 updates of one batch, 4 pairs each.
    assert EpochCost(uses_gpu=False).numbers(PLAN)["pairs_seen"] == 36


def test_cpu_seconds_are_those_of_the_process_on_all_its_threads() -> None:
    process = psutil.Process()
    before = sum(process.cpu_times()[:2])
    cost = EpochCost(uses_gpu=False)
    plane = np.ones((400, 400))
    while sum(process.cpu_times()[:2]) - before < 0.3:
        plane @ plane
    numbers = cost.numbers(PLAN)
    assert numbers["time/cpu_seconds"] == pytest.approx(sum(process.cpu_times()[:2]) - before, abs=0.1)
    assert numbers["time/gpu_seconds"] == 0


def test_a_gpu_counts_while_it_is_held_and_workers_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "gather_on_all", lambda own: [own, (2.0, 5.0)])
    cost = EpochCost(uses_gpu=True)
    numbers = cost.numbers(PLAN)
    assert numbers["time/gpu_seconds"] >= 5.0
    assert numbers["time/cpu_seconds"] >= 2.0


@pytest.mark.usefixtures("quick")
def test_every_epoch_reports_it(training: TaskTraining) -> None:
    doubled = replace(training, settings=training.settings.model_copy(update={"seed": 1}))
    reports = list(doubled.epochs(TrainingState(doubled.settings, "IVIF")))
    # (2 meta-iterations of K + 1 = 2 batches + 3 updates) × 2 pairs.
    assert [report.numbers["pairs_seen"] for report in reports] == [14, 14]
    assert all(report.numbers["time/cpu_seconds"] > 0 for report in reports)
