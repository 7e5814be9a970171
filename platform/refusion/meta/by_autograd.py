"""The meta-gradient the textbook way: a graph of the inner gradients, and a backward pass through it.

Kept as the reference that tests and benchmarks compare with; `metagradient` gives the same numbers in less time and memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call

from refusion.meta.metagradient import Average, identity
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
) -> list[torch.Tensor]:
    """As `metagradient.meta_gradient`, on one worker."""
    theta = {name: p.detach().clone().requires_grad_() for name, p in fusion.named_parameters()}
    proposal = {name: p.detach().clone().requires_grad_() for name, p in loss_proposal.named_parameters()}
    rebuilding = {name: p.detach() for name, p in reconstruction.named_parameters()}
    for x, rate in zip(meta_train, inner_rates, strict=True):
        weights = functional_call(loss_proposal, proposal, x)
        loss = fusion_loss(functional_call(fusion, theta, x), x, weights, alpha, beta, gradient)
        slopes = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        theta = {name: p - rate * slope for (name, p), slope in zip(theta.items(), slopes, strict=True)}
    rebuilt = functional_call(reconstruction, rebuilding, functional_call(fusion, theta, meta_test))
    outer = reconstruction_loss(rebuilt, meta_test if targets is None else targets)
    return list(torch.autograd.grad(outer, list(proposal.values()), allow_unused=True, materialize_grads=True))
