"""Steps of the loss proposal module along an accumulated meta-gradient: the published normalised step, or Adam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refusion.config.settings import OuterSettings
from refusion.meta.adam import Number, as_factor, load_adam, rated_adam, set_rate
from refusion.meta.functional import flatten
from refusion.meta.skipping import step_if


class OuterOptimiser:
    """Adds meta-gradients up and, every ``accumulate`` meta-iterations, moves the parameters.

    The normalised step (published) divides the sum by its largest absolute element and goes ``rate`` along it, so
    that every step has the same max-norm whatever the size of the meta-gradient. Adam's eps is a setting because
    raw meta-gradients are as small as 1e-8, Adam's usual eps.

    Args:
        parameters: of the loss proposal module.
        settings: kind of step, how many meta-gradients make one step, Adam's eps.

    Attributes:
        count: meta-gradients since the last step.
        added: how many of them were finite, in memory that stays where it is.
        latest: the last meta-gradient that was added, one flat vector, in memory that stays where it is.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], settings: OuterSettings) -> None:
        self.parameters = list(parameters)
        self.settings = settings
        self.sums = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.count = 0
        self.added = self.sums[0].new_zeros(()) if self.sums else torch.zeros(())
        self.latest = torch.zeros_like(flatten(self.parameters)) if self.parameters else torch.zeros(0)
        # A fixed loss proposal has no parameters, and torch's optimisers want some.
        adam = self._is_adam and bool(self.parameters)
        self.adam = rated_adam(self.parameters, settings.adam_eps) if adam else None

    @property
    def _is_adam(self) -> bool:
        return self.settings.kind == "adam"

    @property
    def completes(self) -> bool:
        """True where the next meta-iteration's gradients complete a step."""
        return self.count + 1 >= self.settings.accumulate

    @torch.no_grad()
    def add(self, gradients: Sequence[Tensor], rate: Number, finite: Tensor | None = None) -> bool:
        """Adds one meta-iteration's gradients; returns true when that completed a step of size ``rate``.

        Gradients that are not ``finite`` (a boolean of no dimension, by default true) count and add nothing; a step
        that has no others moves nothing.
        """
        self.latest.copy_(flatten(gradients))
        if finite is None:
            torch._foreach_add_(self.sums, list(gradients))
            self.added += 1
        else:
            torch._foreach_add_(self.sums, [torch.where(finite, gradient, 0.0) for gradient in gradients])
            self.added += finite
        self.count += 1
        if self.count < self.settings.accumulate:
            return False
        self._step(rate)
        torch._foreach_zero_(self.sums)
        self.added.zero_()
        self.count = 0
        return True

    def _step(self, rate: Number) -> None:
        if self.adam is not None:
            for parameter, total in zip(self.parameters, self.sums, strict=True):
                parameter.grad = total.clone()
            set_rate(self.adam, rate)
            step_if(self.added > 0, self.adam)
            self.adam.zero_grad(set_to_none=True)
            return
        largest = torch.stack([total.abs().max() for total in self.sums]).max()
        # A meta-gradient of exactly zero moves nothing; where() keeps the device from being waited for.
        # As a number divided by a tensor is computed, so that a rate that is a tensor rounds alike.
        scale = torch.where(largest > 0, largest.reciprocal() * as_factor(rate, largest), torch.zeros_like(largest))
        for parameter, total in zip(self.parameters, self.sums, strict=True):
            parameter.sub_(total * scale)

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums so far, their count and Adam's moments, which a resume needs."""
        adam = self.adam.state_dict() if self.adam is not None else None
        sums = [total.clone() for total in self.sums]
        return {"sums": sums, "count": self.count, "added": float(self.added), "adam": adam}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from ``state_dict()`` of an optimiser with the same settings and shapes."""
        for mine, theirs in zip(self.sums, state["sums"], strict=True):
            mine.copy_(theirs)
        self.count = int(state["count"])
        # Older checkpoints hold finite ones alone.
        self.added.fill_(state.get("added", self.count))
        if self.adam is not None:
            load_adam(self.adam, state["adam"])
