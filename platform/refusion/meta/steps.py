"""One step of a training as its loop takes it: a meta-iteration in either space, or a fusion update."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from refusion.meta.adam import Number
from refusion.meta.functional import Average, flatten, identity
from refusion.meta.phases import fusion_update, meta_iteration, meta_iteration_on_image
from refusion.meta.state import TrainingState
from refusion.objectives import FusionLoss, Loss, Reward

# PyTorch has one level of forward mode per process, which several trainings in threads of it must not share.
_FORWARD_MODE = threading.Lock()


@dataclass(frozen=True)
class Step:
    """Objectives and the ways of a step.

    Attributes:
        loss: L_f.
        reward: L_r.
        swap: double each batch with its swapped copies.
        average: applied to flat gradients, where workers must agree.
        inner_steps: K.
        on_image: the inner update moves the fused image, not F's parameters.
    """

    loss: Loss
    reward: Reward
    swap: bool
    average: Average
    inner_steps: int
    on_image: bool

    def meta(
        self, state: TrainingState, images: Tensor, noise: Tensor | None, inner_rate: Number, outer_rate: Number
    ) -> dict[str, Tensor]:
        """Runs a meta-iteration on images (parts, B, 2, H, W) and the channel's noise (parts, B, 1, H, W)."""
        given: dict[str, Any] = {"inner_rates": [inner_rate] * self.inner_steps, "outer_rate": outer_rate}
        given |= self._common
        if not self.on_image:
            with _FORWARD_MODE:
                return meta_iteration(state, images[:-1], images[-1], **given, noise=noise)
        seen = None if noise is None else noise.flatten(0, 1)
        return meta_iteration_on_image(state, images.flatten(0, 1), **given, noise=seen)

    def fusion(self, state: TrainingState, images: Tensor, noise: Tensor | None, rate: Number) -> dict[str, Tensor]:
        """Runs a fusion update on images (1, B, 2, H, W) and the channel's noise (1, B, 1, H, W)."""
        return fusion_update(state, images[0], rate=rate, **self._common, noise=None if noise is None else noise[0])

    def weighted(self, alpha: Number, beta: Number) -> Step:
        """Returns it with other coefficients of the fusion loss, which is the published one."""
        assert isinstance(self.loss, FusionLoss)
        return replace(self, loss=replace(self.loss, alpha=alpha, beta=beta))

    @property
    def _common(self) -> dict[str, Any]:
        return {"loss": self.loss, "reward": self.reward, "swap": self.swap, "average": self.average}

    def meta_gradient(self, state: TrainingState, images: Tensor, noise: Tensor | None, inner_rate: Number) -> Tensor:
        """Returns the meta-gradient of these images alone, one flat vector, this worker's; changes nothing."""
        caught = _Caught()
        apart = copy.copy(state)
        apart.outer = caught  # type: ignore[assignment]
        alone = Step(self.loss, self.reward, self.swap, identity, self.inner_steps, self.on_image)
        alone.meta(apart, images, noise, inner_rate, 0.0)
        return caught.gradient


class _Caught:
    """An outer optimiser that moves nothing and remembers what it was given."""

    gradient: Tensor

    def add(self, gradients: Sequence[Tensor], _rate: Number, _finite: Tensor) -> bool:
        self.gradient = flatten(gradients)
        return False
