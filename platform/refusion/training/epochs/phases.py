"""The two phases of one epoch: meta-iterations, then fusion updates, from wherever the state stands within them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from refusion.config.per_epoch import at
from refusion.config.settings import Settings
from refusion.meta.adam import Number, as_factor
from refusion.meta.skipping import SKIPPED
from refusion.meta.state import TrainingState
from refusion.meta.steps import Step
from refusion.objectives import FusionLoss
from refusion.training.batches import Batches
from refusion.training.epochs.plan import EpochPlan, Kind
from refusion.training.epochs.skipped import Phase
from refusion.training.epochs.sums import EpochSums
from refusion.training.step_graphs import StepGraphs


@dataclass
class _Speed:
    """Pairs per second since the epoch began, over all workers; a batch counts without its swapped copies."""

    batch: int
    pairs: int = 0
    begun: float = field(default_factory=time.perf_counter)

    def after(self, batches: int) -> float:
        self.pairs += batches * self.batch
        return self.pairs / max(time.perf_counter() - self.begun, 1e-9)


def steps_of_epoch(state: TrainingState) -> dict[Kind, int]:
    """Returns the steps of each phase that the present epoch has behind it."""
    meta_steps, fusion_steps = state.epoch_start
    return {"meta": state.meta_steps - meta_steps, "fusion": state.fusion_steps - fusion_steps}


def _count(sums: EpochSums, phase: Phase, step: int, found: dict[str, Tensor]) -> None:
    sums.losses.add({name: value for name, value in found.items() if name != SKIPPED})
    sums.skipped.add(phase, step, found[SKIPPED])


def run_phases(
    settings: Settings,
    plan: EpochPlan,
    state: TrainingState,
    batches: Batches,
    one: Step,
    graphs: StepGraphs,
    sums: EpochSums,
    after: Callable[[Phase, dict[str, float]], None],
) -> dict[str, float]:
    """Take all steps of the state's epoch that are not done yet.

    Args:
        settings: of the training.
        plan, batches, one, graphs: of the epoch.
        state: changed by every step.
        sums: to which the steps' numbers are added.
        after: called after each step, with its phase and the numbers so far.

    Returns:
        Rates, K and β at the epoch's beginning, and pairs per second.
    """
    schedule, objective, epoch = settings.schedule, settings.objective, state.epoch
    coefficients = at(objective.alpha, epoch), objective.beta_at(epoch, schedule.epochs)
    numbers: dict[str, float] = {
        "rate": schedule.rate_at(epoch),
        "inner_rate": schedule.inner_rate_at(epoch),
        "inner_steps": plan.inner_steps,
        "beta": coefficients[1],
    }
    outer_ratio, speed = at(settings.outer.ratio, epoch), _Speed(settings.images.batch)

    calls = _Calls(state, batches, one)
    shared = dict(zip(("alpha", "beta"), coefficients, strict=True)) if isinstance(one.loss, FusionLoss) else {}
    # A function of the user's may look at its coefficients, which so are no inputs of a graph.
    fixed = () if shared else coefficients

    first = state.epoch_start[0]
    steps = range(state.meta_steps, first + plan.meta_iterations)
    for step, drawn in zip(steps, batches.ahead("meta", steps, plan.parts, sums.waits), strict=True):
        position = epoch + (step - first) / plan.meta_iterations
        inner_rate = schedule.inner_rate_at(position)
        found = graphs.run(
            ("meta", plan.inner_steps, batches.crop, fixed, state.outer.completes),
            partial(calls.meta, plan.parts),
            images=drawn.images,
            noise=drawn.noise,
            inner_rate=inner_rate,
            outer_rate=outer_ratio * schedule.rate_at(position),
            **shared,
        )
        _count(sums, "meta", step, found)
        sums.signals.after_meta_iteration(step - first + 1, partial(batches.ready, drawn), inner_rate)
        state.meta_steps = step + 1
        numbers["images_per_second"] = speed.after(plan.parts)
        after("meta", numbers)

    first = state.epoch_start[1]
    steps = range(state.fusion_steps, first + plan.fusion_updates)
    for step, drawn in zip(steps, batches.ahead("fusion", steps, waits=sums.waits), strict=True):
        sums.signals.before_fusion_update(step - first + 1, partial(batches.ready, drawn))
        found = graphs.run(
            ("fusion", batches.crop, fixed),
            calls.fusion,
            images=drawn.images,
            noise=drawn.noise,
            rate=schedule.rate_at(epoch + (step - first) / plan.fusion_updates),
            **shared,
        )
        _count(sums, "fusion", step, found)
        state.fusion_steps = step + 1
        numbers["images_per_second"] = speed.after(1)
        after("fusion", numbers)
    # A GPU is behind what was asked of it, but for here: the last step was waited for.
    if speed.pairs:
        numbers["images_per_second"] = speed.after(0)
    return numbers


@dataclass(frozen=True)
class _Calls:
    """Steps as a graph holds them: of crops, or of their places in the device's memory, and of tensors in all else."""

    state: TrainingState
    batches: Batches
    step: Step

    def meta(
        self,
        parts: int,
        images: Tensor,
        noise: Tensor | None,
        inner_rate: Number,
        outer_rate: Number,
        **coefficients: Number,
    ) -> dict[str, Tensor]:
        """Runs a meta-iteration."""
        step = self._weighted(coefficients)
        return step.meta(self.state, *self.batches.cut(images, noise, parts), inner_rate, outer_rate)

    def fusion(self, images: Tensor, noise: Tensor | None, rate: Number, **coefficients: Number) -> dict[str, Tensor]:
        """Runs a fusion update."""
        return self._weighted(coefficients).fusion(self.state, *self.batches.cut(images, noise, 1), rate)

    def _weighted(self, coefficients: dict[str, Number]) -> Step:
        if not coefficients:
            return self.step
        like = next(self.state.fusion.parameters())
        return self.step.weighted(**{name: as_factor(value, like) for name, value in coefficients.items()})
