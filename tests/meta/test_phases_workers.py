"""Two workers with half a batch each learn what one learns from the whole batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from meta_checks import changed, images, new_state, weights
from torch import Tensor

from refusion.meta.phases import fusion_update, meta_iteration
from refusion.meta.state import TrainingState
from refusion.objectives import FusionLoss

LOSS = FusionLoss(alpha=1.0, beta=0.5)
INNER_RATE, OUTER_RATE = 0.05, 1e-3


class Exchange:
    """Exchange through which workers average their vectors. One thread per worker, and one of them runs at a time."""

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
