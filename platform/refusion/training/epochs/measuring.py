"""Measurement of how long steps take, before a training begins."""

from __future__ import annotations

import torch

from refusion.meta.state import TrainingState
from refusion.meta.steps import Step
from refusion.training.batches import Batches
from refusion.training.epochs.pace import Pace, Stopwatch
from refusion.training.epochs.plan import EpochPlan


def measure_steps(
    pace: Pace, plan: EpochPlan, batches: Batches, step: Step, state: TrainingState, trial: TrainingState, rate: float
) -> None:
    """Add to ``pace`` a step of each kind of an epoch, taken on ``trial``, which is thrown away; not on a GPU.

    There steps are graphs, which are captured first, so that nothing here would take as long as one of them.

    Args:
        pace, plan: of the training and of its present epoch.
        batches, step: of that epoch.
        state: of the training, whose counters say which crops come first.
        trial: changed by the steps.
        rate: of all modules.
    """
    if batches.device.type == "cuda":
        return
    with torch.random.fork_rng(devices=[]):
        # The first step of each kind is slower than those that follow.
        for measured in (Pace(), pace):
            watch = Stopwatch(measured)
            if plan.meta_iterations:
                step.meta(trial, *batches.ready(batches.draw("meta", state.meta_steps, plan.parts)), rate, rate)
                watch.lap("meta", plan.cost("meta"), 1)
            step.fusion(trial, *batches.ready(batches.draw("fusion", state.fusion_steps)), rate)
            watch.lap("fusion", plan.cost("fusion"), 1)
