"""The three phases of ReFusion's meta-training: inner update, outer update, fusion update (METHOD: section 2)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from refusion.meta.functional import flatten
from refusion.meta.metagradient import Average, identity, meta_gradient_along, unroll
from refusion.meta.state import TrainingState
from refusion.objectives import GradientTerm, fusion_loss_terms, reconstruction_loss


@dataclass(frozen=True)
class Coefficients:
    """α and β of the fusion loss at this moment, and which gradient term it has."""

    alpha: float = 1.0
    beta: float = 1.0
    gradient: GradientTerm = "learned"


def doubled(sources: Tensor, swap: bool) -> tuple[Tensor, Tensor]:
    """The batch with its swapped copies, and what R is to rebuild from it.

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
    reconstruction: nn.Module,
    fused: Sequence[Tensor],
    targets: Sequence[Tensor],
    rates: Sequence[float],
    average: Average = identity,
) -> nn.Module:
    """R → R': one plain gradient step on L_r per inner step, the fused images given and detached.

    Args:
        reconstruction: left as it is; the adapted module is a copy.
        fused: K tensors (B, 1, H, W), the images of the inner steps.
        targets: K tensors (B, 2, H, W), what is to be rebuilt from them.
        rates: K step sizes.
        average: applied to each step's flat gradient, where workers must agree.
    """
    adapted = copy.deepcopy(reconstruction)
    parameters = list(adapted.parameters())
    for image, target, rate in zip(fused, targets, rates, strict=True):
        loss = reconstruction_loss(adapted(image.detach()), target)
        flat = average(flatten(_gradients(loss, parameters)))
        with torch.no_grad():
            for parameter, gradient in zip(parameters, _split(flat, parameters), strict=True):
                parameter.sub_(gradient, alpha=rate)
    return adapted


def meta_iteration(
    state: TrainingState,
    meta_train: Tensor,
    meta_test: Tensor,
    *,
    inner_rates: Sequence[float],
    outer_rate: float,
    coefficients: Coefficients,
    swap: bool = True,
    average: Average = identity,
) -> dict[str, Tensor]:
    """One inner update and one outer update: P learns, F and R are put back.

    Args:
        state: modules and optimisers; P and the outer optimiser change.
        meta_train: (K, B, 2, H, W), the batches of the K inner steps.
        meta_test: (B, 2, H, W), the batch that the outer loss is measured on.
        inner_rates: η of each inner step.
        outer_rate: size of the outer step.
        coefficients: of the fusion loss.
        swap: double each batch with its swapped copies.
        average: applied to flat gradients, where workers must agree.

    Returns:
        ``inner`` (mean L_f over the inner steps) and ``outer`` (L_r after them), this worker's, detached, 0-dim.
    """
    fed, targets = zip(*(doubled(batch, swap) for batch in meta_train), strict=True)
    test_fed, test_targets = doubled(meta_test, swap)
    train_fed = torch.stack(fed)
    loss: dict[str, Any] = {
        "alpha": coefficients.alpha,
        "beta": coefficients.beta,
        "gradient": coefficients.gradient,
        "average": average,
    }
    trajectory = unroll(state.fusion, state.loss_proposal, train_fed, inner_rates, **loss)
    with record_function("adapt R"):
        adapted = adapt_reconstruction(state.reconstruction, trajectory.fused, targets, inner_rates, average)
    gradients, outer_loss = meta_gradient_along(
        trajectory,
        state.fusion,
        state.loss_proposal,
        adapted,
        train_fed,
        test_fed,
        inner_rates,
        targets=test_targets,
        **loss,
    )
    state.outer.add(gradients, outer_rate)
    return {"inner": torch.stack(trajectory.inner_losses).mean().detach(), "outer": outer_loss.detach()}


def fusion_update(
    state: TrainingState,
    sources: Tensor,
    *,
    rate: float,
    coefficients: Coefficients,
    swap: bool = True,
    average: Average = identity,
) -> dict[str, Tensor]:
    """One Adam step of F on L_f with P frozen, and one of R on L_r with the fused image detached.

    Args:
        state: modules and optimisers; F, R and their optimisers change.
        sources: (B, 2, H, W) in [0, 1].
        rate: learning rate of both.
        coefficients: of the fusion loss.
        swap: double the batch with its swapped copies.
        average: applied to the one flat gradient of F and R together, where workers must agree.

    Returns:
        ``fusion`` (L_f), its parts ``fusion_intensity`` (L_int) and ``fusion_gradient`` (L_grad) – unlike L_f they can
        be compared from epoch to epoch while β ramps up – and ``reconstruction`` (L_r), this worker's, detached, 0-dim.
    """
    fed, targets = doubled(sources, swap)
    with torch.no_grad(), record_function("fusion: weights"):
        weights = state.loss_proposal(fed)
    fusion_parameters = list(state.fusion.parameters())
    reconstruction_parameters = list(state.reconstruction.parameters())
    with record_function("fusion: F"):
        fused = state.fusion(fed)
        intensity_term, gradient_term = fusion_loss_terms(fused, fed, weights, coefficients.gradient)
        fusion_term = coefficients.alpha * intensity_term + coefficients.beta * gradient_term
        fusion_gradients = _gradients(fusion_term, fusion_parameters)
    with record_function("fusion: R"):
        reconstruction_term = reconstruction_loss(state.reconstruction(fused.detach()), targets)
        reconstruction_gradients = _gradients(reconstruction_term, reconstruction_parameters)

    parameters = fusion_parameters + reconstruction_parameters
    flat = average(flatten((*fusion_gradients, *reconstruction_gradients)))
    with record_function("fusion: optimisers"):
        for parameter, gradient in zip(parameters, _split(flat, parameters), strict=True):
            parameter.grad = gradient
        for optimiser in (state.fusion_adam, state.reconstruction_adam):
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    return {
        "fusion": fusion_term.detach(),
        "fusion_intensity": intensity_term.detach(),
        "fusion_gradient": gradient_term.detach(),
        "reconstruction": reconstruction_term.detach(),
    }


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """∂loss/∂parameters; zeros where a module of the user's has parameters that it does not use."""
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


def _split(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    pieces = torch.split(flat, [tensor.numel() for tensor in like])
    return [piece.view_as(tensor) for piece, tensor in zip(pieces, like, strict=True)]
