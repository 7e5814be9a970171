"""The fusion module F: two source images in, one fused image out.

Source: ReFusion (arXiv 2312.07943), the authors' released network. At the defaults it has 59,856 parameters, and its
state-dict names are those of the released weight files.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from refusion.networks.blocks import (
    attend,
    attention_matrix,
    check_heads,
    conv1x1,
    conv3x3,
    convolve,
    depthwise3x3,
    mix_channels,
    stage,
    to_channels_first,
    to_channels_last,
)


class CrossAttentionFusion(nn.Module):
    """Joins two streams of features: each attends to the other, then both gate what they have in common.

    Two tensors (B, H, W, C) to one (B, H, W, 2C), channels last.
    """

    def __init__(self, channels: int, heads: int, expansion: int) -> None:
        super().__init__()
        both = 2 * channels
        hidden = expansion * both
        self.temperature1 = nn.Parameter(torch.ones(heads, 1, 1))
        self.temperature2 = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv1 = conv1x1(channels, 3 * channels)
        self.qkv1_dwconv = depthwise3x3(3 * channels)
        self.qkv2 = conv1x1(channels, 3 * channels)
        self.qkv2_dwconv = depthwise3x3(3 * channels)
        self.project_mid1 = conv1x1(channels, channels)
        self.project_mid2 = conv1x1(channels, channels)
        self.project_E = conv1x1(both, 2 * hidden)
        self.project_E_d = depthwise3x3(2 * hidden)
        self.project_E1 = conv1x1(channels, hidden)
        self.project_E1_d = depthwise3x3(hidden)
        self.project_E2 = conv1x1(channels, hidden)
        self.project_E2_d = depthwise3x3(hidden)
        self.project_out1 = conv1x1(hidden, both)
        self.project_out2 = conv1x1(hidden, both)

    def forward(self, x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
        q1, k1, v1 = convolve(mix_channels(x1, self.qkv1), self.qkv1_dwconv).chunk(3, dim=3)
        q2, k2, v2 = convolve(mix_channels(x2, self.qkv2), self.qkv2_dwconv).chunk(3, dim=3)
        x1 = x1 + attend(attention_matrix(q2, k1, self.temperature1), v1, self.project_mid1)
        x2 = x2 + attend(attention_matrix(q1, k2, self.temperature2), v2, self.project_mid2)
        joined = torch.cat((x1, x2), dim=3)
        gate1, gate2 = convolve(mix_channels(joined, self.project_E), self.project_E_d).chunk(2, dim=3)
        h1 = F.gelu(gate1) * convolve(mix_channels(x1, self.project_E1), self.project_E1_d)
        h2 = F.gelu(gate2) * convolve(mix_channels(x2, self.project_E2), self.project_E2_d)
        return joined + mix_channels(h1, self.project_out1) + mix_channels(h2, self.project_out2)


class FusionModule(nn.Module):
    """F: the sources (B, 2, H, W) in [0, 1], a first, then b, to the fused image (B, 1, H, W) in (0, 1); any H, W ≥ 1.

    Raises:
        UserError: the heads do not divide the width.
    """

    def __init__(self, width: int = 16, heads: int = 8, blocks: int = 2, expansion: int = 2) -> None:
        super().__init__()
        check_heads(width, heads)
        self.project_in_1 = conv3x3(1, width)
        self.project_in_2 = conv3x3(1, width)
        self.encoder1 = stage(width, heads, expansion, blocks)
        self.encoder2 = stage(width, heads, expansion, blocks)
        self.FM = CrossAttentionFusion(width, heads, expansion)
        self.decoder = stage(2 * width, heads, expansion, blocks)
        self.project_out_0 = conv3x3(2 * width, width)
        self.project_out_1 = conv3x3(width, 1)

    def forward(self, sources: torch.Tensor) -> torch.Tensor:
        a, b = to_channels_last(sources).chunk(2, dim=3)
        x1 = self.encoder1(convolve(a, self.project_in_1))
        x2 = self.encoder2(convolve(b, self.project_in_2))
        x = self.decoder(self.FM(x1, x2))
        x = F.leaky_relu(convolve(x, self.project_out_0), 0.01)
        return torch.sigmoid(to_channels_first(convolve(x, self.project_out_1)))
