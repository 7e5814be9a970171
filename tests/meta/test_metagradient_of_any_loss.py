"""The meta-gradient and the phases with losses and rewards of the user's own, against autograd."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from foreign_objectives import contrast_loss, linear_loss, squared_loss, squared_reward, worst_pixel
from meta_checks import flat, images, new_state, relative_error, setting

from refusion.meta import meta_gradient, meta_gradient_by_autograd
from refusion.meta.metagradient import unroll
from refusion.meta.phases import adapt_reconstruction, fusion_update, meta_iteration
from refusion.networks.reference import ReferenceFusionModule
from refusion.objectives import FusionWeights, Loss, Reward, reconstruction_loss

INNER_RATE, OUTER_RATE = 0.05, 1e-3


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("loss", [contrast_loss, linear_loss])
@pytest.mark.parametrize("reward", [reconstruction_loss, worst_pixel])
@pytest.mark.parametrize("general_way", [False, True])
def test_equals_autograd_for_any_loss_and_any_reward(steps: int, loss: Loss, reward: Reward, general_way: bool) -> None:
    given = setting(steps)
    reference = meta_gradient_by_autograd(*given, loss=loss, reward=reward)
    if general_way:
        plain = ReferenceFusionModule(4, 2, 1).double()
        plain.load_state_dict(given.fusion.state_dict())
        given = given._replace(fusion=plain)
    assert flat(reference).norm() > 1e-9
    assert relative_error(meta_gradient(*given, loss=loss, reward=reward), reference) < 1e-9


@pytest.mark.parametrize("steps", [1, 3])
def test_a_loss_whose_gradient_knows_no_weights_gives_zeros(steps: int) -> None:
    def loss(fused: torch.Tensor, sources: torch.Tensor, weights: FusionWeights) -> torch.Tensor:
        return fused.mean() + weights.intensity.mean()

    given = setting(steps)
    assert not flat(meta_gradient(*given, loss=loss)).any()
    assert not flat(meta_gradient_by_autograd(*given, loss=loss)).any()


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_a_loss_and_a_reward_of_the_users_are_what_all_three_phases_follow(inner_steps: int) -> None:
    objective: dict[str, Any] = {"loss": squared_loss, "reward": squared_reward, "swap": False}
    state = new_state()
    expected = copy.deepcopy(state)
    x, y, rates = images(1, inner_steps, 2), images(2, 2), [INNER_RATE] * inner_steps
    losses = meta_iteration(state, x, y, inner_rates=rates, outer_rate=OUTER_RATE, **objective)
    trajectory = unroll(expected.fusion, expected.loss_proposal, x, rates, loss=squared_loss)
    adapted = adapt_reconstruction(expected.reconstruction, trajectory.fused, list(x), rates, reward=squared_reward)
    plain = adapt_reconstruction(expected.reconstruction, trajectory.fused, list(x), rates)
    assert not torch.equal(next(adapted.parameters()), next(plain.parameters()))
    gradients = meta_gradient_by_autograd(
        expected.fusion, expected.loss_proposal, adapted, x, y, rates, loss=squared_loss, reward=squared_reward
    )
    expected.outer.add(gradients, OUTER_RATE)
    torch.testing.assert_close(
        list(state.loss_proposal.parameters()), list(expected.loss_proposal.parameters()), rtol=1e-9, atol=1e-11
    )
    assert sorted(losses) == ["inner", "outer", "skipped"]

    losses = fusion_update(state, images(3, 2), rate=1e-3, **objective)
    with torch.no_grad():
        fused = expected.fusion(images(3, 2))
        weighed = expected.loss_proposal(images(3, 2))
        rebuilt = expected.reconstruction(fused)
    # A loss of the user's has no terms to be told apart.
    assert sorted(losses) == ["fusion", "reconstruction", "skipped"]
    torch.testing.assert_close(losses["fusion"], squared_loss(fused, images(3, 2), weighed), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(losses["reconstruction"], squared_reward(rebuilt, images(3, 2)), rtol=1e-9, atol=1e-12)
