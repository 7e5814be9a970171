"""The meta-gradient the textbook way: a graph of the inner gradient, and a backward pass through it.

Kept as the reference that tests and benchmarks compare with; `metagradient` gives the same numbers in less time and
memory.

Source: the training loop of the authors' follow-up TDFusion (CVPR 2025), which calls `backward(create_graph=True)` on
the inner loss and `backward()` on the outer one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from refusion.meta.functional import call_with
from refusion.objectives import GradientTerm, fusion_loss, reconstruction_loss


def meta_gradient_by_autograd(
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
    restricted: bool = False,
) -> list[torch.Tensor]:
    """As `metagradient.meta_gradient`, on one worker.

    Both passes go to every parameter that the authors' two calls of `backward` reach. With `restricted`, autograd is
    asked only for what is used: the fusion module's inner gradient and the loss proposal module's outer one.
    """
    theta, proposal, rebuilding = _copies(fusion), _copies(loss_proposal), _copies(reconstruction)
    outer_reach = [*proposal.values()] if restricted else [*proposal.values(), *theta.values(), *rebuilding.values()]
    for x, rate in zip(meta_train, inner_rates, strict=True):
        # Views, so that an inner pass that reaches them does not run on through earlier steps.
        here = {name: value.view_as(value) for name, value in proposal.items()}
        fused, weights = call_with(fusion, theta, x), call_with(loss_proposal, here, x)
        loss = fusion_loss(fused, x, weights, alpha, beta, gradient)
        inner_reach = [*theta.values()] if restricted else [*theta.values(), *here.values()]
        slopes = torch.autograd.grad(loss, inner_reach, create_graph=True, allow_unused=True, materialize_grads=True)
        theta = {name: value - rate * slope for (name, value), slope in zip(theta.items(), slopes, strict=False)}
    rebuilt = call_with(reconstruction, rebuilding, call_with(fusion, theta, meta_test))
    outer_loss = reconstruction_loss(rebuilt, meta_test if targets is None else targets)
    return list(torch.autograd.grad(outer_loss, outer_reach, allow_unused=True, materialize_grads=True))[
        : len(proposal)
    ]


def _copies(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone().requires_grad_() for name, value in module.named_parameters()}
