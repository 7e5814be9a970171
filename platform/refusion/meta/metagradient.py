"""The exact meta-gradient without a second-order graph; docs/method.md derives it ("The exact meta-gradient").

The loss proposal module P reaches the fusion loss L_f only through the weights w, and the fusion module F only
through the fused image f. So the mixed second derivative collapses onto the image. With λ_K = ∂L_r/∂θ_K, for
k = K−1 … 0:

    u_k = J_F(θ_k; x_k) · λ_{k+1}          forward mode: an image
    s_k = ⟨∂L_f(f_k, w_k)/∂f_k, u_k⟩       pixel by pixel
    ∂L_r/∂θ_P −= η_k · ∂s_k/∂θ_P           down to w_k, then one ordinary backward pass through P
    λ_k = λ_{k+1} − η_k · H_k λ_{k+1}      H_k, the Hessian of L_f in θ_k; k ≥ 1

The losses L_f and L_r may be any that are differentiable, L_f twice: nothing above depends on their form.

Between steps only K+1 parameter vectors and a few images per step are saved, and each graph is freed before the next
is built. The modules are called with copies of their parameters and buffers, so they stay exactly as they were.

Source: the meta-learning loop of ReFusion (arXiv 2312.07943); the arrangement is ours, and `by_autograd` is what it
must equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.profiler import record_function

from refusion.meta.curvature import curvature_along, tangent_of_image
from refusion.meta.functional import Average, call, flatten, identity, leaf, split
from refusion.objectives import FusionLoss, FusionWeights, GradientTerm, Loss, Reward, reconstruction_loss
from refusion.ops.backend import float32_as_configured


@dataclass
class Trajectory:
    """Course of an inner update, all of it detached.

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
    inner_rates: Sequence[float | torch.Tensor],
    *,
    loss: Loss,
    average: Average = identity,
) -> Trajectory:
    """Runs the inner update: K gradient steps of the fusion module on the proposed loss.

    θ_{k+1} = θ_k − η_k ∇_θ L_f(F(θ_k; x_k), P(x_k)); the module itself keeps θ_0.

    Args:
        meta_train: (K, B, 2, H, W) in [0, 1], one batch per step.
        inner_rates: the K rates η_k.
        loss: L_f.
        average: applied to each step's gradient.
    """
    proposal = flatten(loss_proposal.parameters())
    trajectory = Trajectory([flatten(fusion.parameters())])
    for x, rate in zip(meta_train, inner_rates, strict=True):
        with torch.no_grad(), record_function("propose weights"):
            weights: FusionWeights = call(loss_proposal, proposal, x)
        grad, inner_loss, fused = _inner_grad(fusion, trajectory.parameters[-1], x, weights, loss)
        trajectory.parameters.append(trajectory.parameters[-1] - rate * average(grad))
        trajectory.fused.append(fused)
        trajectory.weights.append(weights)
        trajectory.inner_losses.append(inner_loss)
    return trajectory


def meta_gradient_along(
    trajectory: Trajectory,
    fusion: nn.Module,
    loss_proposal: nn.Module,
    reconstruction: nn.Module,
    meta_train: torch.Tensor,
    meta_test: torch.Tensor,
    inner_rates: Sequence[float | torch.Tensor],
    *,
    loss: Loss,
    reward: Reward = reconstruction_loss,
    targets: torch.Tensor | None = None,
    average: Average = identity,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Returns the meta-gradient through an inner update that was unrolled before, and the outer loss.

    Arguments are those of `meta_gradient`; what `unroll` takes too must be the same as there.

    Returns:
        One tensor per parameter of `loss_proposal` (zeros where it has no influence), averaged; and this worker's outer
        loss L_r(R(F(θ_K; y))), a scalar.
    """
    targets = meta_test if targets is None else targets
    grad, outer_loss = _outer_grad(fusion, reconstruction, trajectory.parameters[-1], meta_test, targets, reward)
    adjoint = average(grad)  # λ_{k+1}
    proposal = flatten(loss_proposal.parameters())
    total = torch.zeros_like(proposal)
    for k in reversed(range(len(inner_rates))):
        x, rate, theta, fused = meta_train[k], inner_rates[k], trajectory.parameters[k], trajectory.fused[k]
        weights = trajectory.weights[k]
        if k == 0:
            tangent = tangent_of_image(fusion, theta, adjoint, x)
        else:
            hessian_product, tangent = curvature_along(fusion, theta, adjoint, x, weights, loss)
            adjoint = adjoint - rate * average(hessian_product)
        grads = _grads_in_weights(fused, tangent, x, weights, loss)
        total -= rate * _vjp_of_proposal(loss_proposal, proposal, x, grads)
    return split(average(total), list(loss_proposal.parameters())), outer_loss


def meta_gradient(
    fusion: nn.Module,
    loss_proposal: nn.Module,
    reconstruction: nn.Module,
    meta_train: torch.Tensor,
    meta_test: torch.Tensor,
    inner_rates: Sequence[float | torch.Tensor],
    *,
    targets: torch.Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    gradient: GradientTerm = "learned",
    loss: Loss | None = None,
    reward: Reward = reconstruction_loss,
    average: Average = identity,
) -> list[torch.Tensor]:
    """Returns the gradient, in the loss proposal module's parameters, of the outer loss after the inner update.

    Args:
        reconstruction: used as it is given; its own inner update is the caller's.
        meta_train: (K, B, 2, H, W) in [0, 1], one batch per inner step.
        meta_test: (B, 2, H, W) in [0, 1].
        inner_rates: the K rates η_k.
        targets: sources that `reconstruction` is to rebuild, (B, 2, H, W); `meta_test` unless given.
        alpha, beta, gradient: as in `refusion.objectives.fusion_loss`; unused where `loss` is given.
        loss: fusion loss of (fused, sources, weights), a scalar that can be differentiated twice.
        reward: outer loss of (rebuilt, targets), a scalar that can be differentiated.
        average: applied to each flat gradient that workers must agree on.

    Returns:
        One tensor per parameter of `loss_proposal`; zeros where it has no influence.

    Example:
        >>> import torch
        >>> from refusion.meta import meta_gradient
        >>> from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule
        >>> sizes = {"width": 8, "heads": 4, "blocks": 1}
        >>> modules = FusionModule(**sizes), LossProposalModule(**sizes), ReconstructionModule(**sizes)
        >>> meta_train, meta_test = torch.rand(3, 1, 2, 16, 16), torch.rand(1, 2, 16, 16)
        >>> gradients = meta_gradient(*modules, meta_train, meta_test, inner_rates=[1e-3, 1e-3, 1e-3])
        >>> [g.shape for g in gradients] == [p.shape for p in modules[1].parameters()]
        True
    """
    loss = FusionLoss(alpha, beta, gradient) if loss is None else loss
    with float32_as_configured(meta_train):
        trajectory = unroll(fusion, loss_proposal, meta_train, inner_rates, loss=loss, average=average)
        modules = (fusion, loss_proposal, reconstruction)
        gradients, _ = meta_gradient_along(
            trajectory,
            *modules,
            meta_train,
            meta_test,
            inner_rates,
            loss=loss,
            reward=reward,
            targets=targets,
            average=average,
        )
    return gradients


def _inner_grad(
    fusion: nn.Module,
    theta: torch.Tensor,
    x: torch.Tensor,
    weights: FusionWeights,
    loss: Loss,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns ∇_θ L_f, L_f and the fused image, all detached."""
    theta = leaf(theta)
    with torch.enable_grad(), record_function("inner gradient"):
        fused = call(fusion, theta, x)
        value = loss(fused, x, weights)
        (grad,) = torch.autograd.grad(value, theta)
    return grad, value.detach(), fused.detach()


def _outer_grad(
    fusion: nn.Module,
    reconstruction: nn.Module,
    theta: torch.Tensor,
    y: torch.Tensor,
    targets: torch.Tensor,
    reward: Reward,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns λ = ∂L_r/∂θ and L_r, both detached."""
    theta = leaf(theta)
    with torch.enable_grad(), record_function("outer gradient"):
        rebuilt = call(reconstruction, flatten(reconstruction.parameters()), call(fusion, theta, y))
        value = reward(rebuilt, targets)
        (grad,) = torch.autograd.grad(value, theta)
    return grad, value.detach()


def _grads_in_weights(
    fused: torch.Tensor,
    tangent: torch.Tensor,
    x: torch.Tensor,
    weights: FusionWeights,
    loss: Loss,
) -> list[torch.Tensor]:
    """Returns ∂s/∂w of s = ⟨∂L_f(f, w)/∂f, u⟩, per pair of weights: the one mixed second derivative, pixel by pixel."""
    image = leaf(fused)
    free = FusionWeights(leaf(weights.intensity), None if weights.gradient is None else leaf(weights.gradient))
    with torch.enable_grad():
        (grad,) = torch.autograd.grad(loss(image, x, free), image, create_graph=True)
        s = (grad * tangent).sum()
    if not s.requires_grad:
        # A loss that is linear in the image with constant factors: the weights change nothing.
        return [torch.zeros_like(pair) for pair in _pairs(free)]
    return list(torch.autograd.grad(s, _pairs(free), allow_unused=True, materialize_grads=True))


def _vjp_of_proposal(
    loss_proposal: nn.Module, proposal: torch.Tensor, x: torch.Tensor, grads: list[torch.Tensor]
) -> torch.Tensor:
    """Returns ∂s/∂θ_P from ∂s/∂w: one ordinary backward pass through the loss proposal module."""
    proposal = leaf(proposal)
    with torch.enable_grad(), record_function("vjp of P"):
        weights: FusionWeights = call(loss_proposal, proposal, x)
        (result,) = torch.autograd.grad(_pairs(weights), proposal, grads)
    return result


def _pairs(weights: FusionWeights) -> list[torch.Tensor]:
    return [pair for pair in weights if pair is not None]
