"""The building blocks that all three modules share: transposed attention, gated feed-forward, their residual block.

Tensors between blocks are **channels last**, (B, H, W, C). The modules hold the parameters, under the names and in the
shapes of the authors' weight files; what is computed with them stands in `attention_parts` and `feed_forward`.

Source: Restormer's transposed attention and gated feed-forward network, as ReFusion (arXiv 2312.07943) uses them.
"""

from __future__ import annotations

import torch
from torch import nn

from refusion.errors import UserError
from refusion.ops.convolutions import mix, to_channels_first, to_channels_last
from refusion.ops.feed_forward import FeedForward
from refusion.ops.fused_op import run
from refusion.ops.layer_norm import channel_norm
from refusion.ops.sublayers import SelfAttention

SELF_ATTENTION, FEED_FORWARD = SelfAttention(), FeedForward()


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3×3 convolution without bias that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def conv1x1(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1×1 convolution without bias."""
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def depthwise3x3(channels: int) -> nn.Conv2d:
    """A depth-wise 3×3 convolution without bias that keeps height and width."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def convolve(x: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """Apply any convolution to channels-last x."""
    return to_channels_last(convolution(to_channels_first(x)))


def mix_channels(x: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """Apply a 1×1 convolution without bias to channels-last x."""
    return mix(x, convolution.weight)


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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return channel_norm(x, self.body.weight, self.body.bias)


class TransposedAttention(nn.Module):
    """Parameters of self-attention among channels: feature maps attend, so the cost is linear in their pixels."""

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
        attn, ffn, norm1, norm2 = self.attn, self.ffn, self.norm1.body, self.norm2.body
        qkv = attn.qkv.weight, attn.qkv_dwconv.weight, attn.temperature, attn.project_out.weight.flatten(1)
        x = run(SELF_ATTENTION, [x, norm1.weight, norm1.bias, *qkv])
        convolutions = ffn.project_in.weight, ffn.dwconv.weight, ffn.project_out.weight
        return run(FEED_FORWARD, [x, norm2.weight, norm2.bias, *convolutions])


def stage(channels: int, heads: int, expansion: int, blocks: int) -> nn.Sequential:
    """`blocks` blocks of one width, one after the other."""
    return nn.Sequential(*(Block(channels, heads, expansion) for _ in range(blocks)))
