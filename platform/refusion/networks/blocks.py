"""The building blocks that all three modules share: transposed attention, gated feed-forward, their residual block.

Tensors between blocks are **channels last**, (B, H, W, C): there a 1×1 convolution is one matrix product, a LayerNorm
over channels needs no copy, and a depth-wise convolution is several times faster on a CPU than on (B, C, H, W).
`to_channels_last` and `to_channels_first` are views. The convolutions stay `nn.Conv2d`, so that names and shapes are
those of the authors' weight files.

Source: Restormer's transposed attention and gated feed-forward network, as ReFusion (arXiv 2312.07943) uses them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from refusion.errors import UserError


def to_channels_last(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) seen as (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def to_channels_first(x: torch.Tensor) -> torch.Tensor:
    """(B, H, W, C) seen as (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


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
    return F.linear(x, convolution.weight.flatten(1))


def check_heads(width: int, heads: int) -> None:
    """Raises UserError unless `heads` divide `width` channels."""
    if width < 1 or heads < 1 or width % heads:
        raise UserError(
            f"--network.width {width} cannot be split into --network.heads {heads}: choose heads that divide the width"
        )


def attention_matrix(q: torch.Tensor, k: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """softmax(q kᵀ · temperature), head by head, with each channel of q and k of unit length along the pixels.

    Args:
        q, k: (B, H, W, C).
        temperature: (heads, 1, 1); the heads split C.

    Returns:
        (B, C, C): the heads' (C/heads)² matrices on the diagonal, zero elsewhere.
    """
    heads = temperature.shape[0]
    return attention_of(_unit_maps(q, heads) @ _unit_maps(k, heads).transpose(2, 3), temperature)


def attention_of(cosines: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """The same from the heads' cosines between channels of q and of k, (B, heads, C/heads, C/heads)."""
    attention = (cosines * temperature).softmax(dim=3)
    diagonal = torch.eye(temperature.shape[0], dtype=attention.dtype, device=attention.device)
    return torch.einsum("bhij,hg->bhigj", attention, diagonal).flatten(3, 4).flatten(1, 2)


def _unit_maps(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Channels-last x as (B, heads, C/heads, pixels), each channel of unit length along the pixels."""
    # The copy matters: along a strided axis float32 norms are summed naively, off by 1e-5 at half a million pixels.
    maps = x.flatten(1, 2).transpose(1, 2).contiguous()
    batch, channels, pixels = maps.shape
    return F.normalize(maps, dim=2, eps=1e-12).view(batch, heads, channels // heads, pixels)


def attend(attention: torch.Tensor, v: torch.Tensor, project: nn.Conv2d) -> torch.Tensor:
    """`project`(attention · v): (B, C, C) and channels-last (B, H, W, C) to (B, H, W, outputs)."""
    # Both are linear in v, so the small matrices are multiplied first: one pass over the pixels instead of two.
    matrix = project.weight.flatten(1) @ attention
    return (v.flatten(1, 2) @ matrix.transpose(1, 2)).view(*v.shape[:3], -1)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels at each pixel (biased variance, eps 1e-5), channels last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(channels, eps=1e-5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x)
        return out


class TransposedAttention(nn.Module):
    """Self-attention among channels: whole feature maps attend, so the cost is linear in the number of pixels."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = conv1x1(channels, 3 * channels)
        self.qkv_dwconv = depthwise3x3(3 * channels)
        self.project_out = conv1x1(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = convolve(mix_channels(x, self.qkv), self.qkv_dwconv).chunk(3, dim=3)
        return attend(attention_matrix(q, k, self.temperature), v, self.project_out)


class GatedFeedForward(nn.Module):
    """Per-pixel network of two branches, one gating the other by an exact GELU."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * channels
        self.project_in = conv1x1(channels, 2 * hidden)
        self.dwconv = depthwise3x3(2 * hidden)
        self.project_out = conv1x1(hidden, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = convolve(mix_channels(x, self.project_in), self.dwconv).chunk(2, dim=3)
        return mix_channels(F.gelu(gate) * value, self.project_out)


class Block(nn.Module):
    """x + attention(norm1(x)), then x + feed-forward(norm2(x)); channels last, (B, H, W, C) to the same."""

    def __init__(self, channels: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.attn = TransposedAttention(channels, heads)
        self.norm2 = ChannelNorm(channels)
        self.ffn = GatedFeedForward(channels, expansion)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        out: torch.Tensor = x + self.ffn(self.norm2(x))
        return out


def stage(channels: int, heads: int, expansion: int, blocks: int) -> nn.Sequential:
    """`blocks` blocks of one width, one after the other."""
    return nn.Sequential(*(Block(channels, heads, expansion) for _ in range(blocks)))
