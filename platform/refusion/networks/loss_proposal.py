"""The loss proposal module P: proposes, pixel by pixel, how much each source counts in the fusion loss.

Source: ReFusion (arXiv 2312.07943); the sizes are those of the loss network in the follow-up TDFusion (CVPR 2025).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

import refusion.ops as ops
from refusion.config.objective import Learned
from refusion.networks.blocks import check_heads, conv3x3, stage
from refusion.objectives import FusionWeights
from refusion.rewards import saliency

Prior = Literal["none", "saliency"]
"""Weights that the module begins with."""


class LossProposalModule(nn.Module):
    """P: the sources (B, 2, H, W) in [0, 1] to weights of the same shape that sum to 1 over the two sources.

    Args:
        width, heads, blocks, expansion: sizes.
        learn_gradient_weights: a second pair weighs the sources' gradients; else `FusionWeights.gradient` is None.
        equivariant: the logits of (b, a), exchanged, are added to those of (a, b), so that P(b, a) is P(a, b) exchanged
            by construction and no liking for "the first source" can feed itself.
        centred: each picture's logits have their mean taken away, so that no source can be given up in the whole of it.
        prior: "saliency" adds its logarithm to the logits, so that the module begins near saliency's weights and learns
            what to change in them.
        learned: pair of weights that is learned, or both; the other stays at one half.

    Raises:
        UserError: the heads do not divide the width.

    Example:
        >>> import torch
        >>> from refusion.networks import LossProposalModule
        >>> weights = LossProposalModule()(torch.rand(4, 2, 20, 30))
        >>> weights.intensity.shape, weights.gradient.shape
        (torch.Size([4, 2, 20, 30]), torch.Size([4, 2, 20, 30]))
        >>> torch.allclose(weights.intensity.sum(dim=1), torch.ones(4, 20, 30))
        True
    """

    def __init__(
        self,
        width: int = 16,
        heads: int = 8,
        blocks: int = 2,
        expansion: int = 2,
        learn_gradient_weights: bool = True,
        equivariant: bool = False,
        centred: bool = False,
        learned: Learned = "both",
        prior: Prior = "none",
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.equivariant = equivariant
        self.centred = centred
        self.learned = learned
        self.prior = prior
        self.project_in_1 = conv3x3(1, width)
        self.project_in_2 = conv3x3(1, width)
        self.encoder1 = stage(width, heads, expansion, blocks)
        self.encoder2 = stage(width, heads, expansion, blocks)
        self.decoder = stage(2 * width, heads, expansion, blocks)
        self.project_out = conv3x3(2 * width, width)
        self.activation = nn.PReLU()
        self.intensity = conv3x3(width, 2)
        self.gradient = conv3x3(width, 2) if learn_gradient_weights else None

    def forward(self, sources: torch.Tensor) -> FusionWeights:
        x = self._features(torch.cat((sources, sources.flip(1))) if self.equivariant else sources)
        prior = saliency(sources).log() if self.prior == "saliency" else None
        v = None
        if self.gradient is not None:
            v = self._weights(self.gradient(x), prior, self.learned != "intensity")
        return FusionWeights(self._weights(self.intensity(x), prior, self.learned != "gradient"), v)

    def _features(self, sources: torch.Tensor) -> torch.Tensor:
        a, b = ops.to_channels_last(sources).chunk(2, dim=3)
        x1 = self.encoder1(ops.conv3x3(a, self.project_in_1.weight))
        x2 = self.encoder2(ops.conv3x3(b, self.project_in_2.weight))
        x = self.decoder(torch.cat((x1, x2), dim=3))
        features: torch.Tensor = self.activation(ops.to_channels_first(ops.conv3x3(x, self.project_out.weight)))
        return features

    def _weights(self, logits: torch.Tensor, prior: torch.Tensor | None, is_learned: bool) -> torch.Tensor:
        if self.equivariant:
            as_given, exchanged = logits.chunk(2)
            logits = as_given + exchanged.flip(1)
        if not is_learned:
            # Still a function of the parameters, so that whoever asks for its gradient finds zeros.
            logits = 0.0 * logits
        elif prior is not None:
            logits = logits + prior
        if self.centred:
            logits = logits - logits.mean(dim=(2, 3), keepdim=True)
        return logits.softmax(dim=1)


def propose(loss_proposal: nn.Module, sources: torch.Tensor, swap: bool) -> FusionWeights:
    """Returns the weights of a batch (B, 2, H, W), with `swap` followed by those of its swapped copies, 2B in all.

    An equivariant module is asked only once: its weights of the copies are the same, exchanged.
    """
    asked_once = swap and getattr(loss_proposal, "equivariant", False)
    asked = torch.cat((sources, sources.flip(1))) if swap and not asked_once else sources
    weights: FusionWeights = loss_proposal(asked)
    if not asked_once:
        return weights
    intensity, gradient = (None if pair is None else torch.cat((pair, pair.flip(1))) for pair in weights)
    assert intensity is not None
    return FusionWeights(intensity, gradient)
