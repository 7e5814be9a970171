"""The three phases of ReFusion's meta-training: inner update, outer update, fusion update.

docs/method.md describes them ("The three phases").
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from refusion.meta.functional import Average, flatten, identity, split
from refusion.meta.metagradient import meta_gradient_along, unroll
from refusion.meta.state import TrainingState
from refusion.objectives import FusionLoss, Loss, Reward, reconstruction_loss

Module = TypeVar("Module", bound=nn.Module)


def doubled(sources: Tensor, swap: bool) -> tuple[Tensor, Tensor]:
    """Returns the batch with its swapped copies, and the sources that R is to rebuild from it.

    Args:
        sources: (B, 2, H, W), a and b in [0, 1].
        swap: whether to append each pair with its sources exchanged (published).

    Returns:
        ``(fed, targets)``, each (2B, 2, H, W) with swap, else ``sources`` twice. Targets keep the order (a, b).
    """
    if not swap:
        return sources, sources
    return torch.cat([sources, sources.flip(1)]), torch.cat([sources, sources])


def adapt_reconstruction(
    reconstruction: Module,
    fused: Sequence[Tensor],
    targets: Sequence[Tensor],
    rates: Sequence[float],
    *,
    reward: Reward = reconstruction_loss,
    average: Average = identity,
) -> Module:
    """Returns R′: R after one plain gradient step on L_r per inner step, the fused images given and detached.

    Args:
        reconstruction: left as it is; the adapted module is a copy.
        fused: K tensors (B, 1, H, W), the images of the inner steps.
        targets: K tensors (B, 2, H, W), the sources to be rebuilt from them.
        rates: K step sizes.
        reward: L_r.
        average: applied to each step's flat gradient, where workers must agree.
    """
    adapted = copy.deepcopy(reconstruction)
    parameters = list(adapted.parameters())
    for image, target, rate in zip(fused, targets, rates, strict=True):
        loss = reward(adapted(image.detach()), target)
        flat = average(flatten(_gradients(loss, parameters)))
        with torch.no_grad():
            for parameter, gradient in zip(parameters, split(flat, parameters), strict=True):
                parameter.sub_(gradient, alpha=rate)
    return adapted


def meta_iteration(
    state: TrainingState,
    meta_train: Tensor,
    meta_test: Tensor,
    *,
    inner_rates: Sequence[float],
    outer_rate: float,
    loss: Loss,
    reward: Reward = reconstruction_loss,
    swap: bool = True,
    average: Average = identity,
) -> dict[str, Tensor]:
    """Runs one inner update and one outer update: P learns, F and R are put back.

    Args:
        state: modules and optimisers; P and the outer optimiser change.
        meta_train: (K, B, 2, H, W), the batches of the K inner steps.
        meta_test: (B, 2, H, W), the batch that the outer loss is measured on.
        inner_rates: η of each inner step.
        outer_rate: size of the outer step.
        loss: L_f.
        reward: L_r.
        swap: double each batch with its swapped copies.
        average: applied to flat gradients, where workers must agree.

    Returns:
        ``inner`` (mean L_f over the inner steps) and ``outer`` (L_r after them), this worker's, detached, 0-dim.
    """
    fed, targets = zip(*(doubled(batch, swap) for batch in meta_train), strict=True)
    test_fed, test_targets = doubled(meta_test, swap)
    train_fed = torch.stack(fed)
    trajectory = unroll(state.fusion, state.loss_proposal, train_fed, inner_rates, loss=loss, average=average)
    with record_function("adapt R"):
        adapted = adapt_reconstruction(
            state.reconstruction, trajectory.fused, targets, inner_rates, reward=reward, average=average
        )
    gradients, outer_loss = meta_gradient_along(
        trajectory,
        state.fusion,
        state.loss_proposal,
        adapted,
        train_fed,
        test_fed,
        inner_rates,
        loss=loss,
        reward=reward,
        targets=test_targets,
        average=average,
    )
    state.outer.add(gradients, outer_rate)
    return {"inner": torch.stack(trajectory.inner_losses).mean().detach(), "outer": outer_loss.detach()}


def fusion_update(
    state: TrainingState,
    sources: Tensor,
    *,
    rate: float,
    loss: Loss,
    reward: Reward = reconstruction_loss,
    swap: bool = True,
    average: Average = identity,
) -> dict[str, Tensor]:
    """Takes one Adam step of F on L_f with P frozen, and one of R on L_r with the fused image detached.

    Args:
        state: modules and optimisers; F, R and their optimisers change.
        sources: (B, 2, H, W) in [0, 1].
        rate: learning rate of both.
        loss: L_f.
        reward: L_r.
        swap: double the batch with its swapped copies.
        average: applied to the one flat gradient of F and R together, where workers must agree.

    Returns:
        ``fusion`` (L_f) and ``reconstruction`` (L_r); with the published loss also its terms ``fusion_intensity``
        (L_int) and ``fusion_gradient`` (L_grad), which unlike L_f can be compared from epoch to epoch while β ramps up.
        All are this worker's, detached, 0-dim.
    """
    fed, targets = doubled(sources, swap)
    with torch.no_grad(), record_function("fusion: weights"):
        weights = state.loss_proposal(fed)
    fusion_parameters = list(state.fusion.parameters())
    reconstruction_parameters = list(state.reconstruction.parameters())
    with record_function("fusion: F"):
        fused = state.fusion(fed)
        terms: dict[str, Tensor] = {}
        if isinstance(loss, FusionLoss):
            terms["fusion_intensity"], terms["fusion_gradient"] = loss.terms(fused, fed, weights)
            fusion_term = loss.combined(*terms.values())
        else:
            fusion_term = loss(fused, fed, weights)
        fusion_gradients = _gradients(fusion_term, fusion_parameters)
    with record_function("fusion: R"):
        reconstruction_term = reward(state.reconstruction(fused.detach()), targets)
        reconstruction_gradients = _gradients(reconstruction_term, reconstruction_parameters)

    parameters = fusion_parameters + reconstruction_parameters
    flat = average(flatten((*fusion_gradients, *reconstruction_gradients)))
    with record_function("fusion: optimisers"):
        for parameter, gradient in zip(parameters, split(flat, parameters), strict=True):
            parameter.grad = gradient
        for optimiser in (state.fusion_adam, state.reconstruction_adam):
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    losses = {"fusion": fusion_term, **terms, "reconstruction": reconstruction_term}
    return {name: value.detach() for name, value in losses.items()}


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Returns ∂loss/∂parameters; zeros where a module of the user's has parameters that it does not use."""
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
