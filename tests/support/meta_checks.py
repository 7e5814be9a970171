"""Tiny modules in float64, their images, and how far two results differ."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from refusion.config.network import NetworkSettings
from refusion.config.settings import OuterSettings, Settings
from refusion.meta.state import TrainingState
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule

RATES = [0.5, 0.2, 0.9]


class Setting(NamedTuple):
    fusion: nn.Module
    loss_proposal: nn.Module
    reconstruction: nn.Module
    meta_train: torch.Tensor
    meta_test: torch.Tensor
    inner_rates: list[float]


def setting(steps: int, learn_gradient_weights: bool = True) -> Setting:
    torch.manual_seed(11)
    return Setting(
        FusionModule(4, 2, 1).double(),
        LossProposalModule(4, 2, 1, learn_gradient_weights=learn_gradient_weights).double(),
        ReconstructionModule(4, 2, 1).double(),
        torch.rand(steps, 2, 2, 9, 8, dtype=torch.float64),
        torch.rand(2, 2, 8, 9, dtype=torch.float64),
        RATES[:steps],
    )


def flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def relative_error(ours: list[torch.Tensor], reference: list[torch.Tensor]) -> float:
    return ((flat(ours) - flat(reference)).norm() / flat(reference).norm()).item()


def new_state(**outer: Any) -> TrainingState:
    settings = Settings(
        network=NetworkSettings(width=8, heads=4, blocks=1, reconstruction_width=8),
        outer=OuterSettings(**{"kind": "normalised", "accumulate": 1, **outer}),
    )
    state = TrainingState(settings, "IVIF")
    for module in state.modules().values():
        module.double()
    # The sums were made before the modules became double.
    state.outer.sums = [total.double() for total in state.outer.sums]
    state.outer.latest = state.outer.latest.double()
    return state


def images(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, 2, 12, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(state: TrainingState) -> dict[str, list[Tensor]]:
    return {name: [p.detach().clone() for p in module.parameters()] for name, module in state.modules().items()}


def changed(state: TrainingState, before: dict[str, list[Tensor]]) -> list[str]:
    now = weights(state)
    return [
        name
        for name in before
        if not all(torch.equal(then, today) for then, today in zip(before[name], now[name], strict=True))
    ]
