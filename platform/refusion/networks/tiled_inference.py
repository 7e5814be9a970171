"""The fusion module's forward pass for whole pictures: tile by tile, without a graph.

Slow and large in a full-size pass are the wide intermediate results (four times the width, for each pixel), which no
cache holds. They depend on a pixel's neighbours only, so they are computed for a few rows at a time and dropped. Of the
whole picture attention needs sums over the pixels: they are added up tile by tile. Between blocks only the narrow
feature maps stand in memory. The mathematics is that of `FusionModule.forward`, with other sums first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

import refusion.ops as ops
from refusion.networks.blocks import Block, ChannelNorm, GatedFeedForward
from refusion.networks.fusion import CrossAttentionFusion, FusionModule
from refusion.ops.channel_attention import Sums, projected_attention
from refusion.ops.native.depthwise import SeparableConv
from refusion.ops.native.reductions import channel_dots, gram, serves, weighted_sum
from refusion.ops.tiling import pixels_at_once


class _Rows(NamedTuple):
    """A tile: rows ``top`` to ``bottom``, and with the row that a 3×3 convolution needs on either side, if there."""

    top: int
    bottom: int
    above: int
    below: int

    def inner(self, x: torch.Tensor) -> torch.Tensor:
        """The tile's own rows of a result that was computed with its neighbours."""
        return x[:, self.top - self.above : self.bottom - self.above]

    def outer(self, x: torch.Tensor) -> torch.Tensor:
        """The tile of a whole image, with its neighbours."""
        return x[:, self.above : self.below]


@torch.no_grad()
def fuse_tiled(module: FusionModule, sources: torch.Tensor) -> torch.Tensor:
    """Result of `module(sources)`, to rounding, in less time and memory; nothing can be differentiated through it.

    It is computed in the parameters' type, whatever precision is configured.

    Args:
        module: on any device; the work is done there.
        sources: (B, 2, H, W) in [0, 1], a first, then b.

    Returns:
        The fused images, (B, 1, H, W) in (0, 1).

    Example:
        >>> fuse_tiled(FusionModule(width=8, blocks=1), torch.rand(1, 2, 24, 32)).shape
        torch.Size([1, 1, 24, 32])
    """
    a, b = ops.to_channels_last(sources).chunk(2, dim=3)
    x1 = _stage(ops.conv3x3(a, module.project_in_1.weight), module.encoder1)
    x2 = _stage(ops.conv3x3(b, module.project_in_2.weight), module.encoder2)
    x = _stage(_cross_attention_fusion(x1, x2, module.FM), module.decoder)
    x = F.leaky_relu(ops.conv3x3(x, module.project_out_0.weight), 0.01, inplace=True)
    return module.image(ops.to_channels_first(ops.conv3x3(x, module.project_out_1.weight)), sources)


def _tiles(x: torch.Tensor) -> Iterator[_Rows]:
    batch, height, width, _ = x.shape
    rows = max(4, pixels_at_once(x.device.type == "cpu") // max(1, batch * width))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        yield _Rows(top, bottom, max(top - 1, 0), min(bottom + 1, height))


def _stage(x: torch.Tensor, blocks: nn.Sequential) -> torch.Tensor:
    for block in blocks:
        assert isinstance(block, Block)
        x = _block(x, block)
    return x


def _block(x: torch.Tensor, block: Block) -> torch.Tensor:
    attn = block.attn
    sums = _no_sums(x)
    v = x.new_empty(x.shape)
    for rows in _tiles(x):
        q, k, value = _separable_conv(rows.outer(x), block.norm1, attn.qkv, attn.qkv_dwconv, rows).chunk(3, dim=3)
        _add(sums, q, k)
        v[:, rows.top : rows.bottom] = value
    matrix = _matrix(sums, attn.temperature, attn.project_out)
    out = x.new_empty(x.shape)
    for rows in _tiles(x):
        y = _with_attention(rows.outer(x), matrix, rows.outer(v))
        out[:, rows.top : rows.bottom] = _feed_forward(y, block.norm2, block.ffn, rows)
    return out


def _feed_forward(x: torch.Tensor, norm: ChannelNorm, ffn: GatedFeedForward, rows: _Rows) -> torch.Tensor:
    """Feed-forward network with its residual, in a tile's own rows, from the tile with its neighbours."""
    native = SeparableConv.gated([x, *norm.affine, ffn.project_in.weight, ffn.dwconv.weight, ffn.project_out.weight])
    if native.is_served():
        return rows.inner(native.value())
    gate, value = _separable_conv(x, norm, ffn.project_in, ffn.dwconv, rows).chunk(2, dim=3)
    return rows.inner(x) + ops.pointwise_conv(F.gelu(gate).mul_(value), ffn.project_out.weight)


def _separable_conv(
    x: torch.Tensor, norm: ChannelNorm | None, pointwise: nn.Conv2d, depthwise: nn.Conv2d, rows: _Rows
) -> torch.Tensor:
    """Norm, if any, pointwise and depthwise convolution, in a tile's own rows, from the tile with its neighbours."""
    affine = () if norm is None else norm.affine
    native = SeparableConv.plain([x, *affine, pointwise.weight, depthwise.weight])
    if native.is_served():
        return rows.inner(native.value())
    source = x if norm is None else norm(x)
    return rows.inner(ops.depthwise_conv(ops.pointwise_conv(source, pointwise.weight), depthwise.weight))


def _cross_attention_fusion(x1: torch.Tensor, x2: torch.Tensor, fm: CrossAttentionFusion) -> torch.Tensor:
    v1, v2 = x1.new_empty(x1.shape), x2.new_empty(x2.shape)
    sums1, sums2 = _no_sums(x1), _no_sums(x2)
    for rows in _tiles(x1):
        own = slice(rows.top, rows.bottom)
        q1, k1, v1[:, own] = _separable_conv(rows.outer(x1), None, fm.qkv1, fm.qkv1_dwconv, rows).chunk(3, dim=3)
        q2, k2, v2[:, own] = _separable_conv(rows.outer(x2), None, fm.qkv2, fm.qkv2_dwconv, rows).chunk(3, dim=3)
        _add(sums1, q2, k1)
        _add(sums2, q1, k2)
    matrix1 = _matrix(sums1, fm.temperature1, fm.project_mid1)
    matrix2 = _matrix(sums2, fm.temperature2, fm.project_mid2)
    out = x1.new_empty((*x1.shape[:3], 2 * x1.shape[3]))
    weights = fm.joint_feed_forward()
    for rows in _tiles(x1):
        y1 = _with_attention(rows.outer(x1), matrix1, rows.outer(v1))
        y2 = _with_attention(rows.outer(x2), matrix2, rows.outer(v2))
        joined = torch.cat((y1, y2), dim=3)
        native = SeparableConv.gated([joined, *weights])
        if native.is_served():
            out[:, rows.top : rows.bottom] = rows.inner(native.value())
            continue
        gate1, gate2 = _separable_conv(joined, None, fm.project_E, fm.project_E_d, rows).chunk(2, dim=3)
        h1 = F.gelu(gate1).mul_(_separable_conv(y1, None, fm.project_E1, fm.project_E1_d, rows))
        h2 = F.gelu(gate2).mul_(_separable_conv(y2, None, fm.project_E2, fm.project_E2_d, rows))
        half = rows.inner(joined) + ops.pointwise_conv(h1, fm.project_out1.weight)
        out[:, rows.top : rows.bottom] = half + ops.pointwise_conv(h2, fm.project_out2.weight)
    return out


def _no_sums(x: torch.Tensor) -> Sums:
    """Zeros, to which tiles are added; in double precision, since a large picture has many tiles."""
    batch, channels = x.shape[0], x.shape[3]
    squares = torch.zeros(2, batch, channels, dtype=torch.float64, device=x.device)
    return Sums(squares.new_zeros(batch, channels, channels), *squares)


def _add(sums: Sums, q: torch.Tensor, k: torch.Tensor) -> None:
    """Adds one more tile, channels last."""
    flat_q, flat_k = q.flatten(1, 2), k.flatten(1, 2)
    if serves(q):
        sums.gram.add_(gram((flat_q, flat_k)))
        sums.q_squares.add_(channel_dots(flat_q, flat_q))
        sums.k_squares.add_(channel_dots(flat_k, flat_k))
        return
    sums.gram.add_(flat_q.transpose(1, 2) @ flat_k)
    sums.q_squares.add_(flat_q.square().sum(dim=1))
    sums.k_squares.add_(flat_k.square().sum(dim=1))


def _matrix(sums: Sums, temperature: torch.Tensor, project: nn.Conv2d) -> torch.Tensor:
    """Matrix by which v is multiplied, (B, outputs, C)."""
    found = projected_attention(sums, temperature.double(), project.weight.flatten(1).double())
    return found.to(project.weight.dtype)


def _with_attention(x: torch.Tensor, matrix: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """x and, added to it, v times the matrix."""
    if serves(x):
        out = x.new_empty(x.shape)
        weighted_sum(out.flatten(1, 2), [(x.flatten(1, 2), None)], [(v.flatten(1, 2), matrix.transpose(1, 2))])
        return out
    return x + (v.flatten(1, 2) @ matrix.transpose(1, 2)).view(*v.shape[:3], -1)
