"""Candidates are differentiable, vanish where all is rebuilt, and see what they are named for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "analysis"))

import candidate_rewards

Reward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
REWARDS: dict[str, Reward] = {
    name: function
    for name, function in vars(candidate_rewards).items()
    if inspect.isfunction(function)
    and function.__module__ == candidate_rewards.__name__
    and list(inspect.signature(function).parameters) == ["rebuilt", "sources"]
}


def batch() -> torch.Tensor:
    return torch.rand(2, 2, 20, 22, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("name", REWARDS)
def test_a_candidate_is_a_reward(name: str) -> None:
    sources = batch()
    rebuilt = (0.5 * sources).requires_grad_()
    loss = REWARDS[name](rebuilt, sources)
    loss.backward()
    assert loss.shape == () and loss.item() > 1e-3
    assert rebuilt.grad is not None and torch.isfinite(rebuilt.grad).all() and rebuilt.grad.abs().sum() > 0
    assert REWARDS[name](sources, sources).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", REWARDS)
def test_contrast_that_is_halved_costs_less_than_contrast_that_is_lost(name: str) -> None:
    sources = batch()
    halved = 0.5 * (sources - 0.5) + 0.5
    assert REWARDS[name](halved, sources) < REWARDS[name](torch.full_like(sources, 0.5), sources)


def test_a_flat_picture_has_no_edge_at_the_border() -> None:
    flat = torch.full((1, 2, 8, 8), 0.7)
    assert candidate_rewards.inner_gradient(flat).abs().max() < 1e-6
