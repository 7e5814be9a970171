"""The modules and their straightforward forms compute the same, in value and in gradient."""

from __future__ import annotations

import pytest
import torch

from refusion.meta import meta_gradient, meta_gradient_by_autograd
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule
from refusion.networks.reference import (
    ReferenceFusionModule,
    ReferenceLossProposalModule,
    ReferenceReconstructionModule,
)

KINDS = {
    "fusion": (FusionModule, ReferenceFusionModule, 2),
    "loss proposal": (LossProposalModule, ReferenceLossProposalModule, 2),
    "reconstruction": (ReconstructionModule, ReferenceReconstructionModule, 1),
}


@pytest.fixture(autouse=True)
def _precise() -> None:
    torch.manual_seed(0)


def pair(kind: str, width: int) -> tuple[torch.nn.Module, torch.nn.Module, int]:
    ours, other, channels = KINDS[kind]
    module, reference = ours(width).double(), other(width).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    reference.load_state_dict(module.state_dict())
    return module, reference, channels


def outputs(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    out = module(x)
    return out if isinstance(out, torch.Tensor) else torch.cat(out)


@pytest.mark.parametrize("size", [(24, 24), (13, 30), (1, 5)])
@pytest.mark.parametrize("kind", list(KINDS))
def test_values_and_gradients_are_the_same(kind: str, size: tuple[int, int]) -> None:
    module, reference, channels = pair(kind, 16)
    x = torch.rand(2, channels, *size, dtype=torch.float64)
    ours, other = outputs(module, x), outputs(reference, x)
    assert (ours - other).abs().max() < 1e-12
    direction = torch.randn_like(ours)
    grads = torch.autograd.grad((ours * direction).sum(), list(module.parameters()))
    expected = torch.autograd.grad((other * direction).sum(), list(reference.parameters()))
    for grad, one in zip(grads, expected, strict=True):
        assert (grad - one).norm() <= 1e-9 * one.norm() + 1e-12


def test_the_meta_gradient_of_ours_is_that_of_the_plain_networks_by_autograd() -> None:
    pairs = [pair(kind, 8) for kind in KINDS]
    ours, other = [module for module, _, _ in pairs], [reference for _, reference, _ in pairs]
    train, test = torch.rand(2, 2, 2, 16, 16, dtype=torch.float64), torch.rand(2, 2, 16, 16, dtype=torch.float64)
    found = meta_gradient(*ours, train, test, [1e-2, 2e-2])
    expected = meta_gradient_by_autograd(*other, train, test, [1e-2, 2e-2])
    flat, other = (torch.cat([gradient.flatten() for gradient in both]) for both in (found, expected))
    assert (flat - other).norm() < 1e-9 * other.norm()
