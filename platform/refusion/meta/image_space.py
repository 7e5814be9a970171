"""The meta-gradient with the inner update taken on the fused image itself, not on the fusion module's parameters.

On one batch x of pictures, f_0 = F(x) and w = P(x); n is the number of pixels that the mean in L_f runs over, so that η
is a step per pixel whatever the size of the batch:

    f_{k+1} = f_k − η_k · n · ∂L_f(f_k, w)/∂f_k                    K steps
    λ_K     = ∂L_r(R(f_K))/∂f_K
    ∂L_r/∂w −= η_k · n · ∂⟨∂L_f(f_k, w)/∂f_k, λ_{k+1}⟩/∂w            k = K−1 … 0
    λ_k     = λ_{k+1} − η_k · n · ∂⟨∂L_f(f_k, w)/∂f_k, λ_{k+1}⟩/∂f_k

and one ordinary backward pass through P. Exact, and without a second pass of F, forward mode or a Hessian of F: all
second derivatives are of the fusion loss alone, pixel by pixel and through Sobel's 3×3 windows.

Source: ours; docs/method.md says why ("The space of the inner update"). It must equal `image_space_by_autograd`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.profiler import record_function

from refusion.meta.functional import leaf
from refusion.objectives import FusionWeights, Loss, Reward, reconstruction_loss


@dataclass(frozen=True)
class ImageSpaceGradient:
    """Meta-gradient through the image, this worker's, detached.

    Attributes:
        intensity, gradient: ∂L_r/∂w and ∂L_r/∂v, (B, 2, H, W) each; None where there are no weights v.
        inner_losses: L_f at f_0 … f_{K−1}, K scalars.
        outer_loss: L_r at f_K, a scalar.
    """

    intensity: torch.Tensor
    gradient: torch.Tensor | None
    inner_losses: torch.Tensor
    outer_loss: torch.Tensor


def gradient_in_weights(
    fused: torch.Tensor,
    weights: FusionWeights,
    reconstruction: nn.Module,
    sources: torch.Tensor,
    inner_rates: Sequence[float | torch.Tensor],
    *,
    loss: Loss,
    targets: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    reward: Reward = reconstruction_loss,
) -> ImageSpaceGradient:
    """Returns the gradient, in the proposed weights, of the outer loss after K inner steps on the fused image.

    Args:
        fused: f_0, (B, 1, H, W).
        weights: as the loss proposal module gives them for ``sources``.
        reconstruction: R; used as it is given.
        sources: (B, 2, H, W) in [0, 1], what L_f compares the image with.
        inner_rates: the K rates η_k, per pixel.
        loss: L_f.
        targets: what R is to rebuild, (B, 2, H, W); ``sources`` unless given.
        noise: added to f_K before R sees it, (B, 1, H, W).
        reward: L_r.
    """
    pixels = fused.numel()
    free = FusionWeights(leaf(weights.intensity), None if weights.gradient is None else leaf(weights.gradient))
    pairs = [pair for pair in free if pair is not None]
    images, grads, losses = [leaf(fused)], [], []
    with torch.enable_grad():
        for rate in inner_rates:
            value = loss(images[-1], sources, free)
            (grad,) = torch.autograd.grad(value, images[-1], create_graph=True)
            losses.append(value.detach())
            grads.append(grad)
            images.append(leaf(images[-1].detach() - rate * pixels * grad.detach()))
        with record_function("outer gradient"):
            seen = images[-1] if noise is None else images[-1] + noise
            outer_loss = reward(reconstruction(seen), sources if targets is None else targets)
            (adjoint,) = torch.autograd.grad(outer_loss, images[-1])
        totals = [torch.zeros_like(pair) for pair in pairs]
        for image, grad, rate in reversed(list(zip(images, grads, inner_rates, strict=False))):
            # ⟨∂L_f/∂f, λ⟩: its derivatives in w and in f are all that is asked for.
            along = (grad * adjoint).sum()
            if not along.requires_grad:  # a loss that is linear in the image, without weights
                continue
            parts = torch.autograd.grad(along, [*pairs, image], allow_unused=True, materialize_grads=True)
            for total, part in zip(totals, parts, strict=False):
                total.sub_(rate * pixels * part)
            adjoint = adjoint - rate * pixels * parts[-1]
    return ImageSpaceGradient(
        totals[0], totals[1] if len(totals) == 2 else None, torch.stack(losses), outer_loss.detach()
    )


def image_space_by_autograd(
    fused: torch.Tensor,
    weights: FusionWeights,
    reconstruction: nn.Module,
    sources: torch.Tensor,
    inner_rates: Sequence[float | torch.Tensor],
    *,
    loss: Loss,
    targets: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    reward: Reward = reconstruction_loss,
) -> list[torch.Tensor]:
    """Returns the same gradients the textbook way: one graph through all inner steps, and back through it."""
    free = FusionWeights(leaf(weights.intensity), None if weights.gradient is None else leaf(weights.gradient))
    image = leaf(fused)
    for rate in inner_rates:
        (grad,) = torch.autograd.grad(loss(image, sources, free), image, create_graph=True)
        image = image - rate * fused.numel() * grad
    seen = image if noise is None else image + noise
    outer_loss = reward(reconstruction(seen), sources if targets is None else targets)
    pairs = [pair for pair in free if pair is not None]
    return list(torch.autograd.grad(outer_loss, pairs, allow_unused=True, materialize_grads=True))
