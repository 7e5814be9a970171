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

from refusion.meta.adam import Number, can_be_captured, set_rate
from refusion.meta.functional import Average, flatten, identity, split
from refusion.meta.image_space import gradient_in_weights
from refusion.meta.metagradient import meta_gradient_along, unroll
from refusion.meta.skipping import finite_on_all, marked, step_if, without
from refusion.meta.state import TrainingState
from refusion.networks.loss_proposal import propose
from refusion.objectives import FusionLoss, FusionWeights, Loss, Reward, reconstruction_loss

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


def doubled_noise(noise: Tensor, swap: bool) -> Tensor:
    """Returns the channel's noise for `doubled` images: for the swapped copies the opposite, so that its mean is 0."""
    return torch.cat([noise, -noise]) if swap else noise


class ThroughChannel(nn.Module):
    """R behind a noisy channel: rebuilds the sources from the fused image plus the given noise, (B, 1, H, W)."""

    def __init__(self, reconstruction: nn.Module, noise: Tensor | None) -> None:
        super().__init__()
        self.reconstruction = reconstruction
        self.noise = noise

    def forward(self, fused: Tensor) -> Tensor:
        rebuilt: Tensor = self.reconstruction(fused if self.noise is None else fused + self.noise)
        return rebuilt


def adapt_reconstruction(
    reconstruction: Module,
    fused: Sequence[Tensor],
    targets: Sequence[Tensor],
    rates: Sequence[Number],
    *,
    reward: Reward = reconstruction_loss,
    average: Average = identity,
    noise: Sequence[Tensor | None] | None = None,
) -> Module:
    """Returns R′: R after one plain gradient step on L_r per inner step, the fused images given and detached.

    Args:
        reconstruction: left as it is; the adapted module is a copy.
        fused: K tensors (B, 1, H, W), the images of the inner steps.
        targets: K tensors (B, 2, H, W), the sources to be rebuilt from them.
        rates: K step sizes.
        reward: L_r.
        average: applied to each step's flat gradient, where workers must agree.
        noise: K tensors (B, 1, H, W) that the channel adds to the images.
    """
    adapted = copy.deepcopy(reconstruction)
    parameters = list(adapted.parameters())
    channel = [None] * len(fused) if noise is None else noise
    for image, target, rate, added in zip(fused, targets, rates, channel, strict=True):
        loss = reward(ThroughChannel(adapted, added)(image.detach()), target)
        flat = average(flatten(_gradients(loss, parameters)))
        with torch.no_grad():
            for parameter, gradient in zip(parameters, split(flat, parameters), strict=True):
                if isinstance(rate, Tensor) or can_be_captured(parameter.device):  # to round alike
                    parameter.sub_(rate * gradient)
                else:
                    parameter.sub_(gradient, alpha=rate)
    return adapted


def meta_iteration(
    state: TrainingState,
    meta_train: Tensor,
    meta_test: Tensor,
    *,
    inner_rates: Sequence[Number],
    outer_rate: Number,
    loss: Loss,
    reward: Reward = reconstruction_loss,
    swap: bool = True,
    average: Average = identity,
    noise: Tensor | None = None,
) -> dict[str, Tensor]:
    """Runs one inner update on F's parameters and one outer update: P learns, F and R are put back.

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
        noise: (K + 1, B, 1, H, W), added to fused images before R sees them; those of the meta-test batch last.

    Returns:
        ``inner`` (mean L_f over the inner steps) and ``outer`` (L_r after them), this worker's, detached, 0-dim; and
        ``skipped``: 1 where a loss or a gradient of any worker is not finite, so that P stays as it is, else 0.
    """
    fed, targets = zip(*(doubled(batch, swap) for batch in meta_train), strict=True)
    test_fed, test_targets = doubled(meta_test, swap)
    train_fed = torch.stack(fed)
    channel = [None] * (len(fed) + 1) if noise is None else [doubled_noise(part, swap) for part in noise]
    trajectory = unroll(state.fusion, state.loss_proposal, train_fed, inner_rates, loss=loss, average=average)
    with record_function("adapt R"):
        adapted = adapt_reconstruction(
            state.reconstruction,
            trajectory.fused,
            targets,
            inner_rates,
            reward=reward,
            average=average,
            noise=channel[:-1],
        )
    gradients, outer_loss = meta_gradient_along(
        trajectory,
        state.fusion,
        state.loss_proposal,
        ThroughChannel(adapted, channel[-1]),
        train_fed,
        test_fed,
        inner_rates,
        loss=loss,
        reward=reward,
        targets=test_targets,
        average=average,
    )
    losses = {"inner": torch.stack(trajectory.inner_losses).mean(), "outer": outer_loss}
    finite = finite_on_all(gradients, list(losses.values()), average)
    state.outer.add(gradients, outer_rate, finite)
    return without(losses, finite)


def meta_iteration_on_image(
    state: TrainingState,
    sources: Tensor,
    *,
    inner_rates: Sequence[Number],
    outer_rate: Number,
    loss: Loss,
    reward: Reward = reconstruction_loss,
    swap: bool = True,
    average: Average = identity,
    noise: Tensor | None = None,
) -> dict[str, Tensor]:
    """Runs one inner update on the fused image itself and one outer update: P learns, F and R stay as they are.

    R takes no inner step of its own. Arguments are those of `meta_iteration`, but for

    Args:
        sources: (B, 2, H, W), the pictures that both the inner and the outer loss are measured on.
        noise: (B, 1, H, W), added to the stepped images before R sees them.

    Returns:
        As `meta_iteration`.
    """
    fed, targets = doubled(sources, swap)
    with torch.no_grad(), record_function("fuse"):
        fused = state.fusion(fed)
    with torch.enable_grad(), record_function("propose weights"):
        weights = propose(state.loss_proposal, sources, swap)
    found = gradient_in_weights(
        fused,
        FusionWeights(weights.intensity.detach(), None if weights.gradient is None else weights.gradient.detach()),
        state.reconstruction,
        fed,
        inner_rates,
        loss=loss,
        targets=targets,
        noise=None if noise is None else doubled_noise(noise, swap),
        reward=reward,
    )
    parameters = list(state.loss_proposal.parameters())
    reached = [
        (pair, grad)
        for pair, grad in ((weights.intensity, found.intensity), (weights.gradient, found.gradient))
        if pair is not None and grad is not None
    ]
    with record_function("vjp of P"):
        grads = torch.autograd.grad(
            [pair for pair, _ in reached],
            parameters,
            [grad for _, grad in reached],
            allow_unused=True,
            materialize_grads=True,
        )
    losses = {"inner": found.inner_losses.mean(), "outer": found.outer_loss}
    flat = average(marked(flatten(grads), list(losses.values())))
    finite = torch.isfinite(flat).all()
    state.outer.add(split(flat, parameters), outer_rate, finite)
    return without(losses, finite)


def fusion_update(
    state: TrainingState,
    sources: Tensor,
    *,
    rate: Number,
    loss: Loss,
    reward: Reward = reconstruction_loss,
    swap: bool = True,
    average: Average = identity,
    noise: Tensor | None = None,
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
        noise: (B, 1, H, W), added to the fused images before R sees them.

    Returns:
        ``fusion`` (L_f) and ``reconstruction`` (L_r); with the published loss also its terms ``fusion_intensity``
        (L_int) and ``fusion_gradient`` (L_grad), which unlike L_f can be compared from epoch to epoch while β ramps up.
        All are this worker's, detached, 0-dim. And ``skipped``: 1 where a loss or a gradient of any worker is not
        finite, so that nothing changes, else 0.
    """
    fed, targets = doubled(sources, swap)
    with torch.no_grad(), record_function("fusion: weights"):
        weights = propose(state.loss_proposal, sources, swap)
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
        through_channel = ThroughChannel(state.reconstruction, None if noise is None else doubled_noise(noise, swap))
        reconstruction_term = reward(through_channel(fused.detach()), targets)
        reconstruction_gradients = _gradients(reconstruction_term, reconstruction_parameters)

    parameters = fusion_parameters + reconstruction_parameters
    mine = flatten((*fusion_gradients, *reconstruction_gradients))
    flat = average(marked(mine, (fusion_term, reconstruction_term)))
    finite = torch.isfinite(flat).all()
    flat = torch.where(finite, flat, 0.0)
    with record_function("fusion: optimisers"):
        for parameter, gradient in zip(parameters, split(flat, parameters), strict=True):
            parameter.grad = gradient
        for optimiser in (state.fusion_adam, state.reconstruction_adam):
            set_rate(optimiser, rate)
            step_if(finite, optimiser)
            optimiser.zero_grad(set_to_none=True)
    losses = {"fusion": fusion_term, **terms, "reconstruction": reconstruction_term}
    return without(losses, finite)


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Returns ∂loss/∂parameters; zeros where a module of the user's has parameters that it does not use."""
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
