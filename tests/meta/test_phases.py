"""The three phases on tiny modules in float64, against plain autograd where that says the same in other words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from meta_checks import changed, images, new_state, weights
from torch import Tensor

from refusion.meta import meta_gradient_by_autograd
from refusion.meta.phases import adapt_reconstruction, doubled, fusion_update, meta_iteration
from refusion.meta.state import TrainingState
from refusion.objectives import FusionLoss, reconstruction_loss

LOSS = FusionLoss(alpha=1.0, beta=0.5)
INNER_RATE, OUTER_RATE = 0.05, 1e-3


def iterate(state: TrainingState, inner_steps: int = 1, **others: Any) -> dict[str, Tensor]:
    told: dict[str, Any] = {
        "inner_rates": [INNER_RATE] * inner_steps,
        "outer_rate": OUTER_RATE,
        "loss": LOSS,
    }
    return meta_iteration(state, images(1, inner_steps, 2), images(2, 2), **(told | others))


def test_a_batch_is_fed_twice_the_second_time_swapped() -> None:
    sources = images(0, 3)
    fed, targets = doubled(sources, swap=True)
    assert torch.equal(fed[:3], sources)
    assert torch.equal(fed[3:, 0], sources[:, 1])
    assert torch.equal(fed[3:, 1], sources[:, 0])
    # R rebuilds in the order (a, b) whatever was fed.
    assert torch.equal(targets, torch.cat([sources, sources]))


def test_a_batch_is_left_as_it_is_without_swapping() -> None:
    sources = images(0, 3)
    fed, targets = doubled(sources, swap=False)
    assert fed is sources
    assert targets is sources


def test_adapting_the_reconstruction_leaves_it_and_rebuilds_better() -> None:
    state = new_state()
    before = weights(state)
    target = images(0, 4)
    image = target.mean(dim=1, keepdim=True)
    adapted = adapt_reconstruction(state.reconstruction, [image] * 5, [target] * 5, [0.1] * 5)
    losses = [reconstruction_loss(module(image), target).item() for module in (state.reconstruction, adapted)]
    assert losses[1] < losses[0]
    assert changed(state, before) == []
    assert all(parameter.grad is None for parameter in adapted.parameters())


def test_adapting_is_one_plain_gradient_step_per_inner_step() -> None:
    state = new_state()
    targets, rates = [images(0, 2), images(1, 2)], [0.1, 0.03]
    fused = [target.mean(dim=1, keepdim=True) for target in targets]
    adapted = adapt_reconstruction(state.reconstruction, fused, targets, rates)

    expected = copy.deepcopy(state.reconstruction)
    for image, target, rate in zip(fused, targets, rates, strict=True):
        descent = torch.optim.SGD(expected.parameters(), lr=rate)
        reconstruction_loss(expected(image), target).backward()
        descent.step()
        descent.zero_grad()
    torch.testing.assert_close(list(adapted.parameters()), list(expected.parameters()), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("swap", [True, False])
def test_a_meta_iteration_moves_the_loss_proposal_module_alone(swap: bool) -> None:
    state = new_state()
    before = weights(state)
    losses = iterate(state, swap=swap)
    assert changed(state, before) == ["loss_proposal"]
    assert all(parameter.grad is None for module in state.modules().values() for parameter in module.parameters())
    then, now = (torch.cat([p.flatten() for p in of["loss_proposal"]]) for of in (before, weights(state)))
    assert float((then - now).abs().max()) == pytest.approx(OUTER_RATE, rel=1e-9)
    assert sorted(losses) == ["inner", "outer", "skipped"]
    assert all(loss.ndim == 0 and not loss.requires_grad for loss in losses.values())


def test_nothing_moves_until_enough_meta_gradients_are_accumulated() -> None:
    state = new_state(accumulate=2)
    before = weights(state)
    iterate(state)
    assert changed(state, before) == []
    iterate(state)
    assert changed(state, before) == ["loss_proposal"]


@pytest.mark.parametrize(("swap", "inner_steps"), [(True, 1), (False, 1), (True, 2)])
def test_a_meta_iteration_follows_the_meta_gradient_through_the_adapted_reconstruction(
    swap: bool, inner_steps: int
) -> None:
    state = new_state()
    expected = copy.deepcopy(state)
    meta_train, meta_test = images(1, inner_steps, 2), images(2, 2)
    rates = [INNER_RATE] * inner_steps
    fed, targets = zip(*(doubled(batch, swap) for batch in meta_train), strict=True)
    test_fed, test_targets = doubled(meta_test, swap)

    # The inner update by plain autograd; the reconstruction module sees each step's image, detached.
    fusion, fused, inner = copy.deepcopy(expected.fusion), [], []
    for x, rate in zip(fed, rates, strict=True):
        image = fusion(x)
        loss = LOSS(image, x, expected.loss_proposal(x))
        grads = torch.autograd.grad(loss, list(fusion.parameters()))
        with torch.no_grad():
            for parameter, grad in zip(fusion.parameters(), grads, strict=True):
                parameter.sub_(rate * grad)
        fused.append(image.detach())
        inner.append(loss.detach())
    adapted = adapt_reconstruction(expected.reconstruction, fused, targets, rates)
    gradients = meta_gradient_by_autograd(
        expected.fusion,
        expected.loss_proposal,
        adapted,
        torch.stack(fed),
        test_fed,
        rates,
        targets=test_targets,
        loss=LOSS,
    )
    expected.outer.add(gradients, OUTER_RATE)

    losses = iterate(state, inner_steps, swap=swap)
    torch.testing.assert_close(
        list(state.loss_proposal.parameters()), list(expected.loss_proposal.parameters()), rtol=1e-9, atol=1e-11
    )
    torch.testing.assert_close(losses["inner"], torch.stack(inner).mean(), rtol=1e-12, atol=0)
    rebuilt = adapted(fusion(test_fed))
    torch.testing.assert_close(losses["outer"], reconstruction_loss(rebuilt, test_targets).detach(), rtol=1e-12, atol=0)


def test_a_fusion_update_moves_fusion_and_reconstruction_with_the_proposal_frozen() -> None:
    state = new_state()
    before = weights(state)
    losses = fusion_update(state, images(3, 2), rate=1e-3, loss=LOSS)
    assert changed(state, before) == ["fusion", "reconstruction"]
    assert all(parameter.grad is None for module in state.modules().values() for parameter in module.parameters())
    assert sorted(losses) == ["fusion", "fusion_gradient", "fusion_intensity", "reconstruction", "skipped"]
    assert all(loss.ndim == 0 and not loss.requires_grad for loss in losses.values())


def test_a_fusion_update_is_one_step_of_adam_on_each_loss() -> None:
    state = new_state()
    expected = copy.deepcopy(state)
    fusion_update(state, images(3, 2), rate=1e-3, loss=LOSS)

    fed, targets = doubled(images(3, 2), swap=True)
    weighed = expected.loss_proposal(fed)
    image = expected.fusion(fed)
    adams = [torch.optim.Adam(module.parameters(), lr=1e-3) for module in (expected.fusion, expected.reconstruction)]
    LOSS(image, fed, weighed).backward()
    reconstruction_loss(expected.reconstruction(image.detach()), targets).backward()
    for adam in adams:
        adam.step()
    for name in ("fusion", "reconstruction"):
        ours, theirs = (list(of.modules()[name].parameters()) for of in (state, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_fusion_updates_bring_both_losses_down() -> None:
    state = new_state()
    losses = [fusion_update(state, images(3, 2), rate=2e-3, loss=LOSS) for _ in range(15)]
    for name in ("fusion", "reconstruction"):
        assert float(losses[-1][name]) < float(losses[0][name])


def test_swapping_makes_the_fusion_loss_indifferent_to_the_order_of_the_sources() -> None:
    def loss(sources: Tensor, swap: bool) -> float:
        told = {"rate": 1e-3, "loss": LOSS, "swap": swap}
        return float(fusion_update(new_state(), sources, **told)["fusion"])

    sources = images(3, 2)
    assert loss(sources, swap=True) == pytest.approx(loss(sources.flip(1), swap=True), rel=1e-12)
    assert loss(sources, swap=False) != pytest.approx(loss(sources.flip(1), swap=False), rel=1e-4)
