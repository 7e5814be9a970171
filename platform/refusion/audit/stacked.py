"""Many fits at once on a GPU: their R's are stacked, so that one kernel does for all what would be a kernel for each.

One fit alone leaves a GPU waiting for launches; so many cost little more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from refusion.audit.fit import RATE, Pictures, batches, set_rate, start, val_crops
from refusion.audit.options import FitOptions
from refusion.networks.reference import ReferenceReconstructionModule
from refusion.objectives import Reward


def fit_stacked(
    train: Sequence[Pictures],
    val: Sequence[Pictures],
    reward: Reward,
    options: Sequence[FitOptions],
    device: torch.device | str,
) -> list[list[float]]:
    """Fits as `fit_reward` does, all at once; a loss differs from that of a single fit by rounding alone.

    Args:
        train, val: pictures of each fit; the val pictures of all fits have the same sizes.
        reward: the loss, of rebuilt and true sources (B, 2, H, W); runs under `torch.func.vmap`.
        options: of each fit, alike but for the seed.
        device: where it is computed.

    Returns:
        Of each fit, the loss on each val picture.

    Raises:
        ValueError: the options differ in more than the seed.
    """
    if len({replace(one, seed=0) for one in options}) != 1:
        raise ValueError("stacked fits may differ in their seeds only")
    place = torch.device(device)
    modules = [start(ReferenceReconstructionModule, one).to(place) for one in options]
    stacked, _ = stack_module_state(modules)
    module = modules[0]

    def loss(parameters: dict[str, Tensor], seen: Tensor, sources: Tensor) -> Tensor:
        return reward(functional_call(module, parameters, (seen,)), sources)

    gradients = vmap(grad(loss))
    optimizer = torch.optim.Adam(stacked.values(), lr=RATE, foreach=True)
    steps = options[0].steps
    each = zip(*(batches(pictures, one, place) for pictures, one in zip(train, options, strict=True)), strict=True)
    for step, of_fits in enumerate(each):
        set_rate(optimizer, step, steps)
        detached = {name: parameter.detach() for name, parameter in stacked.items()}
        found = gradients(detached, *(torch.stack(part) for part in zip(*of_fits, strict=True)))
        for name, parameter in stacked.items():
            parameter.grad = found[name]
        optimizer.step()
    losses = []
    with torch.no_grad():
        crops = (val_crops(pictures, one, place) for pictures, one in zip(val, options, strict=True))
        for of_fits in zip(*crops, strict=True):
            losses.append(vmap(loss)(stacked, *(torch.stack(part) for part in zip(*of_fits, strict=True))))
    found_losses: list[list[float]] = torch.stack(losses, dim=1).tolist()
    return found_losses
