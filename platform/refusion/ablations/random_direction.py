"""Outer steps along random directions: is it the meta-gradient that helps, or only that P moves?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refusion.meta.adam import Number
from refusion.meta.state import TrainingState


def move_at_random(state: TrainingState, seed: int) -> None:
    """Lets every meta-gradient that ``state.outer`` is given be one of the same norm in a random direction.

    The direction is a function of ``seed`` and of the meta-iteration alone, so that a resumed training goes on with
    those that it would have had.
    """
    add = state.outer.add

    def add_random(gradients: Sequence[Tensor], rate: Number, finite: Tensor | None = None) -> bool:
        if gradients[0].is_cuda and torch.cuda.is_current_stream_capturing():
            # A captured step would repeat its first direction for ever.
            raise RuntimeError("random directions are drawn anew at each step")
        generator = torch.Generator().manual_seed(hash((seed, state.meta_steps)) % 2**63)
        return add(random_alike(gradients, generator), rate, finite)

    # An instance's own attribute stands before the method of its class.
    state.outer.add = add_random  # type: ignore[method-assign]


def random_alike(gradients: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Returns normal tensors of the same shapes, scaled so that each has the norm of the given one."""
    found = []
    for gradient in gradients:
        drawn = torch.randn(gradient.shape, generator=generator, dtype=gradient.dtype).to(gradient.device)
        found.append(drawn * (gradient.norm() / drawn.norm().clamp_min(1e-30)))
    return found
