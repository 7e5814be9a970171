"""The building blocks that all three modules share: channel attention, gated feed-forward, their residual block.

Tensors between blocks are **channels last**, (B, H, W, C). The modules hold the parameters, under the names and in the
shapes of the authors' weight files; `refusion.ops` computes with them.

Source: Restormer's transposed attention and gated feed-forward network, as ReFusion (arXiv 2312.07943) uses them.
"""

from __future__ import annotations

import torch
from torch import nn

import refusion.ops as ops
from refusion.errors import UserError


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3×3 convolution without bias that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def conv1x1(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1×1 convolution without bias."""
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def depthwise3x3(channels: int) -> nn.Conv2d:
    """A depthwise 3×3 convolution without bias that keeps height and width."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def check_heads(width: int, heads: int) -> None:
    """Raises UserError unless `heads` divide `width` channels."""
    if width < 1 or heads < 1 or width % heads:
        raise UserError(
            f"--network.width {width} cannot be split into --network.heads {heads}: choose heads that divide the width"
        )


class ChannelNorm(nn.Module):
    """LayerNorm over the channels at each pixel (biased variance, eps 1e-5), channels last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(channels, eps=1e-5)

    @property
    def affine(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias, (C) each."""
        return self.body.weight, self.body.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ops.layer_norm(x, *self.affine)


class TransposedAttention(nn.Module):
    """Parameters of attention among channels, not pixels, so that the cost is linear in the pixels."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = conv1x1(channels, 3 * channels)
        self.qkv_dwconv = depthwise3x3(3 * channels)
        self.project_out = conv1x1(channels, channels)


class GatedFeedForward(nn.Module):
    """Parameters of the per-pixel network of two branches, one gating the other by an exact GELU."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * channels
        self.project_in = conv1x1(channels, 2 * hidden)
        self.dwconv = depthwise3x3(2 * hidden)
        self.project_out = conv1x1(hidden, channels)


class Block(nn.Module):
    """x + attention(norm1(x)), then x + feed-forward(norm2(x)); channels last, (B, H, W, C) to the same."""

    def __init__(self, channels: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.attn = TransposedAttention(channels, heads)
        self.norm2 = ChannelNorm(channels)
        self.ffn = GatedFeedForward(channels, expansion)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attn, ffn = self.attn, self.ffn
        x = ops.channel_attention(
            x,
            self.norm1.affine,
            attn.qkv.weight,
            attn.qkv_dwconv.weight,
            attn.temperature,
            attn.project_out.weight.flatten(1),
        )
        return ops.gated_feed_forward(
            x, ffn.project_in.weight, ffn.dwconv.weight, ffn.project_out.weight, self.norm2.affine
        )


def stage(channels: int, heads: int, expansion: int, blocks: int) -> nn.Sequential:
    """`blocks` blocks of one width, one after the other."""
    return nn.Sequential(*(Block(channels, heads, expansion) for _ in range(blocks)))
