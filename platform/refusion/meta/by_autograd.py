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
from refusion.objectives import FusionLoss, GradientTerm, Loss, Reward, reconstruction_loss


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
    loss: Loss | None = None,
    reward: Reward = reconstruction_loss,
    restricted: bool = False,
) -> list[torch.Tensor]:
    """Returns the same as `metagradient.meta_gradient`, on one worker.

    Both passes go to every parameter that the authors' two calls of `backward` reach. With `restricted`, autograd is
    asked only for what is used: the fusion module's inner gradient and the loss proposal module's outer one.

    Example:
        >>> import torch
        >>> from refusion.meta import meta_gradient, meta_gradient_by_autograd
        >>> from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule
        >>> sizes = {"width": 8, "heads": 4, "blocks": 1}
        >>> modules = [kind(**sizes).double() for kind in (FusionModule, LossProposalModule, ReconstructionModule)]
        >>> given = torch.rand(2, 1, 2, 16, 16).double(), torch.rand(1, 2, 16, 16).double(), [1e-3, 1e-3]
        >>> pairs = zip(meta_gradient(*modules, *given), meta_gradient_by_autograd(*modules, *given), strict=True)
        >>> all(torch.allclose(ours, textbook, rtol=1e-9, atol=1e-15) for ours, textbook in pairs)
        True
    """
    loss = FusionLoss(alpha, beta, gradient) if loss is None else loss
    theta, proposal, rebuilding = _copies(fusion), _copies(loss_proposal), _copies(reconstruction)
    outer_reach = [*proposal.values()] if restricted else [*proposal.values(), *theta.values(), *rebuilding.values()]
    for x, rate in zip(meta_train, inner_rates, strict=True):
        # Views, so that an inner pass that reaches them does not run on through earlier steps.
        here = {name: value.view_as(value) for name, value in proposal.items()}
        fused, weights = call_with(fusion, theta, x), call_with(loss_proposal, here, x)
        value = loss(fused, x, weights)
        inner_reach = [*theta.values()] if restricted else [*theta.values(), *here.values()]
        grads = torch.autograd.grad(value, inner_reach, create_graph=True, allow_unused=True, materialize_grads=True)
        theta = {name: parameter - rate * grad for (name, parameter), grad in zip(theta.items(), grads, strict=False)}
    rebuilt = call_with(reconstruction, rebuilding, call_with(fusion, theta, meta_test))
    outer_loss = reward(rebuilt, meta_test if targets is None else targets)
    return list(torch.autograd.grad(outer_loss, outer_reach, allow_unused=True, materialize_grads=True))[
        : len(proposal)
    ]


def _copies(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone().requires_grad_() for name, value in module.named_parameters()}
