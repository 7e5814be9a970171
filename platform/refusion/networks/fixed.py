"""Loss proposals that learn nothing: what a learned one is compared with.

Named by ``network.loss_proposal_kind`` with ``schedule.meta_iterations: 0``, so that F is trained with the same loss
but for its weights.
"""

from __future__ import annotations

import torch
from torch import nn

from refusion.config.objective import Learned
from refusion.objectives import FusionWeights
from refusion.rewards import saliency


class HalfProposal(nn.Module):
    """Weights of one half everywhere: the sources (B, 2, H, W) to the same shape.

    >>> float(HalfProposal()(torch.rand(1, 2, 8, 8)).mean())
    0.5
    """

    def forward(self, sources: torch.Tensor) -> torch.Tensor:
        """Returns one half for each source at each pixel, for intensities and gradients alike."""
        return torch.full_like(sources, 0.5)


class SaliencyProposal(nn.Module):
    """Weights that are the saliency of the sources itself, the prior that the salient reward is made of.

    Args:
        of: pair of weights that it is put in the place of, or both; the other is one half, as where P learns one alone.

    >>> weights = SaliencyProposal(of="gradient")(torch.rand(1, 2, 8, 8))
    >>> torch.allclose(weights.gradient.sum(dim=1), torch.ones(1, 8, 8)), float(weights.intensity.mean())
    (True, 0.5)
    """

    def __init__(self, of: Learned = "both") -> None:
        super().__init__()
        self.of = of

    def forward(self, sources: torch.Tensor) -> FusionWeights:
        """Returns `refusion.rewards.saliency` of (B, 2, H, W) in [0, 1], and one half."""
        salient, half = saliency(sources), torch.full_like(sources, 0.5)
        return FusionWeights(half if self.of == "gradient" else salient, half if self.of == "intensity" else salient)
