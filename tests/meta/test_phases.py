"""The three phases on tiny modules in float64, against plain autograd where that says the same in other words."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from refusion.config.settings import NetworkSettings, OuterSettings, Settings
from refusion.meta import meta_gradient_by_autograd
from refusion.meta.metagradient import unroll
from refusion.meta.phases import adapt_reconstruction, doubled, fusion_update, meta_iteration
from refusion.meta.state import TrainingState
from refusion.objectives import FusionLoss, FusionWeights, reconstruction_loss

LOSS = FusionLoss(alpha=1.0, beta=0.5)
INNER_RATE, OUTER_RATE = 0.05, 1e-3


def new_state(**outer: Any) -> TrainingState:
    settings = Settings(
        network=NetworkSettings(width=8, heads=4, blocks=1, reconstruction_width=8),
        outer=OuterSettings(**{"accumulate": 1, **outer}),
    )
    state = TrainingState(settings, "IVIF")
    for module in state.modules().values():
        module.double()
    # The sums were made before the modules became double.
    state.outer.sums = [total.double() for total in state.outer.sums]
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


def iterate(state: TrainingState, inner_steps: int = 1, **changes: Any) -> dict[str, Tensor]:
    told: dict[str, Any] = {
        "inner_rates": [INNER_RATE] * inner_steps,
        "outer_rate": OUTER_RATE,
        "loss": LOSS,
    }
    return meta_iteration(state, images(1, inner_steps, 2), images(2, 2), **(told | changes))


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
    assert sorted(losses) == ["inner", "outer"]
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
    assert sorted(losses) == ["fusion", "fusion_gradient", "fusion_intensity", "reconstruction"]
    assert all(loss.ndim == 0 and not loss.requires_grad for loss in losses.values())


def squared_loss(fused: Tensor, sources: Tensor, weights: FusionWeights) -> Tensor:
    return (weights.intensity * (sources - fused).square()).mean()


def squared_reward(rebuilt: Tensor, sources: Tensor) -> Tensor:
    return (rebuilt - sources).square().mean()


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_a_loss_and_a_reward_of_the_users_are_what_all_three_phases_follow(inner_steps: int) -> None:
    objective: dict[str, Any] = {"loss": squared_loss, "reward": squared_reward, "swap": False}
    state = new_state()
    expected = copy.deepcopy(state)
    losses = iterate(state, inner_steps, **objective)
    x, y = images(1, inner_steps, 2), images(2, 2)
    rates = [INNER_RATE] * inner_steps
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
    assert sorted(losses) == ["inner", "outer"]

    losses = fusion_update(state, images(3, 2), rate=1e-3, **objective)
    with torch.no_grad():
        fused = expected.fusion(images(3, 2))
        weighed = expected.loss_proposal(images(3, 2))
        rebuilt = expected.reconstruction(fused)
    # A loss of the user's has no terms to be told apart.
    assert sorted(losses) == ["fusion", "reconstruction"]
    torch.testing.assert_close(losses["fusion"], squared_loss(fused, images(3, 2), weighed), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(losses["reconstruction"], squared_reward(rebuilt, images(3, 2)), rtol=1e-9, atol=1e-12)


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


class Exchange:
    """What workers average their vectors through. One thread per worker, and one of them runs at a time."""

    def __init__(self, workers: int) -> None:
        self.barrier = threading.Barrier(workers, timeout=60)
        self.turn = threading.Lock()
        self.brought: list[Tensor] = [torch.empty(0)] * workers

    def average(self, rank: int, vector: Tensor) -> Tensor:
        self.brought[rank] = vector.detach().clone()
        self._wait_for_the_others()
        mean = torch.stack(self.brought).mean(dim=0)
        self._wait_for_the_others()
        return mean

    def _wait_for_the_others(self) -> None:
        self.turn.release()
        try:
            self.barrier.wait()
        finally:
            self.turn.acquire()


def in_halves(work: Callable[[TrainingState, slice, Callable[[Tensor], Tensor]], Any]) -> list[TrainingState]:
    """Two workers' states after each has done its half of a batch of four."""
    exchange = Exchange(2)

    def one(rank: int) -> TrainingState:
        with exchange.turn:
            state = new_state()
            work(state, slice(2 * rank, 2 * rank + 2), partial(exchange.average, rank))
            return state

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(2)))


def assert_alike(states: Sequence[TrainingState], whole: TrainingState) -> None:
    assert changed(states[0], weights(states[1])) == [], "the workers drift apart"
    for state in states:
        for name, module in state.modules().items():
            ours, theirs = list(module.parameters()), list(whole.modules()[name].parameters())
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_two_workers_with_half_a_batch_each_meta_learn_what_one_does(inner_steps: int) -> None:
    meta_train, meta_test = images(4, inner_steps, 4), images(5, 4)
    told: dict[str, Any] = {
        "inner_rates": [INNER_RATE] * inner_steps,
        "outer_rate": OUTER_RATE,
        "loss": LOSS,
    }
    whole = new_state()
    meta_iteration(whole, meta_train, meta_test, **told)
    halves = in_halves(
        lambda state, mine, average: meta_iteration(
            state, meta_train[:, mine], meta_test[mine], average=average, **told
        )
    )
    assert_alike(halves, whole)


def test_two_workers_with_half_a_batch_each_fuse_as_one_does() -> None:
    sources = images(6, 4)
    told: dict[str, Any] = {"rate": 1e-3, "loss": LOSS}
    whole = new_state()
    fusion_update(whole, sources, **told)
    halves = in_halves(lambda state, mine, average: fusion_update(state, sources[mine], average=average, **told))
    assert_alike(halves, whole)
