"""Losses and rewards as a user would write them, to be named by their import paths."""

from __future__ import annotations

import torch

from refusion.objectives import FusionWeights


def contrast_loss(fused: torch.Tensor, sources: torch.Tensor, weights: FusionWeights) -> torch.Tensor:
    """Smooth distance of logarithms, weighted by both pairs of weights, and a term that no weight scales."""
    assert weights.gradient is not None
    distance = torch.nn.functional.smooth_l1_loss(fused.exp().expand_as(sources), sources.exp(), reduction="none")
    return (weights.intensity.square() * distance).mean() + (weights.gradient * fused.sigmoid()).mean() + fused.var()


def linear_loss(fused: torch.Tensor, sources: torch.Tensor, weights: FusionWeights) -> torch.Tensor:
    """Linear in the fused image, and without the second pair of weights."""
    return (weights.intensity.exp() * (sources - fused)).mean()


def worst_pixel(rebuilt: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    return (rebuilt - sources).square().flatten(1).logsumexp(dim=1).mean()


def squared_loss(fused: torch.Tensor, sources: torch.Tensor, weights: FusionWeights) -> torch.Tensor:
    return (weights.intensity * (sources - fused).square()).mean()


def squared_reward(rebuilt: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    return (rebuilt - sources).square().mean()
