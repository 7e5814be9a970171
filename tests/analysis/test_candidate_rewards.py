"""Candidates are differentiable, vanish where all is rebuilt, and see what they are named for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from refusion.objectives import image_gradient

sys.path.append(str(Path(__file__).resolve().parents[2] / "analysis"))

import candidate_rewards

Reward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
REWARDS: dict[str, Reward] = {
    name: function
    for name, function in vars(candidate_rewards).items()
    if inspect.isfunction(function)
    and not name.startswith("_")
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


@pytest.mark.parametrize("name", ["gradient_only", "signed_gradient", "local_mean_free", "normalised"])
def test_brightness_does_not_count(name: str) -> None:
    sources = batch()
    assert REWARDS[name](sources + 0.2, sources).item() == pytest.approx(0, abs=1e-12)


def test_direction_counts_where_gradients_are_signed() -> None:
    sources = batch()
    assert candidate_rewards.gradient_only(1 - sources, sources).item() == pytest.approx(0, abs=1e-12)
    assert candidate_rewards.signed_gradient(1 - sources, sources).item() > 1


def test_sharper_is_the_salient_reward_of_sharper_weights() -> None:
    sources = batch()
    energies = candidate_rewards.blur(image_gradient(sources, "replicate").square(), 2.0) + 1e-4
    weights = energies**4 / (energies**4).sum(dim=1, keepdim=True)
    error = (0.5 * sources).square()
    error = error + (image_gradient(sources, "replicate") - image_gradient(0.5 * sources, "replicate")).square()
    expected = (weights * error).sum(dim=1).mean().item()
    assert candidate_rewards.sharper(0.5 * sources, sources).item() == pytest.approx(expected, rel=1e-9)


def test_blur() -> None:
    image = batch()
    expected = [[gaussian_filter(plane, 2.0, mode="nearest", truncate=3.0) for plane in pair] for pair in image.numpy()]
    np.testing.assert_allclose(candidate_rewards.blur(image, 2.0).numpy(), np.array(expected), rtol=1e-10)
