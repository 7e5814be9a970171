"""The meta-gradient through the image against plain autograd, and one meta-iteration with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from meta_checks import changed, images, new_state, relative_error, setting, weights
from torch import Tensor, nn

from refusion.meta.image_space import gradient_in_weights, image_space_by_autograd
from refusion.meta.phases import ThroughChannel, doubled_noise, meta_iteration_on_image
from refusion.networks import LossProposalModule
from refusion.objectives import FusionLoss, FusionWeights, reconstruction_loss
from refusion.rewards import salient_reward

RATES = [0.3, 0.05, 0.2]
LOSSES = {
    "published": FusionLoss(beta=0.5),
    "linear": FusionLoss(beta=0.5, weighting="linear"),
    "signed": FusionLoss(alpha=2.0, beta=0.3, gradient="signed", weighting="linear"),
    "maxabs": FusionLoss(beta=0.5, gradient="maxabs"),
}


def given(gradient: bool = True) -> tuple[Tensor, FusionWeights, nn.Module, Tensor, Tensor]:
    modules = setting(1)
    sources = modules.meta_train[0]
    with torch.no_grad():
        fused = modules.fusion(sources)
        proposed = modules.loss_proposal(sources)
    noise = 0.1 * torch.randn(fused.shape, dtype=fused.dtype, generator=torch.Generator().manual_seed(2))
    pair = FusionWeights(proposed.intensity, proposed.gradient if gradient else None)
    return fused, pair, modules.reconstruction, sources, noise


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("reward", [reconstruction_loss, salient_reward])
def test_the_gradient_is_the_textbooks(steps: int, kind: str, reward: Any) -> None:
    fused, pair, reconstruction, sources, noise = given(kind != "maxabs")
    told: dict[str, Any] = {"loss": LOSSES[kind], "noise": noise, "reward": reward}
    found = gradient_in_weights(fused, pair, reconstruction, sources, RATES[:steps], **told)
    expected = image_space_by_autograd(fused, pair, reconstruction, sources, RATES[:steps], **told)
    ours = [part for part in (found.intensity, found.gradient) if part is not None]
    assert len(ours) == len(expected) == (1 if kind == "maxabs" else 2)
    assert all(part.abs().max() > 0 for part in ours)
    assert relative_error(ours, expected) < 1e-12


def test_a_step_in_the_weights_along_the_gradient_rebuilds_better() -> None:
    fused, pair, reconstruction, sources, noise = given()
    told: dict[str, Any] = {"loss": LOSSES["linear"], "noise": noise}
    first = gradient_in_weights(fused, pair, reconstruction, sources, RATES, **told)
    assert first.gradient is not None
    assert pair.gradient is not None
    size = 1e-6 / first.intensity.abs().max()
    better = FusionWeights(pair.intensity - size * first.intensity, pair.gradient - size * first.gradient)
    second = gradient_in_weights(fused, better, reconstruction, sources, RATES, **told)
    gained = size * (first.intensity.square().sum() + first.gradient.square().sum())
    assert (first.outer_loss - second.outer_loss).item() == pytest.approx(gained.item(), rel=0.02)


def test_a_loss_without_weights_teaches_nothing() -> None:
    fused, pair, reconstruction, sources, _ = given()
    found = gradient_in_weights(fused, pair, reconstruction, sources, [0.1], loss=lambda fused, *_: fused.mean())
    assert found.intensity.abs().max() == 0


def test_the_size_of_the_batch_does_not_change_what_an_inner_step_does_to_a_picture() -> None:
    fused, pair, reconstruction, sources, _ = given()
    alone = FusionWeights(pair.intensity[:1], None if pair.gradient is None else pair.gradient[:1])
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(image.detach())
            rebuilt: Tensor = reconstruction(image)
            return rebuilt

    loss = LOSSES["published"]
    gradient_in_weights(fused, pair, Watching(), sources, RATES, loss=loss)
    gradient_in_weights(fused[:1], alone, Watching(), sources[:1], RATES, loss=loss)
    assert torch.allclose(seen[0][:1], seen[1], rtol=1e-12)
    assert not torch.allclose(seen[1], fused[:1], rtol=1e-6)


def test_a_meta_iteration_moves_the_loss_proposal_alone() -> None:
    state = new_state()
    before = weights(state)
    found = meta_iteration_on_image(
        state, images(1, 2), inner_rates=[0.1, 0.1], outer_rate=1e-3, loss=LOSSES["signed"], reward=salient_reward
    )
    assert changed(state, before) == ["loss_proposal"]
    assert set(found) == {"inner", "outer", "skipped"}


@pytest.mark.parametrize("swap", [False, True])
def test_an_equivariant_proposal_moves_as_one_that_is_asked_for_both_orders(swap: bool) -> None:
    sources = images(3, 2)
    moved = []
    for asked_once in (True, False):
        torch.manual_seed(4)
        state = new_state()
        proposal = LossProposalModule(8, 4, 1, equivariant=True).double()
        state.loss_proposal.load_state_dict(proposal.state_dict())
        state.loss_proposal.equivariant = True  # type: ignore[assignment]
        if not asked_once:
            # Hides that it is equivariant, so that the swapped copies are proposed for by themselves.
            inner = state.loss_proposal
            state.loss_proposal = nn.Sequential(inner)
        meta_iteration_on_image(
            state, sources, inner_rates=[0.1], outer_rate=1e-3, loss=LOSSES["signed"], swap=swap, reward=salient_reward
        )
        moved.append(torch.cat([parameter.detach().flatten() for parameter in state.loss_proposal.parameters()]))
    assert torch.allclose(moved[0], moved[1], rtol=0, atol=1e-9)


def test_the_channel_adds_its_noise_and_the_opposite_for_swapped_copies() -> None:
    noise = torch.rand(2, 1, 4, 4)
    assert torch.equal(doubled_noise(noise, swap=True), torch.cat([noise, -noise]))
    assert doubled_noise(noise, swap=False) is noise
    fused = torch.rand(2, 1, 4, 4)
    assert torch.equal(ThroughChannel(nn.Identity(), noise)(fused), fused + noise)
    assert ThroughChannel(nn.Identity(), None)(fused) is fused
