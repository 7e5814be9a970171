"""Signals that tell if the loss is being learned: do meta-gradients agree, and what do the proposed weights follow?

Pure functions of tensors; their results stay on the device, and each is a mean over pictures or a number that all
workers share, so that the mean over workers is that of the global batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refusion.objectives import FusionWeights
from refusion.rewards import saliency

SATURATED = 0.99
"""A weight beyond this, or one below its complement, counts as saturated: its softmax hardly has a gradient."""

# A flat picture correlates with nothing.
_TINY = 1e-12


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Returns the cosine of two flat vectors, a scalar; 0 where one of them is zero."""
    # Meta-gradients are as small as 1e-8, whose squares float32 would lose.
    one, other = (vector / vector.abs().max().clamp_min(torch.finfo(vector.dtype).tiny) for vector in (first, second))
    product: Tensor = one @ other / (one.norm() * other.norm()).clamp_min(_TINY)
    return product


def norm(vector: Tensor) -> Tensor:
    """Returns the Euclidean norm of a flat vector, a scalar, however small its elements are."""
    largest = vector.abs().max().clamp_min(torch.finfo(vector.dtype).tiny)
    length: Tensor = largest * (vector / largest).norm()
    return length


def weight_signals(weights: FusionWeights, sources: Tensor) -> dict[str, Tensor]:
    """Describes proposed weights, w of intensities and v of gradients, by the weight of source a.

    Args:
        weights: (B, 2, H, W) each.
        sources: (B, 2, H, W) in [0, 1].

    Returns:
        Scalars, each a mean over the B pictures, for ``w`` and, where there are such weights, ``v``: ``w_mean`` in
        [0, 1], ``w_spread`` (standard deviation within a picture), ``w_entropy`` in [0, 1] bit (1: undecided),
        ``w_saturated`` (share of pixels), ``w_brighter`` and ``w_salient`` (correlation with the difference of the
        sources' intensities, and of their saliencies).
    """
    followed = {"brighter": sources, "salient": saliency(sources)}
    differences = {name: (pair[:, 0] - pair[:, 1]).flatten(1) for name, pair in followed.items()}
    found: dict[str, Tensor] = {}
    for letter, pair in (("w", weights.intensity), ("v", weights.gradient)):
        if pair is None:
            continue
        of_a = pair[:, 0].flatten(1)
        found[f"{letter}_mean"] = of_a.mean()
        found[f"{letter}_spread"] = of_a.std(dim=1, correction=0).mean()
        found[f"{letter}_entropy"] = -torch.special.xlogy(pair, pair).sum(dim=1).mean() / math.log(2)
        found[f"{letter}_saturated"] = ((of_a > SATURATED) | (of_a < 1 - SATURATED)).to(of_a.dtype).mean()
        for name, difference in differences.items():
            found[f"{letter}_{name}"] = _correlation(of_a, difference).mean()
    return found


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation of each row: two (B, N) to (B,); 0 where one is constant."""
    x, y = (z - z.mean(dim=1, keepdim=True) for z in (x, y))
    found: Tensor = (x * y).sum(dim=1) / (x.norm(dim=1) * y.norm(dim=1)).clamp_min(_TINY)
    return found
