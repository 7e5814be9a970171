"""The loss proposal module P: proposes, pixel by pixel, how much each source counts in the fusion loss.

Source: ReFusion (arXiv 2312.07943); the sizes are those of the loss network in the follow-up TDFusion (CVPR 2025).
"""

from __future__ import annotations

import torch
from torch import nn

import refusion.ops as ops
from refusion.networks.blocks import check_heads, conv3x3, stage
from refusion.objectives import FusionWeights


class LossProposalModule(nn.Module):
    """P: the sources (B, 2, H, W) in [0, 1] to weights of the same shape that sum to 1 over the two sources.

    With `learn_gradient_weights` a second pair weighs the sources' gradients; else `FusionWeights.gradient` is None.

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
        self, width: int = 16, heads: int = 8, blocks: int = 2, expansion: int = 2, learn_gradient_weights: bool = True
    ) -> None:
        super().__init__()
        check_heads(width, heads)
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
        a, b = ops.to_channels_last(sources).chunk(2, dim=3)
        x1 = self.encoder1(ops.conv3x3(a, self.project_in_1.weight))
        x2 = self.encoder2(ops.conv3x3(b, self.project_in_2.weight))
        x = self.decoder(torch.cat((x1, x2), dim=3))
        x = self.activation(ops.to_channels_first(ops.conv3x3(x, self.project_out.weight)))
        return FusionWeights(
            intensity=self.intensity(x).softmax(dim=1),
            gradient=None if self.gradient is None else self.gradient(x).softmax(dim=1),
        )
