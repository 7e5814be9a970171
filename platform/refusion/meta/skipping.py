"""Steps whose loss or gradient is not finite: found by all workers alike, and left out without waiting for a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refusion.meta.functional import Average

SKIPPED = "skipped"
"""Key among a step's results: 1 where it was left out, else 0."""


@torch.no_grad()
def marked(flat: Tensor, losses: Sequence[Tensor]) -> Tensor:
    """Returns a flat gradient whose first element is NaN where a loss is not finite, changed in place.

    So the one all-reduce that averages gradients tells every worker of another's loss.
    """
    flat[:1] = torch.where(torch.isfinite(torch.stack([loss.detach() for loss in losses])).all(), flat[:1], torch.nan)
    return flat


def finite_on_all(gradients: Sequence[Tensor], losses: Sequence[Tensor], average: Average) -> Tensor:
    """Tells if averaged gradients and every worker's own losses are finite: boolean of no dimension, equal on all.

    For gradients that were averaged where nothing could be `marked`.
    """
    given = [*gradients, *losses]
    good = torch.stack([torch.isfinite(tensor.detach()).all() for tensor in given]).all()
    return average((~good).to(torch.float32).reshape(1))[0] == 0


@torch.no_grad()
def without(losses: dict[str, Tensor], finite: Tensor) -> dict[str, Tensor]:
    """Returns a step's losses, which are NaN where it was left out, and `SKIPPED`."""
    found = {name: torch.where(finite, loss.detach(), torch.nan) for name, loss in losses.items()}
    return found | {SKIPPED: (~finite).to(torch.float32)}


def step_if(finite: Tensor, adam: torch.optim.Adam) -> None:
    """Takes Adam's step where ``finite`` is true, and otherwise leaves parameters, moments and count as they are.

    Args:
        finite: boolean of no dimension.
        adam: whose gradients are finite in any case, as zeros.
    """
    if any(group["capturable"] for group in adam.param_groups):
        step_on_device(finite, adam)
    elif finite:
        adam.step()


@torch.no_grad()
def step_on_device(finite: Tensor, adam: torch.optim.Adam) -> None:
    """Does as `step_if` without reading the condition, so that a CUDA graph can hold it; the numbers are the same."""
    before = torch._foreach_mul(_changed_by(adam), 1.0)
    adam.step()
    changed = _changed_by(adam)
    taken = finite.to(torch.float32)
    # One of the two is multiplied by 1 and the other by 0. Moments that this very step has made were 0 before.
    torch._foreach_mul_(changed, taken)
    torch._foreach_mul_(before, 1 - taken)
    torch._foreach_add_(changed[: len(before)], before)


def _changed_by(adam: torch.optim.Adam) -> list[Any]:
    parameters = [parameter for group in adam.param_groups for parameter in group["params"]]
    return parameters + [value for parameter in parameters for value in adam.state.get(parameter, {}).values()]
