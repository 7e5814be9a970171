"""Signals of one epoch, gathered without waiting for the device: see `refusion.meta.signals` and docs/mlflow.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from refusion.images.dataset import evenly_spaced
from refusion.meta.signals import cosine, norm, weight_signals
from refusion.meta.state import TrainingState
from refusion.meta.steps import Step
from refusion.networks.loss_proposal import propose
from refusion.runtime.distributed import Shard, average_over_workers
from refusion.training.reports import Losses

Images = Callable[[], tuple[Tensor, Tensor | None]]
"""Gives a step's images (parts, B, 2, H, W) and the channel's noise for them, where somebody looks."""

PREFIX = "signal/"
# Two meta-gradients of half a batch cost as much as a meta-iteration, so that this is a share of 4 % at most.
_ITERATIONS_PER_LOOK = 25
_MOST_LOOKS = 4
# Fewer cosines than this say nothing of noise.
_ENOUGH = 10
_AGREE = 0.1
_COLLAPSED = 0.9


@dataclass
class EpochSignals:
    """Sums of an epoch's signals, on the device.

    Args:
        state: of the training.
        step: its steps.
        shard: this worker's rank and the number of workers.
        iterations, fusion_steps: of the epoch.
    """

    state: TrainingState
    step: Step
    shard: Shard
    iterations: int
    fusion_steps: int
    sums: Losses = field(default_factory=lambda: Losses(prefix=PREFIX))
    previous: Tensor | None = None

    def after_meta_iteration(self, done: int, drawn: Images, inner_rate: float) -> None:
        """Looks at the meta-gradient that iteration number ``done`` (from 1) has found for the images drawn for it."""
        latest = self.state.outer.latest.clone()
        self.sums.add({"meta_gradient_norm": norm(latest)})
        if self.previous is not None:
            self.sums.add({"meta_gradient_cosine": cosine(self.previous, latest)})
        self.previous = latest
        looks = min(self.iterations // _ITERATIONS_PER_LOOK, _MOST_LOOKS)
        if done - 1 in evenly_spaced(self.iterations, looks):
            halves = self._halves(*drawn(), inner_rate)
            if halves is not None:
                self.sums.add({"half_batch_cosine": cosine(*halves)})

    @torch.no_grad()
    def before_fusion_update(self, done: int, drawn: Images) -> None:
        """Looks at the weights proposed for the images (1, B, 2, H, W) of fusion update number ``done`` (from 1)."""
        if self.iterations and done - 1 in evenly_spaced(self.fusion_steps, _MOST_LOOKS):
            images, _ = drawn()
            self.sums.add(weight_signals(propose(self.state.loss_proposal, images[0], swap=False), images[0]))

    def _halves(self, images: Tensor, noise: Tensor | None, inner_rate: float) -> tuple[Tensor, Tensor] | None:
        """Meta-gradients of the two halves of the global batch; None where it has none of whole workers or pairs."""
        mine, workers = images.shape[1], self.shard.world
        if workers == 1:
            if mine < 2:
                return None
            half = mine // 2
            first, second = (
                self.step.meta_gradient(
                    self.state, images[:, part], None if noise is None else noise[:, part], inner_rate
                )
                for part in (slice(0, half), slice(mine - half, mine))
            )
            return first, second
        if workers % 2:
            return None
        own = self.step.meta_gradient(self.state, images, noise, inner_rate)
        is_first = self.shard.rank < workers // 2
        nothing = torch.zeros_like(own)
        # Each mean is over all workers, half of which have nothing to give.
        pair = [average_over_workers(2 * (own if is_mine else nothing)) for is_mine in (is_first, not is_first)]
        return pair[0], pair[1]

    def warnings(self, numbers: Mapping[str, float]) -> Iterator[tuple[str, str]]:
        """Yields (kind, sentence) for what the epoch's numbers, means over workers, should make a user look at."""
        cosines = [numbers.get(f"{PREFIX}{name}") for name in ("meta_gradient_cosine", "half_batch_cosine")]
        known = [value for value in cosines if value is not None]
        if self.iterations > _ENOUGH and known and max(known) < _AGREE:
            shown = " and ".join(f"{value:.2f}" for value in known)
            kinds = "of successive ones" + (" and of a batch's halves" if len(known) == 2 else "")
            yield (
                "noise",
                f"meta-gradients of different batches do not agree (cosine {kinds}: {shown}): raise images.batch or "
                "outer.accumulate",
            )
        for letter, name in (("w", "intensity"), ("v", "gradient")):
            saturated = numbers.get(f"{PREFIX}{letter}_saturated", 0.0)
            if saturated > _COLLAPSED:
                mean = numbers[f"{PREFIX}{letter}_mean"]
                yield (
                    f"collapse of {letter}",
                    f"the {name} weights have collapsed: {saturated:.0%} of them are above 0.99 or below 0.01 (mean of "
                    f"source a: {mean:.2f}), where they hardly learn any more; lower outer.ratio, or set "
                    "network.centred true",
                )
