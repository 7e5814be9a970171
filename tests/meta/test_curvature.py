"""The meta-gradient through networks that are not ours: exact whatever they are made of, held against autograd."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from refusion.meta import meta_gradient, meta_gradient_by_autograd
from refusion.meta.curvature import curvature_along, tangent_of_image
from refusion.meta.functional import flatten
from refusion.networks import FusionModule
from refusion.networks.blocks import stage
from refusion.networks.reference import ReferenceLossProposalModule, ReferenceReconstructionModule
from refusion.objectives import FusionWeights, fusion_loss

RATES = [0.5, 0.2, 0.9]


class Strided(nn.Module):
    """Goes down and up again, with a skip, batch and group norms, and a layer that it never uses."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 6, 3, stride=2, padding=1)
        self.batch_norm = nn.BatchNorm2d(6)
        self.group_norm = nn.GroupNorm(2, 6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.out = nn.Conv2d(6, 1, 3, padding=1)
        self.never_used = nn.Conv2d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.silu(self.group_norm(self.batch_norm(self.down(x))))
        return torch.sigmoid(self.out(torch.cat((self.up(y), x), dim=1)))


class Tied(nn.Module):
    """Uses one convolution twice, and normalises what is between."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(2, 2, 3, padding=1)
        self.again = self.inner
        self.out = nn.Conv2d(2, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.out(F.normalize(self.again(torch.tanh(self.inner(x))), dim=1)))


class Around(nn.Module):
    """Our network with a layer norm behind it, through whose forward-mode derivative PyTorch loses terms."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = FusionModule(4, 2, 1)
        self.widen = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.widen(self.ours(x)).permute(0, 2, 3, 1))
        return torch.sigmoid(self.out(y)).permute(0, 3, 1, 2)


class Derived(FusionModule):
    """Inherits our attribute, but not our forward pass."""

    def forward(self, sources: torch.Tensor) -> torch.Tensor:
        y = F.layer_norm(
            self.project_out_1(self.project_out_0(self.project_in_1(sources[:, :1]).repeat(1, 2, 1, 1))), [8]
        )
        return torch.sigmoid(y)


class OfOurBlocks(nn.Module):
    """Built of our blocks, whose operations have derivatives of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.body, self.out = nn.Conv2d(2, 4, 1), stage(4, 2, 2, 1), nn.Conv2d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(self.enter(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return torch.sigmoid(self.out(y))


class _Cube(torch.autograd.Function):
    """Has no forward-mode derivative."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grads[0]


class OfBackwardOnly(nn.Module):
    """Has an operation that can be differentiated backward, twice, and not forward."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.out = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.out(_Cube.apply(self.enter(x))))


def setting(fusion: nn.Module, steps: int) -> tuple[Any, ...]:
    torch.manual_seed(5)
    images = torch.rand(steps, 2, 2, 8, 8).double(), torch.rand(2, 2, 8, 8).double()
    proposal, reconstruction = ReferenceLossProposalModule(4, 2, 1), ReferenceReconstructionModule(4, 2, 1)
    return fusion, proposal.double(), reconstruction.double(), *images, RATES[:steps]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("network", [Strided, Tied, Around, partial(Derived, 4, 2, 1), OfOurBlocks, OfBackwardOnly])
def test_any_network_has_autograds_meta_gradient(network: Callable[[], nn.Module], steps: int) -> None:
    torch.manual_seed(0)
    given = setting(network().double().eval(), steps)
    ours = flatten(meta_gradient(*given))
    reference = flatten(meta_gradient_by_autograd(*given, restricted=True))
    assert reference.norm() > 1e-9
    assert (ours - reference).norm() / reference.norm() < 1e-9


@pytest.mark.parametrize("network", [Strided, Around, OfBackwardOnly])
def test_curvature_and_tangent_are_those_of_finite_differences(network: Callable[[], nn.Module]) -> None:
    torch.manual_seed(1)
    fusion = network().double().eval()
    x, theta = torch.rand(2, 2, 8, 8).double(), flatten(fusion.parameters())
    direction = torch.randn_like(theta)
    weights = FusionWeights(torch.full_like(x, 0.5), torch.full_like(x, 0.5))
    found, tangent = curvature_along(fusion, theta, direction, x, weights, fusion_loss)
    assert torch.allclose(tangent, tangent_of_image(fusion, theta, direction, x), rtol=1e-9, atol=1e-12)

    def grad_and_image(at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        at = at.clone().requires_grad_()
        nn.utils.vector_to_parameters(at, fusion.parameters())
        named = dict(zip([name for name, _ in fusion.named_parameters()], fusion.parameters(), strict=True))
        leaves = {name: value.detach().requires_grad_() for name, value in named.items()}
        image = torch.func.functional_call(fusion, leaves, (x,))
        grads = torch.autograd.grad(
            fusion_loss(image, x, weights), list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        return flatten(grads), image.detach()

    step = 1e-6
    (ahead, image_ahead), (behind, image_behind) = (grad_and_image(theta + sign * step * direction) for sign in (1, -1))
    assert torch.allclose(found, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-6 * float(found.abs().max()))
    assert torch.allclose(tangent, (image_ahead - image_behind) / (2 * step), rtol=1e-5, atol=1e-7)
