"""One tri-phase epoch as public training loops of this family run it: the reference for the speed of our phases.

The same mathematics as `refusion.meta.phases`, so that the same batches lead to the same parameters up to rounding, but
straightforward networks, and a meta-gradient by autograd through the inner steps (`create_graph=True`). As in
`refusion.meta.by_autograd` both passes go to every parameter that the authors' two calls of `backward` reach; with
``restricted``, autograd is asked only for what is used. That function is not called here, since R has to be adapted on
the images of the same inner steps, and computing those again would burden the reference.

One deliberate favour: public loops of this family write state dicts to disk to put F and R back after each
meta-iteration; here copies in memory do that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from refusion.config.settings import Settings
from refusion.meta.outer import OuterOptimiser
from refusion.meta.phases import doubled
from refusion.meta.state import TrainingState
from refusion.networks.reference import (
    ReferenceFusionModule,
    ReferenceLossProposalModule,
    ReferenceReconstructionModule,
)
from refusion.objectives import FusionLoss, reconstruction_loss

Named = dict[str, Tensor]


@dataclass
class TextbookState:
    """F, P and R as straightforward networks, with their optimisers."""

    fusion: ReferenceFusionModule
    loss_proposal: ReferenceLossProposalModule
    reconstruction: ReferenceReconstructionModule
    fusion_adam: torch.optim.Adam
    reconstruction_adam: torch.optim.Adam
    outer: OuterOptimiser


def textbook_state(state: TrainingState, settings: Settings) -> TextbookState:
    """A state with the weights, device and precision of ``state``, of ``settings``; its optimisers are new."""
    network = settings.network
    shape: dict[str, Any] = {"heads": network.heads, "blocks": network.blocks, "expansion": network.expansion}
    learned_gradient = state.loss_proposal.gradient is not None
    fusion = ReferenceFusionModule(network.width, **shape)
    loss_proposal = ReferenceLossProposalModule(network.width, **shape, learn_gradient_weights=learned_gradient)
    reconstruction = ReferenceReconstructionModule(network.reconstruction_width, **shape)
    like = next(state.fusion.parameters())
    for reference, ours in zip((fusion, loss_proposal, reconstruction), state.modules().values(), strict=True):
        reference.to(like)
        reference.load_state_dict(ours.state_dict())
    return TextbookState(
        fusion,
        loss_proposal,
        reconstruction,
        torch.optim.Adam(fusion.parameters(), lr=1.0),
        torch.optim.Adam(reconstruction.parameters(), lr=1.0),
        OuterOptimiser(list(loss_proposal.parameters()), settings.outer),
    )


def meta_iteration(
    state: TextbookState,
    meta_train: Tensor,
    meta_test: Tensor,
    *,
    inner_rates: Sequence[float],
    outer_rate: float,
    loss: FusionLoss,
    swap: bool = True,
    restricted: bool = False,
) -> dict[str, Tensor]:
    """Counterpart of `refusion.meta.phases.meta_iteration` on one worker: P learns, F and R stay."""
    start, proposal, rebuilding = _copies(state.fusion), _copies(state.loss_proposal), _copies(state.reconstruction)
    theta, inner_losses = start, []
    for batch, rate in zip(meta_train, inner_rates, strict=True):
        x, targets = doubled(batch, swap)
        # Views, so that an inner pass that reaches them does not run on through earlier steps.
        here = {name: value.view_as(value) for name, value in proposal.items()}
        fused, weights = functional_call(state.fusion, theta, (x,)), functional_call(state.loss_proposal, here, (x,))
        inner_loss = loss(fused, x, weights)
        reach = [*theta.values()] if restricted else [*theta.values(), *here.values()]
        grads = torch.autograd.grad(inner_loss, reach, create_graph=True, allow_unused=True, materialize_grads=True)
        theta = _stepped(theta, grads, rate)
        rebuilding = _adapted(state.reconstruction, rebuilding, fused.detach(), targets, rate)
        inner_losses.append(inner_loss.detach())
    y, targets = doubled(meta_test, swap)
    rebuilt = functional_call(state.reconstruction, rebuilding, (functional_call(state.fusion, theta, (y,)),))
    outer_loss = reconstruction_loss(rebuilt, targets)
    reach = [*proposal.values()] if restricted else [*proposal.values(), *start.values(), *rebuilding.values()]
    grads = torch.autograd.grad(outer_loss, reach, allow_unused=True, materialize_grads=True)
    state.outer.add(grads[: len(proposal)], outer_rate)
    return {"inner": torch.stack(inner_losses).mean(), "outer": outer_loss.detach()}


def fusion_update(
    state: TextbookState, sources: Tensor, *, rate: float, loss: FusionLoss, swap: bool = True
) -> dict[str, Tensor]:
    """Counterpart of `refusion.meta.phases.fusion_update` on one worker: a step of F with P frozen, and one of R."""
    x, targets = doubled(sources, swap)
    with torch.no_grad():
        weights = state.loss_proposal(x)
    fused = state.fusion(x)
    fusion_term = loss(fused, x, weights)
    _step(state.fusion_adam, fusion_term, rate)
    reconstruction_term = reconstruction_loss(state.reconstruction(fused.detach()), targets)
    _step(state.reconstruction_adam, reconstruction_term, rate)
    return {"fusion": fusion_term.detach(), "reconstruction": reconstruction_term.detach()}


def _copies(module: nn.Module) -> Named:
    return {name: value.detach().clone().requires_grad_() for name, value in module.named_parameters()}


def _stepped(parameters: Named, grads: Iterable[Tensor], rate: float) -> Named:
    return {name: value - rate * grad for (name, value), grad in zip(parameters.items(), grads, strict=False)}


def _adapted(module: nn.Module, parameters: Named, fused: Tensor, targets: Tensor, rate: float) -> Named:
    """R's parameters after one gradient step, as new leaves."""
    loss = reconstruction_loss(functional_call(module, parameters, (fused,)), targets)
    stepped = _stepped(parameters, torch.autograd.grad(loss, [*parameters.values()]), rate)
    return {name: value.detach().requires_grad_() for name, value in stepped.items()}


def _step(adam: torch.optim.Adam, loss: Tensor, rate: float) -> None:
    adam.param_groups[0]["lr"] = rate
    adam.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    adam.step()
