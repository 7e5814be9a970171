"""The exact meta-gradient without a second-order graph.

The loss proposal module P reaches the fusion loss L_f only through the weights w, and the fusion module F only
through the fused image f. So the mixed second derivative collapses onto the image. With λ_K = ∂L_r/∂θ_K, for
k = K−1 … 0:

    u_k = J_F(θ_k; x_k) · λ_{k+1}          forward mode: an image
    s_k = ⟨∂L_f(f_k, w_k)/∂f_k, u_k⟩       pixel by pixel
    ∂L_r/∂θ_P −= η_k · ∂s_k/∂θ_P           down to w_k, then one ordinary backward pass through P
    λ_k = λ_{k+1} − η_k · H_k λ_{k+1}      H_k, the Hessian of L_f in θ_k; k ≥ 1

Between steps only K+1 parameter vectors and a few images per step are kept, and each graph is freed before the next
is built. The modules are called with copies of their parameters and buffers, so they stay exactly as they were.

Source: the meta-learning loop of ReFusion (arXiv 2312.07943); the arrangement is ours, and `by_autograd` is what it
must equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn
from torch.profiler import record_function

from refusion.meta.curvature import Loss, curvature_along, tangent_of_image
from refusion.meta.functional import call, flatten, leaf, unflatten
from refusion.objectives import FusionWeights, GradientTerm, fusion_loss, reconstruction_loss

Average = Callable[[torch.Tensor], torch.Tensor]
"""Takes one flat vector of this worker and returns the mean over all workers (a plain all-reduce)."""


def identity(vector: torch.Tensor) -> torch.Tensor:
    """The average over a single worker."""
    return vector


@dataclass
class Trajectory:
    """What the inner update leaves behind, all of it detached.

    `parameters` holds K+1 flat vectors θ_0 … θ_K, in the order of `fusion.parameters()`; the other lists hold, for
    each of the K steps, the fused image f_k (B, 1, H, W), the proposed weights w_k and this worker's inner loss.
    """

    parameters: list[torch.Tensor]
    fused: list[torch.Tensor] = field(default_factory=list)
    weights: list[FusionWeights] = field(default_factory=list)
    inner_losses: list[torch.Tensor] = field(default_factory=list)


def unroll(
    fusion: nn.Module,
    loss_proposal: nn.Module,
    meta_train: torch.Tensor,
    inner_rates: Sequence[float],
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    gradient: GradientTerm = "learned",
    average: Average = identity,
) -> Trajectory:
    """The inner update: K gradient steps of the fusion module on the proposed loss.

    θ_{k+1} = θ_k − η_k ∇_θ L_f(F(θ_k; x_k), P(x_k)); the module itself keeps θ_0.

    Args:
        meta_train: (K, B, 2, H, W) in [0, 1], one batch per step.
        inner_rates: the K rates η_k.
        average: applied to each step's gradient.
    """
    loss_of = partial(fusion_loss, alpha=alpha, beta=beta, gradient=gradient)
    proposal = flatten(loss_proposal.parameters())
    trajectory = Trajectory([flatten(fusion.parameters())])
    for x, rate in zip(meta_train, inner_rates, strict=True):
        with torch.no_grad(), record_function("propose weights"):
            weights: FusionWeights = call(loss_proposal, proposal, x)
        slope, loss, fused = _inner_gradient(fusion, trajectory.parameters[-1], x, weights, loss_of)
        trajectory.parameters.append(trajectory.parameters[-1] - rate * average(slope))
        trajectory.fused.append(fused)
        trajectory.weights.append(weights)
        trajectory.inner_losses.append(loss)
    return trajectory


def meta_gradient_along(
    trajectory: Trajectory,
    fusion: nn.Module,
    loss_proposal: nn.Module,
    reconstruction: nn.Module,
    meta_train: torch.Tensor,
    meta_test: torch.Tensor,
    inner_rates: Sequence[float],
    *,
    targets: torch.Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    gradient: GradientTerm = "learned",
    average: Average = identity,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The meta-gradient through an inner update that was unrolled before.

    Arguments are those of `meta_gradient`; what `unroll` takes too must be the same as there.

    Returns:
        One tensor per parameter of `loss_proposal` (zeros where it has no influence), averaged; and this worker's outer
        loss L_r(R(F(θ_K; y))), a scalar.
    """
    loss_of = partial(fusion_loss, alpha=alpha, beta=beta, gradient=gradient)
    targets = meta_test if targets is None else targets
    slope, outer_loss = _outer_gradient(fusion, reconstruction, trajectory.parameters[-1], meta_test, targets)
    ahead = average(slope)  # λ_{k+1}
    proposal = flatten(loss_proposal.parameters())
    total = torch.zeros_like(proposal)
    for k in reversed(range(len(inner_rates))):
        x, rate, theta, fused = meta_train[k], inner_rates[k], trajectory.parameters[k], trajectory.fused[k]
        weights = trajectory.weights[k]
        if k == 0:
            tangent = tangent_of_image(fusion, theta, ahead, x)
        else:
            curvature, tangent = curvature_along(fusion, theta, ahead, x, weights, loss_of)
            ahead = ahead - rate * average(curvature)
        slopes = _slopes_in_weights(fused, tangent, x, weights, loss_of)
        total -= rate * _pull_back(loss_proposal, proposal, x, slopes)
    return list(unflatten(average(total), loss_proposal).values()), outer_loss


def meta_gradient(
    fusion: nn.Module,
    loss_proposal: nn.Module,
    reconstruction: nn.Module,
    meta_train: torch.Tensor,
    meta_test: torch.Tensor,
    inner_rates: Sequence[float],
    *,
    targets: torch.Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    gradient: GradientTerm = "learned",
    average: Average = identity,
) -> list[torch.Tensor]:
    """The gradient, in the loss proposal module's parameters, of the reconstruction loss after the inner update.

    Args:
        reconstruction: used as it is given; its own inner update is the caller's.
        meta_train: (K, B, 2, H, W) in [0, 1], one batch per inner step.
        meta_test: (B, 2, H, W) in [0, 1].
        inner_rates: the K rates η_k.
        targets: what `reconstruction` is to rebuild, (B, 2, H, W); `meta_test` unless given.
        alpha, beta, gradient: as in `refusion.objectives.fusion_loss`.
        average: applied to each flat gradient that workers must agree on.

    Returns:
        One tensor per parameter of `loss_proposal`; zeros where it has no influence.
    """
    trajectory = unroll(
        fusion, loss_proposal, meta_train, inner_rates, alpha=alpha, beta=beta, gradient=gradient, average=average
    )
    gradients, _ = meta_gradient_along(
        trajectory,
        fusion,
        loss_proposal,
        reconstruction,
        meta_train,
        meta_test,
        inner_rates,
        targets=targets,
        alpha=alpha,
        beta=beta,
        gradient=gradient,
        average=average,
    )
    return gradients


def _inner_gradient(
    fusion: nn.Module,
    theta: torch.Tensor,
    x: torch.Tensor,
    weights: FusionWeights,
    loss_of: Loss,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """∇_θ L_f, L_f and the fused image, all detached."""
    theta = leaf(theta)
    with torch.enable_grad(), record_function("inner gradient"):
        fused = call(fusion, theta, x)
        loss = loss_of(fused, x, weights)
        (slope,) = torch.autograd.grad(loss, theta)
    return slope, loss.detach(), fused.detach()


def _outer_gradient(
    fusion: nn.Module, reconstruction: nn.Module, theta: torch.Tensor, y: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """λ = ∂L_r/∂θ and L_r, both detached."""
    theta = leaf(theta)
    with torch.enable_grad(), record_function("outer gradient"):
        rebuilt = call(reconstruction, flatten(reconstruction.parameters()), call(fusion, theta, y))
        loss = reconstruction_loss(rebuilt, targets)
        (slope,) = torch.autograd.grad(loss, theta)
    return slope, loss.detach()


def _slopes_in_weights(
    fused: torch.Tensor,
    change: torch.Tensor,
    x: torch.Tensor,
    weights: FusionWeights,
    loss_of: Loss,
) -> list[torch.Tensor]:
    """∂s/∂w of s = ⟨∂L_f(f, w)/∂f, u⟩, per pair of weights: the one mixed second derivative, pixel by pixel."""
    image = leaf(fused)
    free = FusionWeights(leaf(weights.intensity), None if weights.gradient is None else leaf(weights.gradient))
    with torch.enable_grad():
        loss = loss_of(image, x, free)
        (slope,) = torch.autograd.grad(loss, image, create_graph=True)
        s = (slope * change).sum()
    return list(torch.autograd.grad(s, _pairs(free), allow_unused=True, materialize_grads=True))


def _pull_back(
    loss_proposal: nn.Module, proposal: torch.Tensor, x: torch.Tensor, slopes: list[torch.Tensor]
) -> torch.Tensor:
    """∂s/∂θ_P from ∂s/∂w: one ordinary backward pass through the loss proposal module."""
    proposal = leaf(proposal)
    with torch.enable_grad(), record_function("pull back"):
        weights: FusionWeights = call(loss_proposal, proposal, x)
        (result,) = torch.autograd.grad(_pairs(weights), proposal, slopes)
    return result


def _pairs(weights: FusionWeights) -> list[torch.Tensor]:
    return [pair for pair in weights if pair is not None]
