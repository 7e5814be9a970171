"""The reconstruction module R: rebuilds both sources from the fused image alone.

Source: the role is ReFusion's (arXiv 2312.07943); its network is not published, so this one is our choice.
"""

from __future__ import annotations

import torch
from torch import nn

import refusion.ops as ops
from refusion.networks.blocks import check_heads, conv3x3, stage

# Beyond these the logit's derivative would be large.
_LEAST = 0.02


class ReconstructionModule(nn.Module):
    """R: the fused image (B, 1, H, W) to the rebuilt sources (B, 2, H, W) in (0, 1), a first, then b.

    Args:
        width, heads, blocks, expansion: sizes.
        from_fused: learns what to add to the fused image, which it then begins with; without, it has to find the
            image's brightness first, and may be stuck at a constant for long.

    Raises:
        UserError: the heads do not divide the width.

    Example:
        >>> import torch
        >>> from refusion.networks import ReconstructionModule
        >>> ReconstructionModule()(torch.rand(4, 1, 20, 30)).shape
        torch.Size([4, 2, 20, 30])
    """

    def __init__(
        self, width: int = 32, heads: int = 8, blocks: int = 2, expansion: int = 2, from_fused: bool = False
    ) -> None:
        super().__init__()
        self.from_fused = from_fused
        check_heads(width, heads)
        self.project_in = conv3x3(1, width)
        self.body = stage(width, heads, expansion, blocks)
        self.project_out = conv3x3(width, 2)

    def forward(self, fused: torch.Tensor) -> torch.Tensor:
        found = self._logits(fused)
        if self.from_fused:
            found = found + torch.logit(fused.clamp(_LEAST, 1 - _LEAST))
        return torch.sigmoid(found)

    def _logits(self, fused: torch.Tensor) -> torch.Tensor:
        x = self.body(ops.conv3x3(ops.to_channels_last(fused), self.project_in.weight))
        return ops.to_channels_first(ops.conv3x3(x, self.project_out.weight))
